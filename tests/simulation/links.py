"""The supervisor's own links, watched: what it says is heard before it goes into the pipe."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from dspex_pool.link import Link

if TYPE_CHECKING:
    from .world import World


class WatchedLink(Link):
    """A link, unchanged, with ears.

    Attributes:
        most_waiting: The most bytes that ever waited for the peer.
        said: Hears every frame that is sent.
        was_closed: Hears that the link closes.
    """

    def __init__(self, world: World, descriptor: int, dirty: list[Link]) -> None:
        kernel = cast("AbstractEventLoop", world.kernel)
        super().__init__(kernel, descriptor, descriptor, dirty, world.config.max_frame_bytes)
        self.most_waiting = 0
        self.said: Callable[[bytes], None] = lambda frame: None
        self.was_closed: Callable[[], None] = lambda: None

    def send(self, frame: bytes) -> None:
        """As a link does."""
        self.said(frame)
        super().send(frame)
        self.most_waiting = max(self.most_waiting, self.waiting_bytes)

    def close(self) -> None:
        """As a link does."""
        if not self.closed:
            super().close()
            self.was_closed()
