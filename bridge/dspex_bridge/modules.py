"""DSPy's modules by name, with the options that may come from the wire, and their learned state.

The modules are found in the installed DSPy. A module can be built once it has a rule
below: which arguments of its constructor a description may set, and how each is read.
Names and options only choose; nothing is imported or called by a name from the wire.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import dspy
from dspy.signatures.signature import SignatureMeta

from dspex_protocol.errors import describe_value, invalid_argument

from .annotations import Annotations
from .descriptions import normalize_type
from .refusals import missing, refusal, unknown_field
from .signatures import build_signature
from .type_names import DSPY_TYPES, FITTING, KINDS, PLAIN_TYPES
from .values import from_wire, to_wire

Read = Callable[[object, str], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An argument of a module's constructor that may come from the wire.

    Attributes:
        read: Checks what came and makes the argument of it.
        type: In words.
        doc: What it does, in a sentence.
    """

    read: Read
    type: str
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How one class is built.

    Attributes:
        options: Arguments by name. `config` is spread, as DSPy's constructors take it.
        taken_inputs: Names that its signature's inputs cannot have.
    """

    options: Mapping[str, Option]
    taken_inputs: frozenset[str] = frozenset()


def build_module(
    name: str, signature: object, options: Mapping[str, object], path: str = "spec"
) -> dspy.Module:
    """Make a module.

    Args:
        name: A DSPy class with a rule, such as `ChainOfThought`.
        signature: A signature class, or a description of one.
        options: By the names of the constructor's arguments.
        path: Where the spec stands in the call, for messages.

    Raises:
        CallerError: `invalid_argument` naming the part of the spec.
    """
    rule = RULES.get(name)
    if rule is None:
        raise refusal(f"{path}.module", f"one of the modules {', '.join(RULES)}", describe_value(name))
    class_ = (
        signature if isinstance(signature, SignatureMeta) else build_signature(signature, f"{path}.signature")
    )
    _refuse_taken_names(rule, class_, name, path)
    arguments: dict[str, Any] = {}
    for key, value in options.items():
        option = rule.options.get(key)
        if option is None:
            raise unknown_field(f"{path}.options", key, rule.options)
        read = option.read(value, f"{path}.options.{key}")
        arguments.update(_spread(name, read, f"{path}.options.{key}") if key == "config" else {key: read})
    module: dspy.Module = _found_modules()[name](class_, **arguments)
    return module


def _spread(name: str, config: dict[str, Any], path: str) -> dict[str, Any]:
    """A config that may be spread over the constructor without touching its other arguments."""
    for key in config:
        if key in inspect.signature(_found_modules()[name].__init__).parameters:
            raise refusal(f"{path}.{key}", "a parameter of the request", f"an argument of {name}")
    return config


def _refuse_taken_names(rule: Rule, signature: Any, name: str, path: str) -> None:
    for field in signature.input_fields:
        if field in rule.taken_inputs:
            raise refusal(
                f"{path}.signature", f"no input {field!r}: {name} writes an output of that name", "one"
            )


@functools.cache
def _found_modules() -> Mapping[str, Callable[..., Any]]:
    """Every module class in DSPy's namespace."""
    return {
        name: found
        for name, found in sorted(vars(dspy).items())
        if inspect.isclass(found) and issubclass(found, dspy.Module) and found is not dspy.Module
    }


# Options ---------------------------------------------------------------------------------

_CREDENTIALS: Final = frozenset(
    (
        "api_key",
        "api_base",
        "base_url",
        "api_version",
        "headers",
        "extra_headers",
        "extra_body",
        "organization",
        "model",
        "model_list",
        "custom_llm_provider",
        "engine",
        "async_engine",
        "provider",
        "callbacks",
        "lm",
        "signature",
        "demos",
        "azure_ad_token",
        "aws_access_key_id",
        "aws_secret_access_key",
        "cache",
    )
)
"""What says where requests go and on whose account: that is an LM's business, not a call's."""

_CONFIG_RANGES: Final[Mapping[str, tuple[type, float, float]]] = {
    "temperature": (float, 0, 100),
    "top_p": (float, 0, 1),
    "max_tokens": (int, 1, 2**31),
    "n": (int, 1, 128),
    "rollout_id": (int, -(2**63), 2**63),
    "seed": (int, -(2**63), 2**63),
}
_MAX_CONFIG_DEPTH: Final = 8


def check_config(config: object, path: str = "config") -> dict[str, Any]:
    """Check what is to be handed to the language model with each request.

    Args:
        config: A map such as `{temperature, max_tokens, n}`; names that DSPy does not know
            go to the provider as they are.
        path: Where it stands in the call, for messages.

    Raises:
        CallerError: `invalid_argument` for a value out of range or not plain, and for keys
            that say where requests go.
    """
    if not isinstance(config, dict):
        raise invalid_argument(path, "a map", config)
    for key, value in config.items():
        where = f"{path}.{key}"
        if not isinstance(key, str) or not key.isidentifier() or key.startswith("_"):
            raise invalid_argument(path, "names of parameters as keys", key)
        if key in _CREDENTIALS or key.endswith(("api_key", "access_key", "_token", "_secret")):
            raise refusal(where, "a parameter of the request; this one belongs to the language model", "it")
        if key in _CONFIG_RANGES and value is not None:
            _check_range(key, value, where)
        _check_plain(value, where, 0)
    return dict(config)


def _check_range(key: str, value: object, path: str) -> None:
    kind, low, high = _CONFIG_RANGES[key]
    allowed = (int,) if kind is int else (int, float)
    if type(value) not in allowed or not isinstance(value, int | float) or not low <= value <= high:
        raise invalid_argument(
            path, f"{'an integer' if kind is int else 'a number'} from {low} to {high}", value
        )


def _check_plain(value: object, path: str, depth: int) -> None:
    """Only what JSON has: it ends in a request's body."""
    if depth > _MAX_CONFIG_DEPTH:
        raise refusal(path, f"at most {_MAX_CONFIG_DEPTH} levels", "one more")
    if isinstance(value, dict):
        for key, member in value.items():
            if not isinstance(key, str):
                raise invalid_argument(path, "string keys", key)
            _check_plain(member, f"{path}.{key}", depth + 1)
    elif isinstance(value, list):
        for n, member in enumerate(value):
            _check_plain(member, f"{path}[{n}]", depth + 1)
    elif value is not None and type(value) not in (bool, int, str) and not _is_finite(value):
        raise invalid_argument(path, "nil, a boolean, a finite number, a string, an array or a map", value)


def _is_finite(value: object) -> bool:
    return type(value) is float and math.isfinite(value)


def _read_type(value: object, path: str) -> Any:
    return Annotations(forbid_unknown=False).plain(normalize_type(value, path), path)


_CONFIG: Final = Option(
    read=check_config,
    type="a map",
    doc="parameters of each request: temperature, max_tokens, n, and what the provider knows",
)

RULES: Final[Mapping[str, Rule]] = {
    "Predict": Rule(options={"config": _CONFIG}),
    "ChainOfThought": Rule(
        options={
            "rationale_field_type": Option(
                read=_read_type, type="a type", doc="type of the field `reasoning`, which is str by default"
            ),
            "config": _CONFIG,
        },
        taken_inputs=frozenset({"reasoning"}),
    ),
}
"""The modules that can be built, by DSPy's names."""


# Description -----------------------------------------------------------------------------


def describe_modules() -> list[dict[str, object]]:
    """Every module of the installed DSPy, for `system.describe`.

    Returns:
        Rows of `name`, `doc`, `available` (it can be built), `async` (it runs without a
        thread), and for available ones `options`: name to `{type, doc, required}`.
    """
    return [_describe_module(name, class_) for name, class_ in _found_modules().items()]


def _describe_module(name: str, class_: Any) -> dict[str, object]:
    row: dict[str, object] = {
        "name": name,
        "doc": (inspect.getdoc(class_) or "").partition("\n")[0],
        "available": name in RULES,
        "async": hasattr(class_, "aforward"),
    }
    if name in RULES:
        row["options"] = {
            key: {"type": option.type, "doc": option.doc, "required": False}
            for key, option in RULES[name].options.items()
        }
    return row


def describe_types() -> list[dict[str, object]]:
    """The types of a signature's fields, for `system.describe`.

    Returns:
        Rows of `name`, `form` (`word` or `map`), `dspy` (a class of DSPy's own) and the
        `constraints` that it takes.
    """
    words = [(name, "word") for name in PLAIN_TYPES]
    maps = [(kind, "map") for kind in KINDS]
    return [
        {"name": name, "form": form, "dspy": name in DSPY_TYPES, "constraints": list(FITTING.get(name, ()))}
        for name, form in words + maps
    ]


# State -----------------------------------------------------------------------------------


def dump_state(module: dspy.Module) -> dict[str, object]:
    """What a module has learned, as values of the protocol.

    Over DSPy's own `dump_state`: demos and training examples keep their types (DSPy turns
    images into text), and language models are left out, since programs refer to them by
    name and their settings hold endpoints.
    """
    state: dict[str, object] = {}
    for name, predictor in module.named_parameters():
        own: dict[str, Any] = predictor.dump_state(json_mode=False)
        plain = to_wire({key: own[key] for key in ("signature", "fields") if key in own})
        assert isinstance(plain, dict)
        demos, train = _examples(predictor.demos), _examples(predictor.train)
        state[name] = {**plain, "demos": demos, "train": train, "traces": [], "lm": None}
    return state


def _examples(examples: list[Any]) -> list[object]:
    return [
        to_wire(example if isinstance(example, dspy.Example) else dspy.Example(dict(example)))
        for example in examples
    ]


def load_state(module: dspy.Module, state: object, path: str = "state") -> dspy.Module:
    """A fresh copy of a module with the state in it; the module stays as it is.

    Always a copy: DSPy derives each loaded signature from the one before, and the 141st
    load of one object ends in RecursionError.

    Raises:
        CallerError: `invalid_argument` when the state is not of a module built like this one.
    """
    if not isinstance(state, dict):
        raise invalid_argument(path, "a map of predictor to state", state)
    fresh: dspy.Module = module.deepcopy()
    predictors = dict(fresh.named_parameters())
    for name in state:
        if name not in predictors:
            raise unknown_field(path, name, predictors)
    for name, predictor in predictors.items():
        if name not in state:
            raise missing(f"{path}.{name}", "the state of that predictor")
        predictor.load_state(_checked_state(state[name], predictor, f"{path}.{name}"))
    return fresh


_STATE_KEYS: Final = ("signature", "demos", "train", "traces", "lm", "fields")


def _checked_state(state: object, predictor: Any, path: str) -> dict[str, Any]:
    if not isinstance(state, dict):
        raise invalid_argument(path, "a map", state)
    for key in state:
        # DSPy sets every other key as an attribute of the predictor.
        if key not in _STATE_KEYS:
            raise unknown_field(path, key, _STATE_KEYS)
    _check_signature_state(state.get("signature"), predictor.signature, f"{path}.signature")
    if state.get("lm") is not None:
        raise invalid_argument(f"{path}.lm", "nothing: language models go by name", state["lm"])
    checked = {
        **{key: _read_examples(state.get(key, []), f"{path}.{key}") for key in ("demos", "train")},
        "signature": state["signature"],
        "traces": [],
        "lm": None,
    }
    if state.get("fields"):
        checked["fields"] = from_wire(state["fields"], f"{path}.fields")
    return checked


def _check_signature_state(state: object, signature: Any, path: str) -> None:
    match state:
        case {"instructions": str(), "fields": list(fields), **rest} if not rest:
            pass
        case _:
            raise invalid_argument(path, "a map with instructions and fields", state)
    # DSPy would pair what there is by position and say nothing.
    if len(fields) != len(signature.fields):
        raise invalid_argument(f"{path}.fields", f"an array of {len(signature.fields)}", fields)
    for n, field in enumerate(fields):
        match field:
            case {"prefix": str(), "description": str(), **rest} if not rest:
                pass
            case _:
                raise invalid_argument(f"{path}.fields[{n}]", "a map of prefix and description", field)


def _read_examples(examples: object, path: str) -> list[object]:
    if not isinstance(examples, list):
        raise invalid_argument(path, "an array of examples", examples)
    read = [from_wire(example, f"{path}[{n}]") for n, example in enumerate(examples)]
    for n, example in enumerate(read):
        if not isinstance(example, dspy.Example):
            raise invalid_argument(f"{path}[{n}]", "an example", example)
    return read
