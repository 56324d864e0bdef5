"""EXAMPLES: the rows that an evaluation still has to run, a page ahead of those that are begun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dspex_protocol import DSPexError, error

if TYPE_CHECKING:
    from dspex_pool.datasets.reader import Reader
    from dspex_pool.datasets.records import Version
    from dspex_pool.ports import Tasks

PAGE: Final = 500
"""Rows that are read at a time, at most …"""

PAGE_BYTES: Final = 1 << 20
"""… and so much of them, but for a single row that is longer."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row is: in the selection, and in the dataset."""

    index: int
    row: int


class Examples:
    """Rows in the order in which they are begun; they are kept until they are settled.

    Args:
        places: Where they are; sorted by `row`, so that each part of a dataset is read once or twice.
        tasks: What reading runs in.
        read: Reads rows of a version: the first ones of those, as many as fit into a page.
    """

    def __init__(self, places: Sequence[Place], tasks: Tasks, read: ReadRows) -> None:
        self.places = places
        self._tasks = tasks
        self._read = read
        self._kept: dict[int, bytes] = {}
        self._is_reading = False
        self._is_left = False
        self._go_on: Callable[[], None] = _nothing
        self._fail: Callable[[DSPexError], None] = _ignored
        self.at_hand = 0

    def begin(self, go_on: Callable[[], None], fail: Callable[[DSPexError], None]) -> None:
        """Read the first page."""
        self._go_on = go_on
        self._fail = fail
        self._read_on()

    def of(self, number: int) -> bytes:
        """The example of a row that is at hand; the page after is read when few are left."""
        if self.at_hand - number <= PAGE // 2:
            self._read_on()
        return self._kept[number]

    def settled(self, number: int) -> None:
        """A row is not needed any more."""
        self._kept.pop(number, None)

    def left(self) -> None:
        """None of them is."""
        self._is_left = True
        self._kept.clear()

    def _read_on(self) -> None:
        if not self._is_reading and not self._is_left and self.at_hand < len(self.places):
            self._is_reading = True
            self._tasks.start(self._read_page())

    async def _read_page(self) -> None:
        try:
            wanted = self.places[self.at_hand : self.at_hand + PAGE]
            rows = await self._read([place.row for place in wanted])
        except DSPexError as failure:
            self._fail(failure)
            return
        except Exception as fault:
            # Here a task ends: without a word of it the run would wait for ever.
            self._fail(error("internal", f"rows could not be read: {type(fault).__name__}"))
            return
        if self._is_left:
            return
        for row in rows:
            self._kept[self.at_hand] = row
            self.at_hand += 1
        self._is_reading = False
        self._go_on()


class ReadRows:
    """Reads rows that came with a call, or those of a dataset.

    Args:
        given: The rows of the call.
        reader: Reads datasets.
        version: The dataset's; None for the rows of the call.
    """

    def __init__(self, given: Sequence[bytes], reader: Reader, version: Version | None) -> None:
        self._given = given
        self._reader = reader
        self._version = version

    async def __call__(self, wanted: Sequence[int], /) -> list[bytes]:
        """The first of those, as many as fit into a page; at least one."""
        if self._version is None:
            return [self._given[row] for row in wanted]
        return await self._reader.rows(self._version, wanted, PAGE_BYTES)


def _nothing() -> None:
    """Nobody has begun."""


def _ignored(failure: DSPexError) -> None:
    """Nobody has begun."""
