"""Examples in a program's state: read from the wire, checked against a signature, written without loss.

DSPy takes whatever a demo holds and puts its text into the prompt. So here a demo may lack
fields and may have others (bootstrapped ones have `augmented`), but what a field has must be of
its type, and a demo that DSPy would leave out without a word is refused.

Written is only what comes back as itself: a stored program must say the same to its model as
the one that was trained.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import NoneType
from typing import Any, Final

import dspy
import pydantic
from dspy.adapters.utils import serialize_for_json

from dspex_protocol import DSPexError, FunctionReference, Tagged, Tensor, decode_value, encode_value, error
from dspex_protocol.errors import describe_value, invalid_argument
from dspex_protocol.limits import MAX_BIG_INTEGER_BYTES, MAX_DECIMAL_BYTES, MAX_DEPTH

from ..refusals import refusal
from ..signatures.signatures import demo_checks
from ..values.dspy_types import has_tag
from ..values.incoming import from_wire
from ..values.outgoing import to_wire

MAX_VALUE_DEPTH: Final = MAX_DEPTH - 16
"""A record, and what it is sent in, have levels of their own around a value."""


def read_examples(given: Sequence[object], path: str) -> list[dspy.Example]:
    """Examples from a state: maps, or values of the tag `example`.

    Raises:
        CallerError: `invalid_argument` naming the one that is neither.
    """
    return [_read_example(example, f"{path}[{n}]") for n, example in enumerate(given)]


def _read_example(example: object, path: str) -> dspy.Example:
    read = from_wire(example, path)
    if isinstance(read, dict) and all(isinstance(name, str) for name in read):
        return dspy.Example(read)
    if type(read) is not dspy.Example:
        raise invalid_argument(path, "an example: a map of field to value", example)
    return read


def check_demos(
    demos: Sequence[dspy.Example], signature: type[dspy.Signature], base: type[dspy.Signature], path: str
) -> list[dspy.Example]:
    """Demos with each value as its field wants it; nil stands for one that is missing.

    Args:
        demos: As read.
        signature: The predictor's.
        base: The program's, from which the predictor's may be derived.
        path: Where they stand in the call, for messages.

    Raises:
        CallerError: `invalid_argument` naming a value that does not fit its field, such as
            `state.self.demos[3].score`, or a demo that DSPy would not show.
    """
    checks = demo_checks(signature, base)
    return [_check_demo(demo, signature, checks, f"{path}[{n}]") for n, demo in enumerate(demos)]


def _check_demo(demo: dspy.Example, signature: Any, checks: Any, path: str) -> dspy.Example:
    checked = demo.copy()
    for name, value in demo.items(include_dspy=True):
        check = checks.get(name)
        if check is not None and value is not None and type(value) is not check.exact:
            checked[name] = check.convert(value, f"{path}.{name}")
    shown = {name for name in signature.fields if demo.get(name) is not None}
    if shown != signature.fields.keys():
        given = {name for name in signature.fields if name in demo}
        if not (given & signature.input_fields.keys() and given & signature.output_fields.keys()):
            raise refusal(
                path,
                "a demo with an input and an output of the signature, since DSPy leaves out others",
                f"one with {', '.join(sorted(given)) or 'none of its fields'}",
            )
    return checked


# Writing ---------------------------------------------------------------------------------


def write_examples(
    examples: Sequence[Any], path: str, code: str = "value_unencodable", *, as_given: bool = False
) -> list[object]:
    """Examples as values of the wire.

    Args:
        examples: Of DSPy, or maps, as DSPy's own `load` leaves them.
        path: Where they stand, for messages.
        code: Of the error.
        as_given: They came from the wire a moment ago, so that the objects in them were maps.

    Raises:
        DSPexError: `code`, with `details` as of `invalid_argument`, naming a value that would
            not come back as it is.
    """
    return [_write_example(example, f"{path}[{n}]", code, as_given) for n, example in enumerate(examples)]


def _write_example(example: Any, path: str, code: str, as_given: bool) -> object:
    whole = example if type(example) is dspy.Example else dspy.Example(dict(example))
    for name, value in whole.items(include_dspy=True):
        if type(value) not in _SAFE:
            _refuse_loss(value, f"{path}.{name}", code, as_given)
    return to_wire(whole)


def _refuse_loss(value: object, path: str, code: str, as_given: bool) -> None:
    look = _Look()
    fault = look.at(value, 0)
    if fault is None and look.is_unusual and not as_given and not _says_the_same(value):
        fault = _Fault("", _STORABLE, describe_value(value))
    if fault is not None:
        field = path + fault.where
        raise error(
            code,
            f"{field}: expected {fault.expected}, got {fault.got}",
            details={"field": field, "expected": fault.expected, "got": fault.got},
        )


def _comes_back(value: object) -> bool:
    """Whether one of DSPy's types is stored as what it is."""
    try:
        back = _stored_and_read(value)
    except DSPexError:
        return False
    return type(back) is type(value) and (back == value or _text_of(back) == _text_of(value))


def _says_the_same(value: object) -> bool:
    """Whether what is stored for a value has the same text in a prompt, though it is of another type."""
    try:
        return _text_of(_stored_and_read(value)) == _text_of(value)
    except DSPexError:
        return False


def _stored_and_read(value: object) -> object:
    return from_wire(decode_value(encode_value(to_wire(value))))


def _text_of(value: object) -> str:
    # With the types of what is inside: 1 and true are equal, and not the same in a prompt.
    return repr(serialize_for_json(value))


_STORABLE: Final = "a value that is the same after it was stored"
_SAFE: Final = frozenset((NoneType, bool, float, dt.date, dt.time, dt.timedelta, uuid.UUID, Tensor))
"""Types of which every value comes back."""


@dataclass(frozen=True, slots=True)
class _Fault:
    where: str
    expected: str
    got: str

    def inside(self, part: str) -> _Fault:
        return _Fault(part + self.where, self.expected, self.got)


class _Look:
    """Looks through a value for what would not come back.

    Attributes:
        is_unusual: There is something in it of which only a comparison tells, such as an enum.
    """

    __slots__ = ("is_unusual",)

    def __init__(self) -> None:
        self.is_unusual = False

    def at(self, value: Any, depth: int) -> _Fault | None:
        """The first thing that would not come back."""
        kind = type(value)
        if kind in _SAFE:
            return None
        if kind is str:
            return None if value.isascii() else _text_fault(value)
        if depth > MAX_VALUE_DEPTH:
            return _Fault("", f"a value of at most {MAX_VALUE_DEPTH} levels", "one more")
        if kind is dict:
            return self._in_map(value, depth)
        if kind is list or kind is tuple:
            return self._in_array(value, depth)
        return self._scalar(value, kind) if kind in _SCALARS else self._other(value, depth)

    def _in_map(self, value: dict[Any, Any], depth: int) -> _Fault | None:
        for key, member in value.items():
            fault = self.at(key, depth + 1) or self.at(member, depth + 1)
            if fault is not None:
                return fault.inside(f".{key}" if isinstance(key, str) else f"[{key!r}]")
        return None

    def _in_array(self, value: Sequence[Any], depth: int) -> _Fault | None:
        for n, member in enumerate(value):
            fault = self.at(member, depth + 1)
            if fault is not None:
                return fault.inside(f"[{n}]")
        return None

    def _scalar(self, value: Any, kind: type) -> _Fault | None:
        if kind is int and value.bit_length() >= MAX_BIG_INTEGER_BYTES * 8:
            return _Fault("", f"an integer of at most {MAX_BIG_INTEGER_BYTES} bytes", "a larger one")
        if kind is Decimal and (len(str(value)) > MAX_DECIMAL_BYTES or str(value) in _OTHER_NANS):
            return _Fault("", f"a number, or a decimal of at most {MAX_DECIMAL_BYTES} characters", "another")
        if kind is dt.datetime and value.utcoffset():
            return _Fault("", "a time in UTC or without offset", "one with an offset")
        return None

    def _other(self, value: Any, depth: int) -> _Fault | None:
        match value:
            case set() | frozenset():
                return _Fault("", "an array, since the order of a set differs between processes", "a set")
            case Tagged():
                return self.at(value.value, depth + 1)
            case dspy.Tool():
                return _Fault("", _STORABLE, "a tool: its function lives elsewhere")
            case dspy.Code():
                return self.at(value.code, depth + 1) or self.at(value.language, depth + 1)
            case dspy.History():
                return self.at(value.messages, depth + 1)
            case dspy.Example() | dspy.Prediction():
                return self.at(dict(value.items(include_dspy=True)), depth + 1)
            case _ if has_tag(value):
                return None if _comes_back(value) else _Fault("", _STORABLE, describe_value(value))
            case pydantic.BaseModel():
                self.is_unusual = True
                return self.at({**value.__dict__, **(value.__pydantic_extra__ or {})}, depth + 1)
            case _:
                self.is_unusual = True
                return None


_SCALARS: Final = frozenset((int, bytes, Decimal, dt.datetime, FunctionReference))
_OTHER_NANS: Final = frozenset(("-NaN", "sNaN", "-sNaN"))


def _text_fault(value: str) -> _Fault | None:
    try:
        value.encode()
    except UnicodeEncodeError:
        return _Fault("", "Unicode text", "a text with half a character")
    return None
