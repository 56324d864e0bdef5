"""What tests of language models share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestServer
from tests.support.asking import MADE

from dspex_bridge.sim import SimModel, SimOptions
from dspex_bridge.sim.server import build_app


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    """No connection outlives its test."""
    yield
    while MADE:
        await MADE.pop().aclose()


@pytest.fixture
async def served() -> AsyncIterator[str]:
    """The offline model behind HTTP."""
    async with TestServer(build_app(SimModel(SimOptions()))) as server:
        yield str(server.make_url("/v1"))
