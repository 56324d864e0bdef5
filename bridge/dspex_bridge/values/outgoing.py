"""What a program gave, as values of the protocol: DSPy's objects become `Tagged` maps of their fields.

Whatever the protocol can carry itself passes as it is.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final

import dspy
import pydantic

from dspex_protocol import Tagged, Tensor
from dspex_protocol.errors import DSPexError, error
from dspex_protocol.extensions import ITEM_BYTES
from dspex_protocol.limits import MAX_DEPTH

from .dspy_types import ATOMS, DSPY_TYPES


def to_wire(value: object) -> object:
    """Make a value of the protocol of what a program gave.

    Raises:
        DSPexError: `value_unencodable` when a part of it has no form on the wire, or is
            nested more than 64 levels deep.
    """
    return value if type(value) in ATOMS else _write(value, 0)


def _refused(value: object) -> DSPexError:
    kind = type(value)
    return error(
        "value_unencodable",
        f"a value of the class {kind.__module__}.{kind.__qualname__} has no form on the wire",
    )


@functools.singledispatch
def _write(value: object, depth: int) -> object:
    if type(value) in ATOMS:
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
    return [member if type(member) in ATOMS else _write(member, inner) for member in members]


def _write_fields(fields: Mapping[str, object], depth: int) -> dict[str, object]:
    inner = _deeper(depth)
    return {name: value if type(value) in ATOMS else _write(value, inner) for name, value in fields.items()}


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

for _tag, (_class, _names) in DSPY_TYPES.items():
    _register(_class, functools.partial(_write_dspy_type, _tag, _names))


def _write_array(array: Any) -> Tensor:
    kind, size = array.dtype.kind, array.dtype.itemsize
    dtype = "bool" if kind == "b" else f"{kind}{size}"
    if dtype not in ITEM_BYTES:
        raise error("value_unencodable", f"an array of the type {array.dtype} has no form on the wire")
    return Tensor(dtype, tuple(array.shape), array.astype(array.dtype.newbyteorder("<")).tobytes())
