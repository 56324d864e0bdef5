"""DSPy's own JSON of a program: what `module.save("x.json")` writes and `module.load("x.json")` reads.

Of a module it is a map of parameter to state, and of a Predict by itself its state; `metadata`
stands beside them. It holds less than a record does. Written, it is what DSPy would write of the
same module (and of one with a retriever, which DSPy can read and fails to write), so:

- the spec is not in it: neither module nor signature, types, constraints, nor config;
- names of language models are not in it, since DSPy stores whole models there;
- demos and training examples are maps of JSON: which fields were inputs is lost; images, audio,
  files, documents and citations are the marked text that DSPy puts into a prompt; code and
  reasoning are text; tool calls lose their ids; objects are maps; dates and times are text;
- infinite numbers, and those that are none, are null; values of other tags are maps;
- bytes, decimals, durations, tensors, integers of more than 64 bits, and maps whose keys are not
  strings have no JSON: a program with such demos is refused, naming the demo.

Read, what the signature's types tell is undone: marked text becomes the image or file that it was,
text of a date a date. Language models of the document are dropped whole, with their keys and
addresses, and so are traces. Nothing of a document is imported, fetched, opened or called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import dspy
import orjson
from dspy.utils.saving import get_dependency_versions

from dspex_protocol import DSPexError, error
from dspex_protocol.errors import describe_value, invalid_argument
from dspex_protocol.records import read

from ..code.flex import check_source, keeps_source
from ..refusals import missing, refusal, unknown_field
from ..values.outgoing import to_wire
from .live import LiveProgram
from .records import DSPY_VERSION
from .revival import revived
from .state import Words, copy_module, named_learners

_METADATA: Final = "metadata"
_FORMAT: Final = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


def dump_document(program: LiveProgram) -> str:
    """The JSON text that DSPy's `save` writes for a program.

    Raises:
        DSPexError: `value_unencodable` naming a demo that has no JSON.
    """
    copied = copy_module(program.module)
    for name, predictor in named_learners(copied):
        predictor.lm = None
        if keeps_source(predictor):
            continue
        predictor.train = [_plain(example) for example in predictor.train]
        _check_json(predictor.dump_state(), f"state.{name}")
    whole = _dumped(copied)
    whole[_METADATA] = {"dependency_versions": get_dependency_versions()}
    return orjson.dumps(whole, option=_FORMAT).decode()


def _dumped(module: Any) -> dict[str, Any]:
    """The state of each parameter. DSPy's own way fails where one is a retriever."""
    if type(module).dump_state is not dspy.Module.dump_state:
        own: dict[str, Any] = module.dump_state()  # of a Predict by itself
        return own
    return {name: parameter.dump_state() for name, parameter in module.named_parameters()}


def _plain(example: Any) -> object:
    return example.toDict() if isinstance(example, dspy.Example) else example


def _check_json(state: Mapping[str, Any], path: str) -> None:
    """Find what JSON has no form for, by the smallest part that the writer refuses."""
    for part, value in state.items():
        if _has_json(value):
            continue
        for n, example in enumerate(value if isinstance(value, list) else []):
            for name, member in example.items():
                if not _has_json(member):
                    raise _no_json(f"{path}.{part}[{n}].{name}", member)
        raise _no_json(f"{path}.{part}", value)


def _has_json(value: object) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:  # also for integers that are too large, and for what refers to itself
        return False
    return True


def _no_json(path: str, value: object) -> DSPexError:
    expected, got = "a value that has a form in DSPy's JSON", describe_value(value)
    return error(
        "value_unencodable",
        f"{path}: expected {expected}, got {got}",
        details={"field": path, "expected": expected, "got": got},
    )


# Reading ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signature:
    instructions: str
    fields: list[Words]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Predictor:
    """What DSPy dumps of a predictor. DSPy's own loader would set any other key as an attribute."""

    signature: _Signature
    demos: list[dict[str, object]]
    train: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    traces: list[object] = field(default_factory=list[object])
    lm: dict[str, object] | None = None
    fields: dict[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What DSPy dumps of a Flex; its language model is dropped as those of predictors are."""

    module_src: str
    lm: dict[str, object] | None = None


def read_document(document: str, program: LiveProgram) -> dict[str, object]:
    """The state that a document describes.

    Args:
        document: JSON text.
        program: Fresh from the spec.

    Raises:
        CallerError: `invalid_argument` naming the part of the document; where another version
            of DSPy wrote it, with both versions.
    """
    whole = _parse(document)
    try:
        return _read_state(whole, program)
    except RecursionError:
        raise refusal("document", "a document of less nesting", "more than can be read") from None
    except DSPexError as refused:
        theirs = _version_of(whole)
        if theirs is None or theirs == DSPY_VERSION:
            raise
        raise error(
            refused.code,
            f"{refused.message} (DSPy {theirs} wrote this document, and here is DSPy {DSPY_VERSION})",
            details={**refused.details, "dspy": {"document": theirs, "here": DSPY_VERSION}},
        ) from None


def _parse(document: str) -> dict[str, Any]:
    try:
        whole: object = orjson.loads(document)
    except ValueError:
        raise refusal("document", "JSON text, as DSPy's save writes it", "other text") from None
    if not isinstance(whole, dict):
        raise invalid_argument("document", "a JSON object of predictor to state", whole)
    return whole


def _version_of(whole: Mapping[str, Any]) -> str | None:
    match whole.get(_METADATA):
        case {"dependency_versions": {"dspy": str(version)}} if len(version) <= 32:
            return version
        case _:
            return None


def _read_state(whole: Mapping[str, Any], program: LiveProgram) -> dict[str, object]:
    if not isinstance(whole.get(_METADATA, {}), dict):
        raise invalid_argument("document.metadata", "a map", whole[_METADATA])
    states = {name: state for name, state in whole.items() if name != _METADATA}
    module: Any = program.module
    if isinstance(module, dspy.Predict) or keeps_source(module):
        return {"self": _read_predictor(states, module, "document")}
    parameters = dict(module.named_parameters())
    for name in states:
        if name not in parameters:
            raise unknown_field("document", name, parameters)
    for name, _ in named_learners(module):
        if name not in states:
            raise missing(f"document.{name}", "the state of that predictor")
    return {
        name: _read_predictor(states[name], predictor, f"document.{name}")
        for name, predictor in named_learners(module)
    }


def _read_predictor(given: object, predictor: Any, path: str) -> dict[str, object]:
    if keeps_source(predictor):
        return {"source": check_source(read(_Source, given, path).module_src, f"{path}.module_src")}
    own = read(_Predictor, given, path)
    expected = len(predictor.signature.fields)
    if len(own.signature.fields) != expected:
        raise refusal(
            f"{path}.signature.fields", f"an array of {expected}", f"an array of {len(own.signature.fields)}"
        )
    return {
        "instructions": own.signature.instructions,
        "fields": [{"prefix": one.prefix, "description": one.description} for one in own.signature.fields],
        "demos": _revived_all(own.demos, predictor.signature),
        "train": _revived_all(own.train, predictor.signature),
        **({"decisions": own.fields} if own.fields else {}),
    }


def _revived_all(examples: list[dict[str, Any]], signature: Any) -> list[object]:
    annotations = {name: info.annotation for name, info in signature.fields.items()}
    return [
        to_wire(
            dspy.Example({name: revived(value, annotations.get(name, Any)) for name, value in one.items()})
        )
        for one in examples
    ]
