"""What metrics that compare a field of a prediction with what was expected have in common."""

from __future__ import annotations

import reprlib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import dspy
from dspy.evaluate.metrics import normalize_text

from dspex_protocol.errors import describe_value
from dspex_protocol.records import Doc, Length

from ..refusals import refusal
from .rows import Row
from .scores import Score, no_score, verdict

MAX_ACCEPTED: Final = 1_000

FieldName = Annotated[str, Length(1, 128)]

Normalize = Annotated[
    Literal["none", "case", "dspy"],
    Doc(
        "what texts are before they are compared: as they are; without upper case and with single blanks;"
        " or as DSPy's own metrics have them, also without punctuation and English articles"
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A field, and what it is compared with."""

    field: Annotated[str, Length(1, 128), Doc("of the prediction")]
    expected: Annotated[
        str | None, Length(1, 128), Doc("field of the example that has what is expected; default: `field`")
    ] = None
    value: Annotated[object, Doc("what is expected, the same for all rows, instead")] = None
    any_of: Annotated[
        bool, Doc("what is expected is an array, any member of which will do; the best one counts")
    ] = False

    def check(self, path: str) -> None:
        """Refuse what contradicts itself.

        Raises:
            CallerError: `invalid_argument`.
        """
        if self.value is not None and self.expected is not None:
            raise refusal(f"{path}.value", "nothing beside expected", "one")
        if self.value is not None and self.any_of:
            self.accepted(self.value, f"{path}.value")

    def best(
        self,
        row: Row,
        compare: Callable[[Any, Any, str], Score],
        prepare: Callable[[Any], Any] = lambda given: given,
    ) -> Score:
        """The best score among all that would do.

        Args:
            row: To be scored.
            compare: Of what came, one value that would do, and where that stands.
            prepare: What came, as it is compared; once, since it may be long, and what will do may be many.
        """
        given = prepare(row.given(self.field))
        scores = [compare(given, value, path) for path, value in self.wanted(row)]
        return max(scores, key=lambda score: score.score)

    def wanted(self, row: Row) -> list[tuple[str, Any]]:
        """All that would do, each with where it stands.

        Raises:
            DSPexError: `metric_failed` when the row has nothing of the kind.
        """
        name = self.expected or self.field
        wanted = row.wanted(name) if self.value is None else self.value
        path = f"example.{name}" if self.value is None else "value"
        if not self.any_of:
            return [(path, wanted)]
        return [(f"{path}[{n}]", one) for n, one in enumerate(self.accepted(wanted, path))]

    @staticmethod
    def accepted(wanted: Any, path: str) -> list[Any]:
        """All that would do.

        Raises:
            DSPexError: `metric_failed` for no array of them.
        """
        if not isinstance(wanted, list | tuple) or not 1 <= len(wanted) <= MAX_ACCEPTED:
            expected = f"an array of 1 to {MAX_ACCEPTED} values, any of which will do"
            raise no_score(path, expected, describe_value(wanted))
        return list(wanted)


def text_of(value: object) -> str | None:
    """A value as a text: a text, a number, or one of DSPy's types that are one text; None for others."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, dspy.Code):
        return str(value.code)
    if isinstance(value, dspy.Reasoning):
        return str(value.content)
    return None


def expected_text(value: object, path: str, normalize: str) -> str:
    """What an example has to be a text.

    Raises:
        DSPexError: `metric_failed`.
    """
    text = text_of(value)
    if text is None:
        raise no_score(path, "a string", describe_value(value))
    return normalized(text, normalize)


def given_text(value: object, normalize: str) -> str | Score:
    """What a prediction has as a text; where it has none, its score, which is 0."""
    text = text_of(value)
    return (
        verdict(False, f"a text was expected, and it is {_kind(value)}")
        if text is None
        else normalized(text, normalize)
    )


def _kind(value: object) -> str:
    return "nil" if value is None else f"of the type {type(value).__name__}"


def normalized(text: str, how: str) -> str:
    """A text as it is compared; see `Normalize`."""
    if how == "case":
        return " ".join(unicodedata.normalize("NFC", text).casefold().split())
    if how == "dspy":
        return str(normalize_text(text))
    return text


_SHORT: Final = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 3, 120, 120, 40


def shown(value: object) -> str:
    """A value in feedback: short, on one line."""
    return _SHORT.repr(value)
