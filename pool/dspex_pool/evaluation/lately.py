"""What was read of evaluations lately: whoever pages through one asks for the same rows each time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from dspex_pool.library.heavy import Apart

from .operations import GetEvaluationRows
from .queries import chosen
from .reader import Found, Reader, last_of
from .records import Head

MAX_FACTS: Final = 200_000
"""That are kept, of all evaluations together: some 500 bytes each."""

MAX_CHOICES: Final = 8
"""Rows in an order, that are kept: who pages through an evaluation makes one."""


class _Known(NamedTuple):
    entries: int
    facts: Sequence[Found]


class Lately:
    """Facts and choices at hand. A journal is only ever added to, and never gets another's name.

    Args:
        reader: Reads what is not.
        apart: Where what takes long is worked out.
    """

    def __init__(self, reader: Reader, apart: Apart) -> None:
        self._reader = reader
        self._apart = apart
        self._facts: OrderedDict[str, _Known] = OrderedDict()
        self._choices: OrderedDict[tuple[str, int, str], list[Found]] = OrderedDict()

    async def facts(self, head: Head) -> Sequence[Found]:
        """Of each row as `last_of`; of `Reader.facts` only those are read that have come since."""
        known = self._facts.get(head.journal)
        if known is None or known.entries < head.entries:
            before = _Known(0, []) if known is None else known
            more = await self._reader.facts(head, before.entries)
            known = _Known(head.entries, last_of([*before.facts, *more]))
            self._keep(head.journal, known)
        elif known.entries > head.entries:  # this head was read before the newest one
            # And what a row had come to then may not be at hand any more.
            return last_of(await self._reader.facts(head))
        if head.journal in self._facts:
            self._facts.move_to_end(head.journal)
        return known.facts

    async def chosen(self, wish: GetEvaluationRows, head: Head) -> list[Found]:
        """The rows that are wanted, in order, of all pages.

        Raises:
            DSPexError: as `Reader.facts`, and as `queries.chosen`.
        """
        key = head.journal, head.entries, repr(replace(wish, offset=0, limit=1))
        found = self._choices.get(key)
        if found is None:
            facts = await self.facts(head)
            found = self._choices[key] = await self._apart(lambda: chosen(wish, head, facts))
            if len(self._choices) > MAX_CHOICES:
                self._choices.popitem(last=False)
        self._choices.move_to_end(key)
        return found

    def _keep(self, journal: str, known: _Known) -> None:
        self._facts[journal] = known
        self._facts.move_to_end(journal)
        while sum(len(one.facts) for one in self._facts.values()) > MAX_FACTS:
            self._facts.popitem(last=False)
