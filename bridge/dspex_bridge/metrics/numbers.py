"""A metric over numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from dspex_protocol.errors import describe_value
from dspex_protocol.records import Doc, Range

from .compared import Compared, shown
from .rows import Row
from .scores import Score, no_score, verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Numeric(Compared):
    """Whether a number is as near to another one as it must be."""

    absolute: Annotated[float, Range(0.0), Doc("how far off it may be")] = 0.0
    relative: Annotated[
        float, Range(0.0), Doc("how far off it may be, as a share of what was expected; the wider one counts")
    ] = 0.0

    def measure(self, row: Row) -> Score:
        """Texts that are numbers count as such."""
        return self.best(row, self._compare)

    def _compare(self, given: Any, wanted: Any, path: str) -> Score:
        reference, number = number_of(wanted), number_of(given)
        if reference is None:
            raise no_score(path, "a finite number", describe_value(wanted))
        if number is None:
            return verdict(False, f"a number was expected, and it is {shown(given)}")
        allowed = max(self.absolute, self.relative * abs(reference))
        passed = number == reference or abs(number - reference) <= allowed
        return verdict(passed, f"expected {reference} give or take {allowed:g}, got {number}")


def number_of(value: object) -> int | float | None:
    """A finite number that a float can be near to; of a text what it says; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return value if isinstance(value, int) else number
