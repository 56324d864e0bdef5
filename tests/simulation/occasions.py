"""When a planted defect shows: once in a while."""

from __future__ import annotations

from typing import Final

SELDOM: Final = 20
"""One of so many occasions is done wrong."""


class Occasions:
    """Counts occasions, and says which are to go wrong."""

    def __init__(self, every: int = SELDOM) -> None:
        self._every = every
        self._count = 0

    def is_bad(self) -> bool:
        """Whether this one is."""
        self._count += 1
        return self._count % self._every == 0
