"""The values of typed output fields, while the answer that contains them is still coming. Pure.

Each reader gives what there is of a field whenever there is more of it; a field that is complete
is read as the adapter will read it. An answer that has another form than its adapter asks for
gives nothing here: what the adapter mends shows when the predictor ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from dspy.adapters.utils import parse_value

from .fieldtext import FieldText
from .growing import GrowingJSON, Unfit, Written, fitted


class FieldValue(NamedTuple):
    """What there is of a field's value."""

    field: str
    value: object


class SectionValues:
    """The values of fields whose texts come one by one, as the chat and XML adapters have them.

    Args:
        types: By field.
    """

    def __init__(self, types: Mapping[str, Any]) -> None:
        self._types = types
        self._texts = {field: GrowingJSON() for field in types}
        self._parts: dict[str, list[str]] = {field: [] for field in types}

    def feed(self, text: FieldText) -> list[FieldValue]:
        """What can be read of a field, now that there is more of its text."""
        field, piece, last = text
        self._parts[field].append(piece)
        if last:
            return _parsed(field, "".join(self._parts[field]), self._types[field])
        growing = self._texts[field]
        growing.feed(piece)
        return _read(field, growing.read() if growing.is_due else None, self._types[field])


class AnswerValues:
    """The values of fields that stand in one JSON object, as the JSON adapter has them.

    Args:
        types: By field.
    """

    def __init__(self, types: Mapping[str, Any]) -> None:
        self._types = types
        self._answer = GrowingJSON(anywhere=True)
        self._open = ""

    def feed(self, piece: str) -> list[FieldValue]:
        """What can be read, now that there is more of the answer."""
        self._answer.feed(piece)
        written = self._answer.read() if self._answer.is_due else None
        if written is None or not isinstance(written.value, dict) or not written.value:
            return []
        fields: dict[str, Any] = written.value
        last = next(reversed(fields))
        found: list[FieldValue] = []
        if self._open and self._open != last:
            found += self._whole(self._open, fields)
        self._open = last
        if written.depth == 0:
            return found + self._whole(last, fields)
        inner = Written(fields[last], written.depth - 1, written.in_text)
        return found + (_read(last, inner, self._types[last]) if last in self._types else [])

    def _whole(self, field: str, fields: Mapping[str, Any]) -> list[FieldValue]:
        return _parsed(field, fields[field], self._types[field]) if field in self._types else []


def _read(field: str, written: Written | None, annotation: Any) -> list[FieldValue]:
    if written is None:
        return []
    try:
        return [FieldValue(field, fitted(annotation, written))]
    except Unfit:
        return []


def _parsed(field: str, value: object, annotation: Any) -> list[FieldValue]:
    """A field that is complete, as the adapter will read it."""
    try:
        return [FieldValue(field, parse_value(value, annotation))]
    except (ValueError, TypeError):  # the adapter will say so, once the answer is complete
        return []
