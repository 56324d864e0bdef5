"""What a metric looks at: an example, and the prediction that was made for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dspy

from dspex_protocol.errors import invalid_argument

from ..values.incoming import from_wire
from .scores import no_score


@dataclass(frozen=True, slots=True)
class Row:
    """An example and a prediction.

    Attributes:
        example: What was asked, and what was wanted.
        prediction: What came.
        trace: DSPy's trace of the prediction, where an optimizer has it; some of DSPy's metrics are
            stricter then.
        predictor: The name of the predictor that feedback is wanted for, where an optimizer asks for one.
    """

    example: dspy.Example
    prediction: dspy.Prediction
    trace: Any = None
    predictor: str | None = None

    def wanted(self, name: str) -> Any:
        """A field of the example.

        Raises:
            DSPexError: `metric_failed` when it has none of that name.
        """
        return _field(self.example, name, "example")

    def given(self, name: str) -> Any:
        """A field of the prediction.

        Raises:
            DSPexError: `metric_failed` when it has none of that name.
        """
        return _field(self.prediction, name, "prediction")


def _field(fields: Any, name: str, whose: str) -> Any:
    if name not in fields:
        known = ", ".join(fields.keys()) or "none"
        raise no_score(f"{whose}.{name}"[:128], f"one of the fields {known[:256]}", "nothing: it is missing")
    return fields[name]


def row_of(example: object, prediction: object, path: str) -> Row:
    """A row as it came: maps of field to value, or an example and a prediction of DSPy's.

    Raises:
        CallerError: `invalid_argument` naming what is neither.
    """
    wanted = _fields(example, f"{path}.example", dspy.Example, "a map of field to value, or an example")
    given = _fields(
        prediction, f"{path}.prediction", dspy.Prediction, "a map of field to value, or a prediction"
    )
    return Row(dspy.Example(wanted), given if isinstance(given, dspy.Prediction) else dspy.Prediction(given))


def _fields(value: object, path: str, kind: Any, expected: str) -> Any:
    fields = from_wire(value, path)
    if not isinstance(fields, dict) and type(fields) is not kind:
        raise invalid_argument(path, expected, value)
    return fields
