"""The whole thing as its users run it: real servers, real pipes, real kills.

Counts that take long have a smaller default; `DSPEX_TEST_<NAME>` sets each (see
`tests.support.servers.count`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from tests.support.servers import has_ready, serving, wait_for

from dspex_pool.client import Client


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    """A client of a server with two workers, both ready."""
    async with serving() as one:
        await wait_for(one, has_ready(2))
        yield one
