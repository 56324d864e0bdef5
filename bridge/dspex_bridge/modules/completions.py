"""Attempts that a module compares, as inputs of a call beside those of its signature."""

from __future__ import annotations

from typing import Any

import dspy

from dspex_protocol.errors import invalid_argument

from ..refusals import missing
from ..values.incoming import from_wire


def read_completions(value: object, module: Any, path: str) -> list[dict[str, Any]]:
    """The attempts for `dspy.MultiChainComparison`.

    Args:
        value: An array of predictions, or of maps of field to value, as many as the module
            compares; each with `reasoning` or `rationale`, and the signature's last output.
        module: Which is to compare them.
        path: Where it stands in the call, for messages.

    Raises:
        CallerError: `invalid_argument`.
    """
    if not isinstance(value, list) or len(value) != module.M:
        raise invalid_argument(path, f"an array of {module.M} attempts, which is the option M", value)
    return [_read_attempt(attempt, module, f"{path}[{n}]") for n, attempt in enumerate(value)]


def _read_attempt(value: object, module: Any, path: str) -> dict[str, Any]:
    read = from_wire(value, path)
    if isinstance(read, dspy.Prediction):
        read = dict(read.items())
    if not isinstance(read, dict):
        raise invalid_argument(path, "a prediction, or a map of field to value", value)
    attempt: dict[str, Any] = read
    thought = next((name for name in ("rationale", "reasoning") if name in attempt), None)
    if thought is None:
        raise missing(f"{path}.reasoning", "a string")
    attempt[thought] = getattr(attempt[thought], "content", attempt[thought])
    if not isinstance(attempt[thought], str):
        raise invalid_argument(f"{path}.{thought}", "a string", attempt[thought])
    if module.last_key not in attempt:
        raise missing(f"{path}.{module.last_key}", "a value")
    return attempt
