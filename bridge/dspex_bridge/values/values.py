"""DSPy's objects to values of the protocol, and back.

DSPy's types (Prediction, Image, …) travel as `Tagged` maps of their fields, never as
`model_dump()`, which turns most of them into a marker string inside a prompt. Whatever
the protocol can carry itself passes as it is.
"""

from __future__ import annotations

import datetime as dt
import functools
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, Final, TypeVar

import dspy
import pydantic
from dspy.experimental import Citations, Document

from dspex_protocol import FunctionReference, Tagged, Tensor
from dspex_protocol.errors import DSPexError, error, invalid_argument
from dspex_protocol.extensions import ITEM_BYTES
from dspex_protocol.limits import MAX_DEPTH, MEDIA_BYTES

from ..refusals import unknown_field
from .media import with_text

T = TypeVar("T")

_ATOMS: Final = frozenset(
    (
        NoneType,
        bool,
        int,
        float,
        str,
        bytes,
        Decimal,
        Tensor,
        FunctionReference,
        dt.date,
        dt.datetime,
        dt.time,
        dt.timedelta,
        uuid.UUID,
    )
)
"""Exact types that are values of the protocol and hold no others."""

_DSPY_TYPES: Final[Mapping[str, tuple[Any, tuple[str, ...]]]] = {
    "image": (dspy.Image, ("url",)),
    "audio": (dspy.Audio, ("data", "audio_format")),
    "file": (dspy.File, ("file_data", "file_id", "filename")),
    "history": (dspy.History, ("messages",)),
    "reasoning": (dspy.Reasoning, ("content",)),
    "document": (Document, ("data", "title", "media_type", "context")),
    "citations": (Citations, ("citations",)),
    "tool_calls": (dspy.ToolCalls, ("tool_calls", "tool_call_results")),
    "tool_call_results": (dspy.ToolCallResults, ("tool_call_results",)),
    "tool": (dspy.Tool, ("name", "desc", "args", "arg_desc")),
    "code": (dspy.Code, ("code", "language")),
}
"""Tag to class and to the fields that are sent."""

_WITH_BYTES: Final = {
    tag: tuple(dict.fromkeys((*_DSPY_TYPES[tag][1], "bytes", "media_type"))) for tag in MEDIA_BYTES
}
"""Fields of what may be given as bytes too."""

_TAGGED_CLASSES: Final = frozenset(class_ for class_, _ in _DSPY_TYPES.values())


def to_wire(value: object) -> object:
    """Make a value of the protocol of what a program gave.

    Raises:
        DSPexError: `value_unencodable` when a part of it has no form on the wire, or is
            nested more than 64 levels deep.
    """
    return value if type(value) in _ATOMS else _write(value, 0)


def from_wire(value: object, path: str = "value") -> object:
    """Make DSPy's objects of the tagged values in what came.

    Tags without a class of DSPy's, `tool` (its function lives in the host) and tensors
    stay what the codec made of them.

    Raises:
        CallerError: `invalid_argument` when the content of a tag is not what its class wants.
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if isinstance(value, Tagged):
        reader = _READERS.get(value.tag)
        return value if reader is None else reader(value.value, path)
    if isinstance(value, dict):
        return {key: from_wire(member, f"{path}.{key}") for key, member in value.items()}
    if isinstance(value, list | tuple):
        members = [from_wire(member, f"{path}[{n}]") for n, member in enumerate(value)]
        return members if kind is list else tuple(members)
    return value


def has_tag(value: object) -> bool:
    """Whether a value is of one of DSPy's types that travel under a tag."""
    return type(value) in _TAGGED_CLASSES


# Writing ---------------------------------------------------------------------------------


def _refused(value: object) -> DSPexError:
    kind = type(value)
    return error(
        "value_unencodable",
        f"a value of the class {kind.__module__}.{kind.__qualname__} has no form on the wire",
    )


@functools.singledispatch
def _write(value: object, depth: int) -> object:
    if type(value) in _ATOMS:
        return value
    numpy = sys.modules.get("numpy")  # where it is not loaded nothing can be of its types
    if numpy is not None and isinstance(value, numpy.ndarray):
        return _write_array(value)
    if numpy is not None and isinstance(value, numpy.generic):
        scalar: Any = value
        plain = scalar.item()
        if not isinstance(plain, numpy.generic):
            return to_wire(plain)
    raise _refused(value)


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise error(
            "value_unencodable", f"the value is nested more than {MAX_DEPTH} levels deep, or holds itself"
        )
    return depth + 1


def _write_members(members: Iterable[object], depth: int) -> list[object]:
    inner = _deeper(depth)
    return [member if type(member) in _ATOMS else _write(member, inner) for member in members]


def _write_fields(fields: Mapping[str, object], depth: int) -> dict[str, object]:
    inner = _deeper(depth)
    return {name: value if type(value) in _ATOMS else _write(value, inner) for name, value in fields.items()}


@_write.register(list)
def _(value: list[object], depth: int) -> object:
    return _write_members(value, depth)


@_write.register(tuple)
def _(value: tuple[object, ...], depth: int) -> object:
    return tuple(_write_members(value, depth))


@_write.register(set)
@_write.register(frozenset)
def _(value: set[object], depth: int) -> object:
    return Tagged(
        "set", _write_members(sorted(value, key=lambda member: (type(member).__name__, repr(member))), depth)
    )


@_write.register(dict)
def _(value: dict[object, object], depth: int) -> object:
    if all(type(key) is str for key in value):
        return _write_fields(value, depth)  # type: ignore[arg-type]
    return Tagged("pairs", [_write_members(pair, _deeper(depth)) for pair in value.items()])


@_write.register(Tagged)
def _(value: Tagged, depth: int) -> object:
    return Tagged(value.tag, _write_members((value.value,), depth)[0])


@_write.register(Enum)
def _(value: Enum, depth: int) -> object:
    return _write_members((value.value,), depth)[0]


# Subclasses of what is plain, such as numpy.float64 and numpy.str_.
@_write.register(int)
def _(value: int, depth: int) -> object:
    return int(value)


@_write.register(float)
def _(value: float, depth: int) -> object:
    return float(value)


@_write.register(str)
def _(value: str, depth: int) -> object:
    return str.__str__(value)


@_write.register(bytes)
@_write.register(bytearray)
@_write.register(memoryview)
def _(value: bytes, depth: int) -> object:
    return bytes(value)


@_write.register(pydantic.BaseModel)
def _(value: pydantic.BaseModel, depth: int) -> object:
    return _write_fields({**value.__dict__, **(value.__pydantic_extra__ or {})}, depth)


@_write.register(dspy.Example)
def _(value: dspy.Example, depth: int) -> object:
    content: dict[str, object] = {"fields": dict(value.items(include_dspy=True))}
    inputs: set[str] | None = value._input_keys  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if inputs is not None:
        content["inputs"] = sorted(inputs)
    return Tagged("example", _write_fields(content, depth))


@_write.register(dspy.Prediction)
def _(value: dspy.Prediction, depth: int) -> object:
    content: dict[str, object] = {"fields": dict(value.items(include_dspy=True))}
    completions: Any = value.completions
    # One completion says again what the fields say.
    columns: dict[str, list[object]] = {} if completions is None else dict(completions.items())
    count = len(next(iter(columns.values()), []))
    if count > 1:
        content["completions"] = [{name: column[n] for name, column in columns.items()} for n in range(count)]
    usage = value.get_lm_usage()
    if usage is not None:
        content["usage"] = usage
    return Tagged("prediction", _write_fields(content, depth))


def _write_dspy_type(tag: str, names: tuple[str, ...], value: object, depth: int) -> object:
    fields = {name: getattr(value, name) for name in names}
    if tag == "tool_calls" and isinstance(fields["tool_call_results"], dspy.ToolCallResults):
        # A map there, as it was before these results had a tag of their own.
        fields["tool_call_results"] = {"tool_call_results": fields["tool_call_results"].tool_call_results}
    return Tagged(
        tag, _write_fields({name: field for name, field in fields.items() if field is not None}, depth)
    )


# The stub of singledispatch knows only its decorator form.
_register: Final[Any] = _write.register

for _tag, (_class, _names) in _DSPY_TYPES.items():
    _register(_class, functools.partial(_write_dspy_type, _tag, _names))


def _write_array(array: Any) -> Tensor:
    kind, size = array.dtype.kind, array.dtype.itemsize
    dtype = "bool" if kind == "b" else f"{kind}{size}"
    if dtype not in ITEM_BYTES:
        raise error("value_unencodable", f"an array of the type {array.dtype} has no form on the wire")
    return Tensor(dtype, tuple(array.shape), array.astype(array.dtype.newbyteorder("<")).tobytes())


# Reading ---------------------------------------------------------------------------------


def read_dspy_type(tag: str, content: object, path: str) -> object:
    """Build one of DSPy's types from a map of its fields.

    Args:
        tag: Such as `image`; one of the tags of docs/protocol.md section 3.1.
        content: A map; for a type that is one text (`image`, `code`, `reasoning`), also a string;
            for one of media, also its bytes.
        path: Where it stands, for messages.

    Raises:
        CallerError: `invalid_argument`.
    """
    class_, names = _DSPY_TYPES[tag]
    is_media = tag in MEDIA_BYTES
    if isinstance(content, str):
        content = {names[0]: content}
    elif isinstance(content, bytes) and is_media:
        content = {"bytes": content}
    fields = _fields_of(content, _WITH_BYTES[tag] if is_media else names, path)
    if is_media:
        fields = with_text(tag, fields, path)
    try:
        return _BUILDERS[tag](class_, fields)
    except (ValueError, TypeError, KeyError, AttributeError):  # pydantic's ValidationError is a ValueError
        raise invalid_argument(
            path, f"the fields of DSPy's {class_.__name__}: {', '.join(names)}", content
        ) from None


def _fields_of(content: object, names: tuple[str, ...], path: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise invalid_argument(path, f"a map with {', '.join(names)}", content)
    for name in content:
        if name not in names:
            raise unknown_field(path, name, names)
    return {name: from_wire(value, f"{path}.{name}") for name, value in content.items()}


def _build(class_: Any, fields: dict[str, Any]) -> object:
    return class_(**fields)


def _build_history(class_: Any, fields: dict[str, Any]) -> object:
    # The validator looks, but what came is kept: it would take blanks off the ends of names.
    class_(**fields)
    return class_.model_construct(**fields)


def _build_code(class_: Any, fields: dict[str, Any]) -> object:
    # Not through the validator: it looks for code fences inside, so code about Markdown
    # would lose its surroundings each time it passes.
    code, language = fields["code"], fields.get("language", dspy.Code.language)
    if not isinstance(code, str):
        raise TypeError
    return code_class(language).model_construct(code=code)


def code_class(language: object) -> type[dspy.Code]:
    """`dspy.Code` of a language; the same class each time."""
    if language == dspy.Code.language:
        plain: type[dspy.Code] = dspy.Code
        return plain
    if not isinstance(language, str) or not 1 <= len(language) <= 32:
        raise ValueError
    return _code_class(language)


@functools.lru_cache(maxsize=64)
def _code_class(language: str) -> type[dspy.Code]:
    made: type[dspy.Code] = dspy.Code[language]  # pyright: ignore[reportInvalidTypeArguments, reportUnknownVariableType]
    return made


def _build_tool_calls(class_: Any, fields: dict[str, Any]) -> object:
    calls = [class_.ToolCall(**call) for call in fields["tool_calls"]]
    results = fields.get("tool_call_results")
    if isinstance(results, dict) and "tool_call_results" in results:
        results = dspy.ToolCallResults(**results)
    return class_(tool_calls=calls, tool_call_results=results)


def _build_citations(class_: Any, fields: dict[str, Any]) -> object:
    return class_(citations=[class_.Citation(**citation) for citation in fields["citations"]])


_BUILDERS: Final[Mapping[str, Callable[[Any, dict[str, Any]], object]]] = {
    **dict.fromkeys(("image", "audio", "file", "reasoning", "document", "tool_call_results"), _build),
    "history": _build_history,
    "code": _build_code,
    "tool_calls": _build_tool_calls,
    "citations": _build_citations,
}


def _read_example(content: object, path: str) -> object:
    parts = _fields_of(content, ("fields", "inputs"), path)
    example = dspy.Example(_part(parts, "fields", dict, path))
    if "inputs" not in parts:
        return example
    names = _part(parts, "inputs", list, path)
    if not all(isinstance(name, str) for name in names):
        raise invalid_argument(f"{path}.inputs", "an array of names of fields", names)
    return example.with_inputs(*names)


def _read_prediction(content: object, path: str) -> object:
    parts = _fields_of(content, ("fields", "completions", "usage", "reasoning", "trace", "requests"), path)
    fields = _part(parts, "fields", dict, path)
    if parts.get("reasoning") is not None:
        fields.setdefault("reasoning", parts["reasoning"])
    prediction = dspy.Prediction(fields)
    if "completions" in parts:
        rows = _part(parts, "completions", list, path)
        if not rows or any(not isinstance(row, dict) or row.keys() != rows[0].keys() for row in rows):
            raise invalid_argument(f"{path}.completions", "an array of maps with the same keys", rows)
        prediction = dspy.Prediction.from_completions(rows)
        for name, value in fields.items():
            prediction[name] = value
    if "usage" in parts:
        prediction.set_lm_usage(_part(parts, "usage", dict, path))
    return prediction


def _part(parts: dict[str, Any], name: str, kind: type[T], path: str) -> T:
    value = parts.get(name)
    if not isinstance(value, kind):
        raise invalid_argument(f"{path}.{name}", "a map" if kind is dict else "an array", value)
    return value


_READERS: Final[Mapping[str, Callable[[object, str], object]]] = {
    **{tag: functools.partial(read_dspy_type, tag) for tag in _BUILDERS},
    "example": _read_example,
    "prediction": _read_prediction,
}
