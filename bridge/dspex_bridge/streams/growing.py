"""Typed values, while the text that they are read from is still coming. Pure.

What there is of a value is the JSON so far, closed where it breaks off, and of that what its
type allows: members of a list that are complete and fit, and of the one that is being written
its fields so far. A number or a word that may go on is left out; text that may go on is given
only where any text fits, and not where a choice or a date is wanted.

DSPy has nothing like it: its listeners pass on the pieces of such a field as text.
"""

from __future__ import annotations

import functools
import re
import types
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final, NamedTuple

import dspy
import pydantic
import pydantic_core


class Unfit(ValueError):
    """Nothing of a value can be given yet."""


class Written(NamedTuple):
    """A value as far as it has been written.

    Attributes:
        value: Plain: maps, arrays, text, numbers.
        depth: How many of the containers, from the outermost inwards, are not closed.
        in_text: The innermost thing at its end is a text that is not closed.
    """

    value: Any
    depth: int
    in_text: bool


LEAST_GROWTH: Final = 64
"""A value is read again when its text has grown by one part in that many: what all readings of a
long one cost together is so many times its length, and not its square."""

_BEGIN: Final = re.compile(r"\s*(?:```\w*\s*)?(?=[\[{])")
_TEXT: Final = re.compile(r'[^"\\]+')
_ATOM: Final = re.compile(r"[^\s\"{}\[\],:]+")


class GrowingJSON:
    """One JSON container whose text comes in pieces.

    Args:
        anywhere: Text may stand before it, and is passed over; else only white space and the
            beginning of a code fence.
    """

    def __init__(self, *, anywhere: bool = False) -> None:
        self._anywhere = anywhere
        self._parts: list[str] = []
        self._length = 0
        self._safe = 0  # up to here it can be read: no half number, no half key
        self._stack: list[str] = []
        self._begun = False
        self._in_text = False
        self._escaped = False
        self._is_key = False
        self._expects_key = False
        self._read_at = 0

    @property
    def is_due(self) -> bool:
        """Whether it has grown enough to be read again, or has come to its end."""
        growth = self._length - self._read_at
        enough = growth >= self._read_at // LEAST_GROWTH or not self._stack
        return self._begun and growth > 0 and enough

    def feed(self, piece: str) -> None:
        """Take some more text."""
        if not self._begun:
            piece = self._beginning(piece)
        at = 0
        while at < len(piece) and (self._stack or not self._safe):
            at = self._text_step(piece, at) if self._in_text else self._step(piece, at)
        self._parts.append(piece[:at])
        self._length += at

    def read(self) -> Written | None:
        """What there is now, or None."""
        self._read_at = self._length
        text = "".join(self._parts)
        self._parts = [text]
        try:
            value = pydantic_core.from_json(text[: self._safe], allow_partial="trailing-strings")
        except ValueError:
            return None
        return Written(value, len(self._stack), self._in_text and not self._is_key)

    def _beginning(self, piece: str) -> str:
        """The piece from where the container begins; what came before is kept until that is known."""
        text = "".join([*self._parts, piece])
        found = re.search(r"(?=[\[{])", text) if self._anywhere else _BEGIN.match(text)
        self._begun = found is not None
        self._parts = [] if found else [text]
        return text[found.end() :] if found else ""

    def _step(self, piece: str, at: int) -> int:
        atom = _ATOM.match(piece, at)
        if atom:
            return atom.end()
        match piece[at]:
            case '"':
                self._is_key = self._expects_key
                self._in_text = True
                if self._is_key:
                    self._safe = self._length + at
                    return at + 1
            case "{" | "[" as bracket:
                self._stack.append(bracket)
                self._expects_key = bracket == "{"
            case "}" | "]":
                self._stack.pop()
                self._expects_key = False
            case ",":
                self._expects_key = self._stack[-1] == "{"
            case ":":
                self._expects_key = False
            case _:
                pass
        self._safe = self._length + at + 1
        return at + 1

    def _text_step(self, piece: str, at: int) -> int:
        plain = None if self._escaped else _TEXT.match(piece, at)
        if plain:
            at = plain.end()
        elif self._escaped or piece[at] == "\\":
            self._escaped = not self._escaped
            at += 1
        else:
            self._in_text = False
            at += 1
        if not self._is_key:
            self._safe = self._length + at
        return at


def fitted(annotation: Any, written: Written) -> object:
    """As much of a value as its type allows.

    Of an object that is not complete the fields so far, as a map.

    Raises:
        Unfit: there is nothing yet that fits.
    """
    annotation = _bare(annotation)
    value, depth, in_text = written
    if depth == 0:
        if in_text and annotation not in (str, Any, object):
            raise Unfit
        return _complete(annotation, value)
    if annotation in (Any, object, list, dict):
        return value
    if isinstance(value, list):
        return _fitted_members(annotation, value, depth - 1, in_text)
    if isinstance(value, dict):
        return _fitted_entries(annotation, value, depth - 1, in_text)
    raise Unfit


def _complete(annotation: Any, value: Any) -> object:
    try:
        return _adapter(annotation).validate_python(value)
    except pydantic.ValidationError:
        raise Unfit from None


def _bare(annotation: Any) -> Any:
    """A type without what is demanded of the whole value, such as a least length."""
    if typing.get_origin(annotation) is Annotated:
        return _bare(typing.get_args(annotation)[0])
    return annotation


def _choices(annotation: Any) -> Iterable[Any]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return map(_bare, typing.get_args(annotation))
    return (annotation,)


def _fitted_members(annotation: Any, members: list[Any], depth: int, in_text: bool) -> object:
    for choice in _choices(annotation):
        kind = typing.get_origin(choice) or choice
        inner = typing.get_args(choice) or (Any,)
        if kind in (Any, object):
            return members
        if kind is tuple and len(inner) == 2 and inner[1] is Ellipsis:
            inner = inner[:1]
        elif kind is tuple:
            continue  # of a fixed length, and so not there before its end
        if kind in (list, set, frozenset, tuple):
            whole = [_complete(inner[0], member) for member in members[:-1]]
            return kind([*whole, *_last(inner[0], members[-1:], depth, in_text)])
    raise Unfit


def _fitted_entries(annotation: Any, entries: dict[str, Any], depth: int, in_text: bool) -> object:
    for choice in _choices(annotation):
        types_of = _entry_types(choice)
        if types_of is None:
            continue
        given: dict[object, object] = {}
        for n, (key, value) in enumerate(entries.items()):
            name, type_ = types_of(key)
            is_last = n == len(entries) - 1
            found = _last(type_, [value], depth, in_text) if is_last else [_complete(type_, value)]
            given.update((name, member) for member in found)
        return given
    raise Unfit


def _last(annotation: Any, last: list[Any], depth: int, in_text: bool) -> list[object]:
    """The member at the end, which may not be there yet."""
    try:
        return [fitted(annotation, Written(member, depth, in_text)) for member in last]
    except Unfit:
        return []


def _entry_types(annotation: Any) -> Callable[[str], tuple[object, Any]] | None:
    """Key to name and type, for what has entries; else None."""
    kind = typing.get_origin(annotation) or annotation
    if kind in (Any, object):
        return lambda key: (key, Any)
    if kind is dict:
        key_type, value_type = typing.get_args(annotation) or (Any, Any)
        return lambda key: (_complete(key_type, key), value_type)
    if not isinstance(kind, type) or not issubclass(kind, pydantic.BaseModel) or issubclass(kind, dspy.Type):
        return None
    fields = {
        key: (name, field.annotation)
        for name, field in kind.model_fields.items()
        for key in {name, field.alias or name}
    }
    return lambda key: fields.get(key, (key, Any))


@functools.lru_cache(maxsize=256)
def _cached_adapter(annotation: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(annotation)


def _adapter(annotation: Any) -> pydantic.TypeAdapter[Any]:
    try:
        return _cached_adapter(annotation)
    except TypeError:  # some annotations cannot be keys
        return pydantic.TypeAdapter(annotation)
