"""NEWS: what the parts of one server tell each other about jobs. What other servers do is in the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping


def _nothing() -> None:
    """Nobody listens."""


async def _not_here(job: str) -> None:
    """Nobody runs jobs."""


class News:
    """What is new.

    Attributes:
        submitted: Has somebody look for jobs that wait.
        cancel: Has a job end that runs here, or nowhere.
        progress: The latest figures of the jobs that run here.
    """

    def __init__(self) -> None:
        self.submitted: Callable[[], None] = _nothing
        self.cancel: Callable[[str], Awaitable[None]] = _not_here
        self.progress: dict[str, Mapping[str, object]] = {}
        self._followers: defaultdict[str, list[Callable[[], None]]] = defaultdict(list)

    def follow(self, job: str, wake: Callable[[], None]) -> None:
        """Have somebody told of each change of a job."""
        self._followers[job].append(wake)

    def leave(self, job: str, wake: Callable[[], None]) -> None:
        """Tell them no more."""
        self._followers[job].remove(wake)
        if not self._followers[job]:
            del self._followers[job]

    def changed(self, job: str) -> None:
        """There is something new about a job."""
        for wake in list(self._followers.get(job, ())):
            wake()
