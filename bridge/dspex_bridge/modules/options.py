"""Arguments of modules' constructors that may come from the wire, and how each is read.

An argument of a plain type is read by that type. One that is something else (a module, a tool, a
reward) has a rule here by its name; the names are DSPy's, and mean the same in all its modules.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import dspy

from dspex_protocol.errors import invalid_argument

from ..host_functions import HostFunctions
from ..lms.lms import LanguageModels
from ..lms.request_config import check_config
from ..pipelines.fitting import Field
from ..pipelines.nodes import read_nodes, read_sources, read_wires
from ..signatures.annotations import Annotations
from ..signatures.descriptions import normalize_type
from .host_module import MAX_PARTS, TAKEN_NAMES, read_forward
from .knn import read_trainset
from .retrievers import read_retriever
from .rewards import read_reward
from .tools import read_tools
from .vectorizers import read_vectorizer


@dataclass(frozen=True, slots=True)
class Part:
    """A module that is part of another.

    Attributes:
        module: A copy of its own.
        spec: In normal form.
        signature: What it takes and gives.
        functions: Of the host, that it calls.
        outputs: The fields of its predictions, in normal form.
        call_inputs: Inputs that are not in its signature.
        keeps_state: Whether a call may change it.
        wants_trace: Whether it, or what is in it, reads DSPy's trace of the call.
    """

    module: dspy.Module
    spec: dict[str, object]
    signature: type[dspy.Signature]
    functions: frozenset[str]
    outputs: Mapping[str, Field]
    call_inputs: frozenset[str]
    keeps_state: bool
    wants_trace: bool


class NamedParts(dict[str, Part]):
    """Modules that are parts of another, by name."""

    @property
    def spec(self) -> dict[str, object]:
        """In normal form, by name."""
        return {name: part.spec for name, part in self.items()}

    @property
    def functions(self) -> frozenset[str]:
        """Of the host, that they call."""
        return frozenset(function for part in self.values() for function in part.functions)

    @property
    def keeps_state(self) -> bool:
        """Whether a call may change one of them."""
        return any(part.keeps_state for part in self.values())

    @property
    def wants_trace(self) -> bool:
        """Whether one of them reads DSPy's trace of the call."""
        return any(part.wants_trace for part in self.values())


class Parts(Protocol):
    """Where what is no plain value comes from."""

    functions: HostFunctions
    lms: LanguageModels

    def part(self, spec: object, path: str) -> Part:
        """Build a part.

        Raises:
            CallerError: naming the part of the spec.
        """
        ...


Read: TypeAlias = Callable[[object, str, Parts], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An argument of a module's constructor that may come from the wire.

    Attributes:
        read: Checks what came and makes the argument of it.
        type: In words.
        doc: What it does, in a sentence.
        required: The constructor has no default for it.
    """

    read: Read
    type: str
    doc: str
    required: bool = False


CONFIG: Final = Option(
    read=lambda value, path, parts: check_config(value, path),
    type="a map",
    doc="parameters of each request: temperature, max_tokens, n, and what the provider knows",
)

_LIMITS: Final[Mapping[str, tuple[int, int]]] = {
    "N": (1, 128),
    "M": (1, 64),
    "max_iters": (1, 1_000),
    "fail_count": (0, 128),
    "max_llm_calls": (0, 10_000),
    "max_predictor_calls": (1, 10_000),
    "max_output_chars": (1, 10_000_000),
    "k": (1, 1_000),
    "size": (1, 64),
    "max_bootstrapped_demos": (0, 1_000),
    "max_labeled_demos": (0, 1_000),
    "max_rounds": (1, 100),
}
"""Of whole numbers that say how often a language model is asked, and of how much is found."""

_DOCS: Final[Mapping[str, str]] = {
    "N": "how many attempts at most",
    "M": "how many attempts are compared",
    "max_iters": "how many turns at most",
    "threshold": "a reward of this much ends the attempts",
    "fail_count": "how many attempts may raise; N by default",
    "max_llm_calls": "how many questions its code may ask a language model",
    "max_predictor_calls": "how often its source may call predictors, at each prediction",
    "max_output_chars": "of what code prints, as many the model is shown",
    "temperature": "of the requests",
    "k": "how many passages or examples at most",
    "field": "the output that is voted on; by default the last",
    "size": "how many of the programs are asked, by what the inputs are; by default all",
    "max_bootstrapped_demos": "demos of which the module has made the outputs, at most",
    "max_labeled_demos": "demos taken from the examples as they are, at most",
    "max_rounds": "how often the module tries an example",
}


def _read_type(value: object, path: str, parts: Parts) -> Any:
    return Annotations(forbid_unknown=False).plain(normalize_type(value, path), path)


def _read_parts(value: object, path: str, parts: Parts) -> NamedParts:
    if not isinstance(value, dict) or not 1 <= len(value) <= MAX_PARTS:
        raise invalid_argument(path, f"a map of 1 to {MAX_PARTS} names to specs", value)
    for name in value:
        if (
            not isinstance(name, str)
            or not name.isidentifier()
            or name.startswith("_")
            or name in TAKEN_NAMES
        ):
            raise invalid_argument(
                f"{path}.{name}", "as name an identifier that no module has, without '_' before it", name
            )
    return NamedParts({name: parts.part(spec, f"{path}.{name}") for name, spec in value.items()})


_RULES: Final[Mapping[str, Option]] = {
    "config": CONFIG,
    "rationale_field_type": Option(
        read=_read_type, type="a type", doc="type of the field `reasoning`, which is str by default"
    ),
    "module": Option(
        read=lambda value, path, parts: parts.part(value, path),
        type="a spec: {module, signature, options}",
        doc="the module that is run",
    ),
    "nodes": Option(
        read=lambda value, path, parts: read_nodes(value, path, parts.part),
        type="a map of name to spec, or to {program, version} of a stored program",
        doc="the modules whose fields feed one another",
    ),
    "wires": Option(
        read=lambda value, path, parts: read_wires(value, path),
        type="a map of node to a map of input to source: an input, node.field, or {value}",
        doc="what feeds inputs of nodes; by default what has the same name",
    ),
    "outputs": Option(
        read=lambda value, path, parts: read_sources(value, path),
        type="a map of output to node.field",
        doc="what feeds the outputs; by default what has the same name",
    ),
    "reward_fn": Option(
        read=lambda value, path, parts: read_reward(value, path, parts.functions),
        type="a host function's name, or {function, desc, timeout_s}",
        doc="called with {inputs, prediction}; answers with a number, and more is better",
    ),
    "forward": Option(
        read=lambda value, path, parts: read_forward(value, path, parts.functions),
        type="a host function's name, or {function, timeout_s}",
        doc="called with the inputs by name; answers with a map of the outputs, or a prediction",
    ),
    "parts": Option(
        read=_read_parts,
        type="a map of name to a spec: {module, signature, options}",
        doc="modules that the function may call by name, with part.predict",
    ),
    "programs": Option(
        read=_read_parts,
        type="a map of name to a spec: {module, signature, options}",
        doc="the programs that are asked",
    ),
    "function": Option(
        read=lambda value, path, parts: read_retriever(value, path, parts.functions),
        type="a host function's name, or {function, timeout_s}",
        doc="called with {query, k}; answers with a list of texts, or of maps with long_text",
    ),
    "trainset": Option(
        read=lambda value, path, parts: read_trainset(value, path),
        type="an array of examples: maps of field to value",
        doc="what is searched: each has the signature's inputs, and some of its outputs",
    ),
    "vectorizer": Option(
        read=lambda value, path, parts: read_vectorizer(value, path, parts.functions, parts.lms),
        type="the name of a language model that makes vectors, or {function, timeout_s}",
        doc="makes vectors of inputs; a host function is called with {model, texts, config}",
    ),
    "tools": Option(
        read=lambda value, path, parts: read_tools(value, path, parts.functions),
        type="an array of {name, desc, args, function, timeout_s}",
        doc="host functions that the model may call; args is a JSON Schema by argument",
    ),
}

LEFT_OUT: Final = frozenset(
    ("self", "signature", "callbacks", "rationale_field", "verbose", "interpreter_factory", "sub_lm")
)
"""Arguments that no spec can set: objects of Python, and printing of prompts. Which interpreter there
is, the server decides; what RLM's code asks goes to the call's language model."""


def options_of(make: Callable[..., Any]) -> Mapping[str, Option] | str:
    """The options of a class, found in its constructor.

    Returns:
        By name; or, in words, why it cannot be built from a spec.
    """
    found: dict[str, Option] = {}
    for name, parameter in arguments_of(make).items():
        if name in LEFT_OUT:
            continue
        option = _option(name, parameter)
        if option is None:
            return f"its argument {name} has no form on the wire"
        found[name] = option
    return found


def arguments_of(make: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The arguments of a class's constructor."""
    initializer: Any = getattr(make, "__init__")  # noqa: B009 - of the class, not of its metaclass
    return inspect.signature(initializer).parameters


def _option(name: str, parameter: inspect.Parameter) -> Option | None:
    required = parameter.default is inspect.Parameter.empty and parameter.kind not in (
        inspect.Parameter.VAR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    rule = _RULES.get(name)
    if rule is not None:
        return Option(read=rule.read, type=rule.type, doc=rule.doc, required=required)
    kinds = _plain_kinds(parameter)
    if not kinds:
        return None
    low_high = _LIMITS.get(name)
    return Option(
        read=lambda value, path, parts: _read_plain(value, path, kinds, low_high),
        type=_in_words(kinds, low_high),
        doc=_DOCS.get(name, "as DSPy documents it"),
        required=required,
    )


_PLAIN: Final[Mapping[str, type]] = {kind.__name__: kind for kind in (int, float, bool, str)}


def _plain_kinds(parameter: inspect.Parameter) -> tuple[type, ...]:
    """The plain types of an argument, from its annotation or its default; none for others."""
    annotation: Any = parameter.annotation
    if annotation is inspect.Parameter.empty:
        annotation = type(parameter.default)
    if isinstance(annotation, str):  # postponed, as `from __future__ import annotations` has it
        members = [part.strip() for part in annotation.split("|")]
    elif typing.get_origin(annotation) in (types.UnionType, typing.Union):
        members = [getattr(part, "__name__", "") for part in typing.get_args(annotation)]
    else:
        members = [getattr(annotation, "__name__", "")]
    wanted = [member for member in members if member not in ("None", "NoneType")]
    return tuple(_PLAIN[member] for member in wanted) if wanted and set(wanted) <= set(_PLAIN) else ()


def plain_argument(parameter: inspect.Parameter) -> tuple[str, Callable[[object, str], object]] | None:
    """An argument of a plain type, whatever its class.

    Returns:
        The type in words, and what reads it at a path; None for other types.
    """
    kinds = _plain_kinds(parameter)
    return (
        (_in_words(kinds, None), lambda value, path: _read_plain(value, path, kinds, None)) if kinds else None
    )


def _read_plain(value: object, path: str, kinds: tuple[type, ...], limits: tuple[int, int] | None) -> object:
    if float in kinds and type(value) is int:
        value = float(value)
    if type(value) not in kinds or (limits and isinstance(value, int) and not _within(value, limits)):
        raise invalid_argument(path, _in_words(kinds, limits), value)
    return value


def _within(value: int, limits: tuple[int, int]) -> bool:
    return limits[0] <= value <= limits[1]


_WORDS: Final[Mapping[type, str]] = {int: "an integer", float: "a number", bool: "a boolean", str: "a string"}


def _in_words(kinds: tuple[type, ...], limits: tuple[int, int] | None) -> str:
    words = " or ".join(_WORDS[kind] for kind in kinds)
    return f"{words} from {limits[0]} to {limits[1]}" if limits else words
