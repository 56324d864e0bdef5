"""What a program has learned, carried over to another spec.

Only what was learned goes over, and not what the old spec said: whoever writes new instructions
into a spec wants those. Where something learned does not fit the new spec the change is refused,
and whoever makes it says what is to become of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dspex_protocol import encode_value

from ..code.flex import keeps_source
from ..modules.composing import Composed
from ..refusals import refusal
from .live import LiveProgram
from .state import PredictorPatch, checked_demos, named_learners, read_patches


def carried_over(old: LiveProgram, new: LiveProgram, patch: object, composed: Composed) -> dict[str, object]:
    """The state for a new spec.

    Args:
        old: The version before.
        new: The new spec's program, which has learned nothing.
        patch: What the caller will put in its place; the parts that it names are not looked at.
        composed: What stored programs bring along, which goes before what the old one has learned.

    Raises:
        CallerError: `invalid_argument` naming a predictor whose state does not fit, or a demo.
    """
    state = {**new.state, **composed.state}
    predictors = dict(named_learners(new.module))
    replaced = {} if patch is None else read_patches(patch, predictors, "state")
    for name, learned in _learned(old).items():
        if name in composed.learned:
            continue
        given = replaced.get(name, PredictorPatch())
        kept = {part: value for part, value in learned.items() if getattr(given, part) is None}
        if kept:
            path = f"state.{name}"
            _check_fit(old, new, name, kept, path)
            if "demos" in kept:
                kept["demos"] = checked_demos(kept["demos"], predictors[name], new.signature, f"{path}.demos")
            state[name] = {**_map(state[name]), **kept}
    return state


def _learned(old: LiveProgram) -> dict[str, dict[str, Any]]:
    """Of each predictor's state the parts that are not as the spec alone would have them."""
    before, now = old.template.program.state, old.state
    return {name: _different(_map(before[name]), _map(now[name])) for name in now}


def _different(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    return {
        part: value
        for part, value in now.items()
        if part not in before or encode_value(value) != encode_value(before[part])
    }


def _check_fit(
    old: LiveProgram, new: LiveProgram, name: str, learned: Mapping[str, object], path: str
) -> None:
    predictors: dict[str, Any] = dict(named_learners(new.module))
    parts = ", ".join(learned)
    if name not in predictors:
        raise refusal(
            "spec",
            f"a module with the predictor {name!r}, whose {parts} the version before has learned",
            f"one with {', '.join(predictors) or 'no predictors'}",
        )
    predictor: Any = dict(named_learners(old.module))[name]
    if keeps_source(predictor) != keeps_source(predictors[name]):
        raise refusal(path, f"a part of the same kind for the {parts} that {name!r} has learned", "another")
    before = list(predictor.signature.fields)
    after = list(predictors[name].signature.fields)
    if len(before) != len(after):
        raise refusal(
            path,
            f"a signature of {len(before)} fields for the {parts} that predictor {name!r} has learned,"
            " or these given anew",
            f"one of {len(after)}",
        )
    if "fields" in learned and before != after:
        raise refusal(
            f"{path}.fields",
            f"the fields {', '.join(before)}, whose prefixes and descriptions were learned,"
            " or these given anew",
            ", ".join(after),
        )


def _map(value: object) -> dict[str, Any]:
    assert isinstance(value, dict)
    return value
