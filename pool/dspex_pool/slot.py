"""A SLOT: the place of one worker in the pool."""

from __future__ import annotations

from .worker import Worker


class Slot:
    """A place for one worker.

    Attributes:
        number: From 0.
        is_open: Whether it is to hold a worker; a smaller pool closes some.
        worker: The worker that serves, where there is one.
        predecessor: Who had the slot before; it drains, and is kept until the worker has shown
            that it is of use.
        after_failure: The last try to fill it failed; the next one is handed no programs.
        booting: Another is on its way: asked for, starting, or waiting for its next try.
    """

    __slots__ = ("after_failure", "booting", "is_open", "number", "predecessor", "worker")

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_open = False
        self.worker: Worker | None = None
        self.predecessor: Worker | None = None
        self.after_failure = False
        self.booting = False

    @property
    def wants_worker(self) -> bool:
        """Whether one must be started."""
        return self.is_open and (self.worker is None or self.worker.retiring is not None)

    @property
    def is_replacing(self) -> bool:
        """Whether it has two workers, or is about to."""
        return self.predecessor is not None or (self.booting and self.worker is not None)

    @property
    def busyness(self) -> tuple[int, int]:
        """How much it is missed when the pool gets smaller: least when it is empty, then idle."""
        return (-1 if self.worker is None else self.worker.load, -self.number)
