"""What a module has learned: out of its predictors, and into a copy of it.

A state is a map of predictor to `{instructions, fields, demos, train}`, and where there are such,
`lm` (the name of a configured language model) and `decisions` (DSPy's experimental settings of
decision outputs). It covers what DSPy's own `dump_state` does, with two differences: demos keep
their types, where DSPy makes text of images; and language models go by name, since their settings
hold endpoints. Traces are not kept, as DSPy's own optimizers drop them when they are done.

Of a `Flex`, whose implementation is source code, it is `{source}` and maybe `lm`; source is text
here, and never run (see `code.flex`).

Of a module that has other parameters than predictors, such as a retriever, these are as its
constructor makes them.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Final

import dspy
from dspy.adapters.decision_state import DecisionState

from dspex_protocol.errors import describe_value
from dspex_protocol.records import Doc, Length, read

from ..code.flex import bind_source, check_source, keeps_source
from ..failures import holds_key
from ..refusals import missing, refusal, unknown_field
from ..signatures.retold import retold, words_of
from ..values.incoming import from_wire
from ..values.outgoing import to_wire
from .demos import check_demos, read_examples, write_examples

MAX_LM_NAME_BYTES: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a prompt says of a field."""

    prefix: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorState:
    """What one predictor has learned."""

    instructions: str
    fields: list[Words]
    demos: list[object]
    train: list[object]
    decisions: dict[str, object] = field(default_factory=dict[str, object])
    lm: Annotated[str, Length(0, MAX_LM_NAME_BYTES)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """What one part that is source code has learned."""

    source: str
    lm: Annotated[str, Length(0, MAX_LM_NAME_BYTES)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorPatch:
    """What is to be another way; what is absent stays."""

    instructions: str | None = None
    fields: Annotated[list[Words], Doc("for each field of the signature, inputs first")] | None = None
    demos: Annotated[list[object], Doc("maps of field to value, or examples")] | None = None
    train: Annotated[list[object], Doc("maps of field to value, or examples")] | None = None
    decisions: dict[str, object] | None = None
    source: Annotated[str, Doc("of a Flex, in place of all but lm")] | None = None
    lm: (
        Annotated[
            str,
            Length(0, MAX_LM_NAME_BYTES),
            Doc("name of a configured language model, which goes before that of a call; empty for none"),
        ]
        | None
    ) = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A module with a state in it.

    Attributes:
        module: A copy of its own.
        lms: Predictor to the name of its language model, where it has one.
    """

    module: dspy.Module
    lms: Mapping[str, str]


def named_learners(module: dspy.Module) -> list[tuple[str, Any]]:
    """The parts of a module that have a state, by DSPy's names: predictors, and what is source code."""
    return [
        (name, part)
        for name, part in module.named_parameters()
        if isinstance(part, dspy.Predict) or keeps_source(part)
    ]


def dump_state(
    module: dspy.Module, lms: Mapping[str, str] | None = None, path: str = "state"
) -> dict[str, object]:
    """What a module has learned, as values of the protocol.

    Args:
        module: Stays as it is.
        lms: Names of its predictors' language models.
        path: Of the state, for messages.

    Raises:
        DSPexError: `value_unencodable` naming what could not be stored without loss.
    """
    names = lms or {}
    return {name: _dump(part, names.get(name), f"{path}.{name}") for name, part in named_learners(module)}


def _dump(predictor: Any, lm: str | None, path: str) -> dict[str, object]:
    if keeps_source(predictor):
        return {"source": predictor.module_src, **({"lm": lm} if lm else {})}
    state: dict[str, object] = {
        "instructions": predictor.signature.instructions,
        "fields": [
            {"prefix": prefix, "description": description}
            for prefix, description in words_of(predictor.signature)
        ],
        "demos": write_examples(predictor.demos, f"{path}.demos"),
        "train": write_examples(predictor.train, f"{path}.train"),
    }
    if predictor.fields:
        state["decisions"] = to_wire(predictor.fields)
    if lm:
        state["lm"] = lm
    return state


# Loading ---------------------------------------------------------------------------------


def load_state(module: dspy.Module, state: object, path: str = "state") -> Loaded:
    """A copy of a module with a state in it; the module stays as it is.

    Always into a copy that no state has been loaded into: DSPy derives each signature from the
    one before, and the 141st time ends in RecursionError.

    Raises:
        CallerError: `invalid_argument` when the state is not of a module built like this one.
    """
    given = read_state(state, path)
    fresh = copy_module(module)
    predictors = dict(named_learners(fresh))
    for name in given:
        if name not in predictors:
            raise unknown_field(path, name, predictors)
    lms: dict[str, str] = {}
    for name, predictor in predictors.items():
        if name not in given:
            raise missing(f"{path}.{name}", "the state of that predictor")
        own: PredictorState | SourceState
        if keeps_source(predictor):
            own = read(SourceState, given[name], f"{path}.{name}")
            bind_source(predictor, own.source, f"{path}.{name}.source")
        else:
            own = read(PredictorState, given[name], f"{path}.{name}")
            _load(predictor, own, f"{path}.{name}")
        if own.lm:
            lms[name] = own.lm
    return Loaded(fresh, lms)


def read_state(state: object, path: str) -> dict[str, object]:
    """A map of predictor to something.

    Raises:
        CallerError: `invalid_argument`.
    """
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise refusal(path, "a map of predictor to its state", describe_value(state))
    return state


def _load(predictor: Any, state: PredictorState, path: str) -> None:
    words = tuple((field.prefix, field.description) for field in state.fields)
    # DSPy would pair what there is by position and say nothing.
    if len(words) != len(predictor.signature.fields):
        raise refusal(
            f"{path}.fields", f"an array of {len(predictor.signature.fields)}", f"an array of {len(words)}"
        )
    predictor.signature = retold(predictor.signature, state.instructions, words)
    predictor.demos = read_examples(state.demos, f"{path}.demos")
    predictor.train = read_examples(state.train, f"{path}.train")
    predictor.traces = []
    predictor.lm = None
    predictor.fields = _decisions(predictor.signature, state.decisions, f"{path}.decisions")


def _decisions(signature: Any, decisions: dict[str, object], path: str) -> dict[str, Any]:
    if not decisions:
        return {}
    read_decisions: Any = from_wire(decisions, path)
    try:
        DecisionState(signature, read_decisions)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise refusal(path, "settings of decision outputs, as DSPy checks them", "others") from None
    return dict(read_decisions)


def copy_module(module: dspy.Module) -> dspy.Module:
    """A copy that shares nothing that a call could change, but language models."""
    lms = [part.lm for _, part in named_learners(module) if part.lm is not None]
    try:
        copied: dspy.Module = copy.deepcopy(module, {id(lm): lm for lm in lms})
    except Exception:
        # Something in it cannot be copied, such as a lock; DSPy's way copies the rest.
        return module.deepcopy()
    return copied


# Patches ---------------------------------------------------------------------------------


def read_patches(patch: object, predictors: Mapping[str, object], path: str) -> dict[str, PredictorPatch]:
    """A patch of a state, its shape checked.

    Args:
        patch: A map of predictor to the parts of its state that are to be replaced.
        predictors: Those that there are, by name.
        path: Where it stands in the call, for messages.

    Raises:
        CallerError: `invalid_argument` naming the part.
    """
    given = read_state(patch, path)
    for name in given:
        if name not in predictors:
            raise unknown_field(path, name, predictors)
    read_parts = {name: read(PredictorPatch, part, f"{path}.{name}") for name, part in given.items()}
    for name, part in read_parts.items():
        _check_kind(part, predictors[name], f"{path}.{name}")
    return read_parts


def _check_kind(patch: PredictorPatch, part: object, path: str) -> None:
    """Refuse what is of the other kind of part."""
    of_source = keeps_source(part)
    for one in fields(PredictorPatch):
        if one.name != "lm" and getattr(patch, one.name) is not None and of_source != (one.name == "source"):
            whose = (
                "source code, which has source and lm" if of_source else "a predictor, which has no source"
            )
            raise refusal(f"{path}.{one.name}", f"nothing: this part is {whose}", "a value")


def patched(
    state: Mapping[str, object], patch: PredictorPatch, predictor: Any, base: type[dspy.Signature], path: str
) -> dict[str, object]:
    """The state of a predictor after a patch.

    Args:
        state: Before.
        patch: Read.
        predictor: One that is built as the program's is.
        base: The program's signature.
        path: Of the predictor's state, for messages.

    Raises:
        CallerError: `invalid_argument` naming the part, such as `state.self.demos[3].score`.
    """
    after = dict(state)
    if patch.source is not None:
        after["source"] = check_source(patch.source, f"{path}.source")
    if patch.instructions is not None:
        after["instructions"] = inspect.cleandoc(patch.instructions)  # as DSPy reads them
    if patch.fields is not None:
        after["fields"] = [{"prefix": one.prefix, "description": one.description} for one in patch.fields]
    if patch.demos is not None:
        after["demos"] = checked_demos(patch.demos, predictor, base, f"{path}.demos")
    if patch.train is not None:
        examples = read_examples(patch.train, f"{path}.train")
        after["train"] = write_examples(examples, f"{path}.train", "invalid_argument", as_given=True)
    if patch.decisions is not None:
        after["decisions"] = patch.decisions
    if patch.lm is not None:
        if holds_key(patch.lm):
            raise refusal(f"{path}.lm", "the name of a language model", "what looks like a credential")
        after["lm"] = patch.lm
    return {key: value for key, value in after.items() if value or key not in ("decisions", "lm")}


def checked_demos(demos: list[object], predictor: Any, base: type[dspy.Signature], path: str) -> list[object]:
    """Demos as they are stored, checked against the predictor's signature.

    Raises:
        CallerError: `invalid_argument`, as `patched`.
    """
    examples = check_demos(read_examples(demos, path), predictor.signature, base, path)
    return write_examples(examples, path, "invalid_argument", as_given=True)
