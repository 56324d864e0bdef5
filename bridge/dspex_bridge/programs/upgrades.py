"""Records of older DSPex to the form of this one: a pure function for each step.

A step reads the plain values of a record of one schema and gives those of the next. Steps are
never changed once released, and tests/golden/records has records of every schema, with what each
step must make of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from dspex_protocol import error
from dspex_protocol.errors import invalid_argument

from ..refusals import refusal

Step: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]


def _name_parts_of_predictors(record: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 had a predictor's state as DSPy dumps it, with `traces` and `lm` that were always empty.

    DSPy's `fields` there are settings of decision outputs, and the fields of the signature stood
    under `signature`.
    """
    state: dict[str, Any] = {}
    for name, old in record["state"].items():
        signature = old["signature"]
        state[name] = {
            "instructions": signature["instructions"],
            "fields": signature["fields"],
            "demos": old["demos"],
            "train": old["train"],
        }
        if old.get("fields"):
            state[name]["decisions"] = old["fields"]
    return {**record, "state": state}


def _know_choices(record: dict[str, Any]) -> dict[str, Any]:
    """In schema 2 no spec had an `adapter` or an `on_violation`; one without them says the same today."""
    return record


STEPS: Final[Mapping[int, Step]] = {1: _name_parts_of_predictors, 2: _know_choices}
"""From a schema to the next one."""

SCHEMA: Final = max(STEPS) + 1
"""Of the records that this version writes."""


def upgraded(record: object, path: str = "record") -> dict[str, Any]:
    """A record in the form of today; its content is still to be checked.

    Args:
        record: As it was stored.
        path: Where it stands in the call, for messages.

    Raises:
        CallerError: `record_too_new`, or `invalid_argument` for what is no record.
    """
    if not isinstance(record, dict):
        raise invalid_argument(path, "a record: a map with a schema", record)
    schema = record.get("schema")
    if type(schema) is not int or schema < 1:
        raise invalid_argument(f"{path}.schema", "an integer from 1", schema)
    if schema > SCHEMA:
        raise too_new(f"{path}.schema", schema, SCHEMA)
    current: dict[str, Any] = record
    for step in range(schema, SCHEMA):
        try:
            current = {**STEPS[step](current), "schema": step + 1}
        except (KeyError, TypeError, AttributeError):
            raise refusal(path, f"a record of schema {step}", "something else") from None
    return current


def too_new(path: str, schema: int, known: int) -> Exception:
    """The refusal of what a newer DSPex wrote."""
    return error(
        "record_too_new",
        f"{path}: a newer DSPex wrote this, in schema {schema}; this one knows schemas up to {known}",
        details={"field": path, "schema": schema, "known": known},
    )
