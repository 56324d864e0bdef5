"""A metric over lists as sets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from dspex_protocol import encode_value
from dspex_protocol.errors import describe_value

from ..values.outgoing import to_wire
from .compared import Compared, Normalize, normalized
from .rows import Row
from .scores import Score, no_score, verdict
from .texts import f1


@dataclass(frozen=True, slots=True, kw_only=True)
class SetF1(Compared):
    """How much two lists have in common, whatever the order: the harmonic mean of precision and recall."""

    normalize: Normalize = "case"

    def measure(self, row: Row) -> Score:
        """What is twice in a list counts once; two empty lists are the same."""
        return self.best(row, self._compare, self._members)

    def _compare(self, given: Counter[object] | None, wanted: Any, path: str) -> Score:
        members = self._members(wanted)
        if members is None:
            raise no_score(path, "an array", describe_value(wanted))
        return verdict(False, "it is no list") if given is None else f1(given, members)

    def _members(self, values: Any) -> Counter[object] | None:
        if not isinstance(values, list | tuple | set | frozenset):
            return None
        return Counter({self._key(value) for value in values})

    def _key(self, value: object) -> object:
        """What is the same for members that are."""
        if isinstance(value, str):
            return normalized(value, self.normalize)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return encode_value(to_wire(value))
