"""DSPy's string form of a signature, read by a parser of our own.

DSPy's own parser imports modules by the names it finds in the text and searches the
caller's frames for types, so a string from the wire must never reach it. This one knows
the names of docs/protocol.md section 7.4 and nothing else:

    signature := fields "->" fields
    fields    := [ field { "," field } [ "," ] ]
    field     := NAME [ ":" type ] [ "=" default ]
    type      := term { "|" term }
    term      := NAME [ "[" type { "," type } "]" ]
    default   := NUMBER | STRING | "true" | "false" | "none"

What comes out is the map form. Whether names and defaults make sense is checked there,
once for both forms.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from dspex_protocol.errors import DSPexError, describe_value

from ..refusals import refusal
from .type_names import PLAIN_TYPES

MAX_CHARACTERS: Final = 16 * 1024
"""A signature of a hundred fields has about 3,000."""

MAX_NESTING: Final = 16
"""Levels of `[`; beyond it nobody reads a type, and the parser's stack stays small."""

_MAX_NUMBER_CHARACTERS: Final = 64  # Python refuses to read integers of 4,300 digits and more

_TOKEN: Final = re.compile(
    r"""(?P<name>[^\W\d]\w*)
      | (?P<number>[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
      | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<arrow>->)
      | (?P<mark>[][,:|=])
      | (?P<space>\s+)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r"}
_WORDS: Final = {"true": True, "false": False, "none": None, "null": None, "nil": None}
_NONE: Final = frozenset({"none", "nonetype", "null", "nil"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def parse_signature(text: str, path: str = "signature") -> dict[str, object]:
    """Read the string form of a signature into the map form.

    Args:
        text: Such as `"question: str, k: int = 3 -> answer: str"`.
        path: Where it stands in the call, for messages.

    Returns:
        `{inputs, outputs}`, each an array of fields with `name`, `type` and, where given,
        `default`.

    Raises:
        CallerError: `invalid_argument`; details have `position`, counted from 0.
    """
    parser = _Parser(text, path)
    inputs = parser.fields(until="arrow")
    parser.take("arrow", "'->' between the inputs and the outputs")
    outputs = parser.fields(until="end")
    parser.take("end", "',' or the end of the signature")
    return {"inputs": inputs, "outputs": outputs}


def parse_type(text: str, path: str = "type") -> object:
    """Read a type such as `list[int] | none`.

    Returns:
        A plain type's name in lower case, or a type as a map.

    Raises:
        CallerError: `invalid_argument`, as `parse_signature`.
    """
    plain = text.lower()
    if plain in PLAIN_TYPES:  # nearly all of them: no parser needed
        return plain
    parser = _Parser(text, path)
    parsed = parser.type()
    parser.take("end", "'|' or the end of the type")
    return parsed


class _Parser:
    """Recursive descent over the tokens; `_next` is the one token of look-ahead."""

    def __init__(self, text: str, path: str) -> None:
        self._path = path
        if len(text) > MAX_CHARACTERS:
            raise refusal(path, f"at most {MAX_CHARACTERS} characters", f"a string of {len(text)} characters")
        self._tokens = self._tokenize(text)
        self._next = next(self._tokens)
        self._depth = 0

    def _tokenize(self, text: str) -> Iterator[_Token]:
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                odd = text[position]
                if odd in "'\"":
                    raise self._refuse("a closing quote", "the end", position)
                raise self._refuse("a name, a type or one of , : = [ ] | ->", repr(odd), position)
            if match.lastgroup != "space":
                yield _Token(match.lastgroup, match.group(), position)
            position = match.end()
        yield _Token("end", "", position)

    def _refuse(self, expected: str, got: str, position: int) -> DSPexError:
        return refusal(self._path, expected, got, position)

    def _unexpected(self, expected: str) -> DSPexError:
        token = self._next
        got = "the end" if token.kind == "end" else describe_value(token.text)
        return self._refuse(expected, got, token.position)

    def _advance(self) -> _Token:
        token = self._next
        if token.kind != "end":
            self._next = next(self._tokens)
        return token

    def take(self, kind: str, expected: str) -> _Token:
        """The next token if it is of that kind (or that mark), else a refusal."""
        if kind not in (self._next.kind, self._next.text):
            raise self._unexpected(expected)
        return self._advance()

    def _skip(self, mark: str) -> bool:
        if self._next.kind != "mark" or self._next.text != mark:
            return False
        self._advance()
        return True

    def fields(self, until: str) -> list[dict[str, object]]:
        """Fields up to a token of the kind `until`, which stays; a last comma may stand alone."""
        fields: list[dict[str, object]] = []
        while self._next.kind != until:
            fields.append(self._field())
            if not self._skip(","):
                break
        return fields

    def _field(self) -> dict[str, object]:
        field: dict[str, object] = {"name": self.take("name", "a field's name").text}
        field["type"] = self.type() if self._skip(":") else "str"
        if self._skip("="):
            field["default"] = self._default()
        return field

    def _default(self) -> object:
        token = self._next
        if token.kind == "number":
            value: object = self._number(token)
        elif token.kind == "string":
            value = _unquote(token.text)
        elif token.kind == "name" and token.text.lower() in _WORDS:
            value = _WORDS[token.text.lower()]
        else:
            raise self._unexpected("a number, a quoted string, true, false or none")
        self._advance()
        return value

    def _number(self, token: _Token) -> int | float:
        if len(token.text) > _MAX_NUMBER_CHARACTERS:
            raise self._unexpected(f"a number of at most {_MAX_NUMBER_CHARACTERS} characters")
        if token.text.lstrip("+-").isdigit():
            return int(token.text)
        value = float(token.text)
        if math.isinf(value):
            raise self._unexpected("a number within the range of a double")
        return value

    def type(self) -> object:
        """A type with its alternatives."""
        terms = [self._term()]
        while self._skip("|"):
            terms.append(self._term())
        return self._join(terms, "'|' and a type besides none")

    def _join(self, terms: list[object], expected: str) -> object:
        """Alternatives as one type; a None among them makes it optional."""
        real = [term for term in terms if term is not None]
        if not real:
            raise self._unexpected(expected)
        joined = real[0] if len(real) == 1 else {"kind": "union", "types": real}
        return {"kind": "optional", "of": joined} if len(real) < len(terms) else joined

    def _term(self) -> object:
        """One type; None for `none`, which only means something in a union."""
        token = self._next
        name = self.take("name", "a type").text.lower()
        if name in _NONE:
            return None
        if name in _GENERIC and (self._at("[") or name not in PLAIN_TYPES):
            return self._inside(_GENERIC[name])
        if name not in PLAIN_TYPES:
            known = ", ".join(dict.fromkeys([*PLAIN_TYPES, *_GENERIC]))
            raise self._refuse(f"one of the types {known}", describe_value(token.text), token.position)
        return name

    def _at(self, mark: str) -> bool:
        return self._next.kind == "mark" and self._next.text == mark

    def _inside(self, read: Callable[[_Parser], object]) -> object:
        opened = self.take("[", "'[' after this type").position
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._refuse(f"at most {MAX_NESTING} levels of '['", "one more", opened)
        inside = read(self)
        self.take("]", "']'")
        self._depth -= 1
        return inside

    def list_of(self) -> object:
        """What stands in `list[…]`."""
        return {"kind": "list", "items": self.type()}

    def map_of(self) -> object:
        """What stands in `dict[…]`: its keys are strings, as on the wire."""
        token = self._next
        if self.take("name", "str").text.lower() != "str":
            raise self._refuse(
                "str, since the keys of a map are strings", describe_value(token.text), token.position
            )
        self.take(",", "',' and the type of the values")
        return {"kind": "map", "values": self.type()}

    def optional_of(self) -> object:
        """What stands in `optional[…]`."""
        return {"kind": "optional", "of": self.type()}

    def union_of(self) -> object:
        """What stands in `union[…]`."""
        return self._join(self._several(self._union_member), "',' and a type besides none")

    def _union_member(self) -> object:
        return None if self._next.text.lower() in _NONE and self._advance() else self.type()

    def literal_of(self) -> object:
        """What stands in `literal[…]`."""
        return {"kind": "enum", "values": self._several(self._default)}

    def _several(self, read: Callable[[], T]) -> list[T]:
        members = [read()]
        while self._skip(","):
            members.append(read())
        return members


_GENERIC: Final[dict[str, Callable[[_Parser], object]]] = {
    "list": _Parser.list_of,
    "dict": _Parser.map_of,
    "optional": _Parser.optional_of,
    "union": _Parser.union_of,
    "literal": _Parser.literal_of,
}


def _unquote(quoted: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match.group(1), match.group(1)), quoted[1:-1])
