"""Reading a request: which fields the prompt asks for, of which types, in which format.

DSPy's adapters write the whole contract into the system message: a numbered list of the
output fields with type names and constraints, and a template with notes on each value
(`must adhere to the JSON schema: …`). Both are read; where both speak, the note wins,
except for literals, which only the type name prints without doubt.

A prompt without such a contract asks for plain text.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, cast

from .typenames import Schema, read_type_name


class Style(StrEnum):
    """How an answer is written."""

    CHAT = "chat"
    JSON = "json"
    XML = "xml"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class OutputField:
    """A field that the prompt asks for."""

    name: str
    schema: Schema
    is_literal: bool = False
    is_nested: bool = False  # XML: written as elements within elements


@dataclass(frozen=True, slots=True)
class Format:
    """The contract of one system message."""

    style: Style
    fields: tuple[OutputField, ...] = ()


_OUTPUTS: Final = "Your output fields are:\n"
_STRUCTURE: Final = "\nAll interactions will be structured in the following way"
_JSON_TEMPLATE: Final = "Outputs will be a JSON object with the following fields."
_BAML_TEMPLATE: Final = re.compile(r"^Output field `\w+` should be of type: ", re.MULTILINE)
_CHAT_END: Final = "[[ ## completed ## ]]"
_NOTE: Final = "        # note: the value you produce "
_SCHEMA_NOTE: Final = "must adhere to the JSON schema: "
_CHOICES_NOTE: Final = re.compile(
    r"must (?:be|exactly match \(no extra characters\)) one of: (.*)", re.DOTALL
)
_FIELD_LINE: Final = re.compile(r"(\d+)\. `(\w+)` \(")
_CONSTRAINTS: Final = re.compile(r"^Constraints: (.*)$", re.MULTILINE)
_ONE_CONSTRAINT: Final = re.compile(r"([a-z][a-z ]+): (-?\d[\d.]*(?:[eE][+-]?\d+)?)(?=,|$)")
_JSON_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')

_NUMBER_WORDS: Final = {
    "greater than or equal to": "minimum",
    "less than or equal to": "maximum",
    "greater than": "exclusiveMinimum",
    "less than": "exclusiveMaximum",
    "a multiple of the given number": "multipleOf",
}
_LENGTH_WORDS: Final = {
    "minimum length": ("minLength", "minItems"),
    "maximum length": ("maxLength", "maxItems"),
}


@functools.lru_cache(maxsize=256)
def read_format(system: str) -> Format:
    """The contract that a system message states; cached, as programs repeat theirs."""
    _, found, rest = system.partition(_OUTPUTS)
    block, structured, template = rest.partition(_STRUCTURE)
    if not found or not structured:
        return Format(Style.TEXT)
    style = _style(template)
    fields = tuple(
        _field(name, type_name, about, template, style) for name, type_name, about in _listed(block)
    )
    return Format(style, fields) if fields else Format(Style.TEXT)


def format_of_schema(schema: Schema) -> Format:
    """The contract of a `response_format` that carries a JSON schema."""
    definitions = schema.get("$defs", {})
    properties = cast("dict[str, Schema]", schema.get("properties", {}))
    return Format(
        Style.JSON,
        tuple(OutputField(name, {**part, "$defs": definitions}) for name, part in properties.items()),
    )


def _style(template: str) -> Style:
    # The adapter baml shows fields as in a chat, and asks for JSON all the same.
    if _JSON_TEMPLATE in template or _BAML_TEMPLATE.search(template):
        return Style.JSON
    return Style.CHAT if _CHAT_END in template else Style.XML


def _listed(block: str) -> list[tuple[str, str, str]]:
    """Name, type name and the rest of each entry of the numbered list."""
    starts: list[tuple[str, int, int]] = []
    for line in re.finditer(r"^.*$", block, re.MULTILINE):
        entry = _FIELD_LINE.match(line.group())
        # A description may hold lines that look like entries; theirs have other numbers.
        if entry and int(entry.group(1)) == len(starts) + 1:
            starts.append((entry.group(2), line.start(), line.start() + entry.end()))
    ends = [start for _, start, _ in starts[1:]] + [len(block)]
    listed: list[tuple[str, str, str]] = []
    for (name, _, open_at), end in zip(starts, ends, strict=True):
        close_at = _closing(block, open_at, end)
        listed.append((name, block[open_at:close_at], block[close_at:end]))
    return listed


def _closing(text: str, at: int, end: int) -> int:
    """Where the parenthesis before `at` closes, parentheses inside quotes and brackets aside."""
    depth = 1
    quote = ""
    while at < end:
        character = text[at]
        if quote:
            if character == "\\":
                at += 1
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if not depth:
                return at
        at += 1
    return end


def _field(name: str, type_name: str, about: str, template: str, style: Style) -> OutputField:
    schema = read_type_name(type_name)
    is_literal = "enum" in schema
    is_nested = style is Style.XML and f"\n<{name}>\n" not in template
    if is_nested:
        schema = _merged(schema, _nested(template, name))
    elif not is_literal:
        keys = {"propertyNames": schema["propertyNames"]} if "propertyNames" in schema else {}
        schema = {**(_noted(name, template, style) or schema), **keys}
    constraints = _CONSTRAINTS.search(about)
    if constraints:
        schema = {**schema, **_constraints(constraints.group(1), schema)}
    return OutputField(name, schema, is_literal, is_nested)


def _noted(name: str, template: str, style: Style) -> Schema | None:
    """What the template's note on a field says, as a schema."""
    mark = f"{{{name}}}{_NOTE}"
    at = template.find(mark)
    if at < 0:
        return None
    if style is Style.JSON:
        literal = _JSON_STRING.match(template, template.rindex('"', 0, at))
        note = str(json.loads(literal.group()))[len(mark) :] if literal else ""
    else:
        note = template[at + len(mark) :]
    if note.startswith(_SCHEMA_NOTE):
        schema, _ = json.JSONDecoder().raw_decode(note, len(_SCHEMA_NOTE))
        return cast(Schema, schema)
    choices = _CHOICES_NOTE.match(note.partition("\n")[0])
    return {"enum": choices.group(1).split("; ")} if choices else None


def _constraints(text: str, schema: Schema) -> Schema:
    read: Schema = {}
    for words, number in _ONE_CONSTRAINT.findall(text):
        if words in _NUMBER_WORDS:
            read[_NUMBER_WORDS[words]] = (
                float(number) if "." in number or "e" in number.lower() else int(number)
            )
        elif words in _LENGTH_WORDS:
            of_text, of_items = _LENGTH_WORDS[words]
            read[of_items if schema.get("type") == "array" else of_text] = int(number)
    return read


_TAG: Final = re.compile(r"<(/?)(\w+)>")


def _nested(template: str, name: str) -> Schema:
    """The shape of `<name><part>…</part></name>`, the only thing XML prompts say of a class."""
    at = template.find(f"\n<{name}>")
    stack: list[tuple[str, Schema]] = []
    for tag in _TAG.finditer(template, max(at, 0)):
        if not tag.group(1):
            stack.append((tag.group(2), {}))
            continue
        inner, children = stack.pop()
        if not stack:
            return _shape(children)
        stack[-1][1][inner] = _shape(children)
    return {}


def _shape(children: Schema) -> Schema:
    if not children:
        return {}
    if set(children) == {"item"}:
        return {"type": "array", "items": children["item"]}
    return {"type": "object", "properties": children}


def _merged(named: Schema, shape: Schema) -> Schema:
    """What a type name and a shape say together: the name knows leaves, the shape knows classes."""
    if "anyOf" in named:
        choices = [choice for choice in cast("list[Schema]", named["anyOf"]) if choice.get("type") != "null"]
        return _merged(choices[0], shape)
    if named.get("type") == "array" and shape.get("type") == "array":
        return {
            **named,
            "items": _merged(cast(Schema, named.get("items") or {}), cast(Schema, shape["items"])),
        }
    return named or shape
