"""The rows of answers: those that fit and are new, and how many were neither."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import dspy
import orjson

from dspex_protocol.errors import DSPexError, describe_value

from ..refusals import refusal
from ..signatures.signatures import FieldCheck, demo_checks
from ..values.outgoing import to_wire
from .distinct import Distinct

MAX_TOLD: Final = 3
"""Refused rows of one answer that are told of with the reason."""


class Sifting:
    """Takes rows.

    Args:
        signature: What they must fit.
        distinct: What there is already.
        wanted: How many are to be taken.

    Attributes:
        rows: Those that were taken.
        refused: How many were not, by reason: `unfit`, `duplicate`, `near_duplicate`.
    """

    def __init__(self, signature: type[dspy.Signature], distinct: Distinct, wanted: int) -> None:
        self._fields = list(signature.fields)
        self._checks = demo_checks(signature, signature)
        self._distinct = distinct
        self._wanted = wanted
        self.rows: list[dict[str, object]] = []
        self.refused: Counter[str] = Counter()

    @property
    def is_done(self) -> bool:
        """Whether there are as many as are wanted."""
        return len(self.rows) >= self._wanted

    def take(self, answer: Sequence[object]) -> tuple[int, list[str]]:
        """Take the rows of one answer; how many there were, and what was wrong with some of the others."""
        taken, told = 0, list[str]()
        for row in answer:
            if self.is_done:
                break
            try:
                fitting = self._fitting(row)
            except DSPexError as misfit:
                self.refused["unfit"] += 1
                told += [misfit.message] if len(told) < MAX_TOLD else []
                continue
            sameness = self._distinct.add(fitting)
            if sameness is None:
                self.rows.append(fitting)
                taken += 1
            else:
                self.refused[sameness] += 1
        return taken, told

    def _fitting(self, row: object) -> dict[str, object]:
        if not isinstance(row, Mapping):
            raise _misfit("row", "a map of field to value", row)
        given: Mapping[Any, object] = row
        for field in self._fields:
            if given.get(field) is None:
                raise _misfit(field, "a value", None)
        # As the checked value goes over the wire, not as it came: a model writes "3" for 3.
        return {field: to_wire(_lenient(self._checks[field], given[field], field)) for field in self._fields}


def _lenient(check: FieldCheck, value: object, field: str) -> object:
    """A value by its field's type; numbers and truths may come as texts, as models write them."""
    try:
        return check.convert(value, field)
    except DSPexError:
        if not isinstance(value, str):
            raise
    read = _said(value)
    return check.convert(read, field)


def _said(text: str) -> object:
    try:
        return orjson.loads(text.strip().lower() if text.strip().lower() in ("true", "false") else text)
    except ValueError:
        return text


def _misfit(field: str, expected: str, got: object) -> DSPexError:
    return refusal(field, expected, describe_value(got))
