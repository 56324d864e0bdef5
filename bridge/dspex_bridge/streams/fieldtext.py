"""The text of output fields, while the answer that contains them is still coming. Pure.

Each reader takes an answer in pieces of any size and gives, field by field, exactly the
text that the adapter will parse out of the whole: headers, quotes and escapes removed,
white space trimmed as the adapter trims it. What cannot be told yet is held back.

DSPy's own listeners do not promise that: they pass JSON escapes and quotes on, and where
a field begins depends on how the provider cuts its pieces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Final, NamedTuple, Protocol


class FieldText(NamedTuple):
    """Some more text of a field; `last` when the field is complete."""

    field: str
    text: str
    last: bool


class Reader(Protocol):
    """Takes an answer in pieces."""

    def feed(self, piece: str) -> list[FieldText]:
        """What is certain now."""
        ...

    def close(self) -> list[FieldText]:
        """What was held back, once the answer is complete."""
        ...


class _Trimmed:
    """The text of one field, without white space at its ends."""

    __slots__ = ("_gap", "_started", "field")

    def __init__(self, field: str) -> None:
        self.field = field
        self._started = False
        self._gap = ""

    def add(self, text: str) -> str:
        """What may be given on of `text` and of the white space before it."""
        if not self._started:
            text = text.lstrip()
            self._started = bool(text)
        text = self._gap + text
        certain = text.rstrip()
        self._gap = text[len(certain) :]
        return certain


_HEADER: Final = re.compile(r"\[\[ ## (\w+) ## \]\]")
_HEADER_BEGUN: Final = re.compile(r"\[(\[( (#(#( (\w+( (#(#( (\](\].*)?)?)?)?)?)?)?)?)?)?)?)?\Z")
_LINE_BREAK: Final = re.compile("\r\n|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")


class ChatReader:
    """Answers with `[[ ## field ## ]]` headers; docs of DSPy's ChatAdapter."""

    def __init__(self, fields: Collection[str]) -> None:
        self._fields = set(fields)
        self._now: _Trimmed | None = None
        self._line = ""  # what has come of a line that may still be a header
        self._in_text = False  # this line is none
        self._out: list[FieldText] = []

    def feed(self, piece: str) -> list[FieldText]:
        """What is certain now."""
        self._line += piece
        while found := _LINE_BREAK.search(self._line):
            if found.group() == "\r" and found.end() == len(self._line):
                break  # the other half of \r\n may follow
            line, self._line = self._line[: found.start()], self._line[found.end() :]
            self._end_line(line)
        if self._in_text or not self._may_be_header():
            self._in_text = True
            held = "\r" if self._line.endswith("\r") else ""
            self._add(self._line.removesuffix("\r"))
            self._line = held
        return self._taken()

    def close(self) -> list[FieldText]:
        """What was held back, once the answer is complete."""
        self._end_line(self._line.removesuffix("\r"))
        self._line = ""
        self._end_field()
        return self._taken()

    def _may_be_header(self) -> bool:
        begun = self._line.strip()
        return not begun or bool(_HEADER_BEGUN.match(self._line.lstrip()) or _HEADER_BEGUN.match(begun))

    def _end_line(self, line: str) -> None:
        header = None if self._in_text else _HEADER.match(line.strip())
        self._in_text = False
        if header is None:
            self._add(line + "\n")
            return
        self._end_field()
        name = header.group(1)
        if name in self._fields:
            self._fields.remove(name)  # of two sections of a name the first counts
            self._now = _Trimmed(name)
            # Sliced as the adapter slices: by the stripped line's offset.
            self._add(line[header.end() :].strip() + "\n")

    def _add(self, text: str) -> None:
        if self._now is not None and (certain := self._now.add(text)):
            self._out.append(FieldText(self._now.field, certain, False))

    def _end_field(self) -> None:
        if self._now is not None:
            self._out.append(FieldText(self._now.field, "", True))
            self._now = None

    def _taken(self) -> list[FieldText]:
        taken, self._out = self._out, []
        return taken


_ESCAPE: Final = re.compile(r"\\(?:u[0-9a-fA-F]{4}|[^u])")
_PLAIN: Final = re.compile(r'[^"\\]+')


class JSONReader:
    """Answers that are one JSON object: the strings directly inside it."""

    def __init__(self, fields: Collection[str]) -> None:
        self._fields = set(fields)
        self._depth = 0
        self._rest = ""
        self._key = ""
        self._expects_key = False
        self._string: list[str] | None = None  # parts of the string at hand
        self._streamed = ""  # the field whose value the string at hand is
        self._out: list[FieldText] = []

    def feed(self, piece: str) -> list[FieldText]:
        """What is certain now."""
        text = self._rest + piece
        at = 0
        while at < len(text):
            step = self._structure(text, at) if self._string is None else self._in_string(text, at)
            if step == at:
                break  # an escape that is not complete
            at = step
        self._rest = text[at:]
        self._pass_on()
        taken, self._out = self._out, []
        return taken

    def close(self) -> list[FieldText]:
        """Nothing is held back: a string that does not end is no field."""
        return []

    def _structure(self, text: str, at: int) -> int:
        match text[at]:
            case '"' if self._depth:
                self._string = []
                value_of = self._key if self._depth == 1 and not self._expects_key else ""
                self._streamed = value_of if value_of in self._fields else ""
            case "{" | "[":
                self._depth += 1
                self._expects_key = self._depth == 1
            case "}" | "]":
                self._depth -= 1
            case "," if self._depth == 1:
                self._expects_key = True
            case ":" if self._depth == 1:
                self._expects_key = False
            case _:
                pass
        return at + 1

    def _in_string(self, text: str, at: int) -> int:
        assert self._string is not None
        if text[at] == '"':
            self._end_string()
            return at + 1
        plain = _PLAIN.match(text, at)
        if plain:
            self._string.append(plain.group())
            return plain.end()
        end = at
        while escape := _ESCAPE.match(text, end):
            end = escape.end()
            if not 0xD800 <= _code(escape.group()) < 0xDC00:
                self._string.append(_decoded(text[at:end]))
                return end
        # A first half of a pair needs what follows; anything else than an escape ends it.
        if end > at and end < len(text) and text[end] != "\\":
            self._string.append(_decoded(text[at:end]))
            return end
        return at

    def _end_string(self) -> None:
        if self._expects_key and self._depth == 1:
            self._key = "".join(self._string or ())
        elif self._streamed:
            self._pass_on()
            self._out.append(FieldText(self._streamed, "", True))
            self._fields.discard(self._streamed)
        self._string = None
        self._streamed = ""

    def _pass_on(self) -> None:
        if self._streamed and self._string:
            self._out.append(FieldText(self._streamed, "".join(self._string), False))
            self._string = []


def _code(escape: str) -> int:
    return int(escape[2:6], 16) if escape[1] == "u" else 0


def _decoded(escapes: str) -> str:
    try:
        return str(json.loads(f'"{escapes}"'))
    except ValueError:
        return escapes  # no JSON: whoever parses the whole will say so


_TAG: Final = re.compile(r"<(/?)([\w.-]+)[^<>]*?(/?)>")
_ENTITY: Final = re.compile(r"&(?:#(\d+)|#x([0-9a-fA-F]+)|(\w+));")
_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


class XMLReader:
    """Answers of one element for each field."""

    def __init__(self, fields: Collection[str]) -> None:
        self._fields = set(fields)
        self._now: _Trimmed | None = None
        self._depth = 0
        self._rest = ""
        self._out: list[FieldText] = []

    def feed(self, piece: str) -> list[FieldText]:
        """What is certain now."""
        self._rest += piece
        while self._rest:
            tag_at = self._rest.find("<")
            certain, is_whole = _certain(self._rest if tag_at < 0 else self._rest[:tag_at], tag_at >= 0)
            self._add(certain)
            self._rest = self._rest[len(certain) :]
            if not is_whole or tag_at < 0:
                break
            tag = _TAG.match(self._rest)
            if tag is None:
                if ">" in self._rest:
                    self._now = None  # a comment or the like: the whole answer will show it
                    self._rest = self._rest[self._rest.index(">") + 1 :]
                    continue
                break
            self._rest = self._rest[tag.end() :]
            self._pass_tag(*tag.groups())
        taken, self._out = self._out, []
        return taken

    def close(self) -> list[FieldText]:
        """Nothing is held back: an element that does not end is no field."""
        return []

    def _pass_tag(self, closing: str, name: str, empty: str) -> None:
        if empty:
            return
        if closing:
            self._depth -= 1
            if self._now is not None and self._depth == 0:
                self._out.append(FieldText(self._now.field, "", True))
                self._now = None
            return
        self._depth += 1
        # An element inside a field is part of its text in a way that only the whole shows.
        self._now = _Trimmed(name) if self._depth == 1 and name in self._fields else None
        self._fields.discard(name)

    def _add(self, source: str) -> None:
        if self._now is None or not source:
            return
        text = _ENTITY.sub(_entity, source.replace("\r\n", "\n").replace("\r", "\n"))
        if certain := self._now.add(text):
            self._out.append(FieldText(self._now.field, certain, False))


def _certain(source: str, is_complete: bool) -> tuple[str, bool]:
    """As much of a text as holds no half entity and no half line break."""
    if is_complete:
        return source, True
    cut = len(source)
    entity_at = source.rfind("&")
    if entity_at >= 0 and ";" not in source[entity_at:] and cut - entity_at < 12:
        cut = entity_at
    if source[:cut].endswith("\r"):
        cut -= 1
    return source[:cut], cut == len(source)


def _entity(found: re.Match[str]) -> str:
    decimal, hexadecimal, name = found.groups()
    if decimal or hexadecimal:
        return chr(int(decimal) if decimal else int(hexadecimal, 16))
    return _NAMED.get(name, found.group())
