"""HEAVY WORK: what takes so long that others would notice is done apart from them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

T = TypeVar("T")

HEAVY_BYTES: Final = 64 * 1024
"""Of what is worked on. A document of that size takes some ten milliseconds, a diff less."""


class Apart(Protocol):
    """Does something where it holds nobody up, such as in a thread."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Do it; what it raises is raised."""
        ...


async def at_once(work: Callable[[], T], /) -> T:
    """Do it here and now: where nobody else would be held up."""
    return work()


async def worked_out(apart: Apart, size_bytes: int, work: Callable[[], T]) -> T:
    """Do something that takes the longer the more there is.

    Args:
        apart: Where it is done when there is much.
        size_bytes: How much there is.
        work: What.
    """
    return work() if size_bytes < HEAVY_BYTES else await apart(work)
