"""Type names as DSPy prints them in prompts, to JSON schemas.

`list[Literal['a', 3]]` is all that a prompt says of some fields, so the names are parsed
here; what a name does not tell (the fields of a class) stays open.
"""

from __future__ import annotations

import ast
import re
from typing import Final, TypeAlias

Schema: TypeAlias = dict[str, object]

NUMERIC_KEYS: Final = {"type": "integer"}
"""`propertyNames` of a map whose keys are written as numbers."""

_NAMES: Final[dict[str, Schema]] = {
    "str": {"type": "string"},
    "Reasoning": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "NoneType": {"type": "null"},
    "None": {"type": "null"},
    "bytes": {"type": "string", "format": "binary"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
    "time": {"type": "string", "format": "time"},
    "timedelta": {"type": "string", "format": "duration"},
    "UUID": {"type": "string", "format": "uuid"},
    "Decimal": {"type": "number"},
    "list": {"type": "array"},
    "set": {"type": "array", "uniqueItems": True},
    "dict": {"type": "object", "additionalProperties": True},
}
_TOKEN: Final = re.compile(r"\s*('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[\[\],|]|[^\[\],|'\"]+)")
_LISTS: Final = frozenset(("list", "List", "Sequence", "set", "frozenset"))
_MAPS: Final = frozenset(("dict", "Dict", "Mapping"))
_UNIONS: Final = frozenset(("Union", "Optional"))


def read_type_name(text: str) -> Schema:
    """The schema that a printed type name stands for; `{}` where the name says nothing."""
    tokens: list[str] = [token.strip() for token in _TOKEN.findall(text)]
    try:
        schema, _ = _union(tokens, 0)
    except IndexError:  # brackets that do not close: a name of an unknown form
        return {}
    return schema


def _union(tokens: list[str], at: int) -> tuple[Schema, int]:
    schema, at = _single(tokens, at)
    choices = [schema]
    while at < len(tokens) and tokens[at] == "|":
        schema, at = _single(tokens, at + 1)
        choices.append(schema)
    return (choices[0] if len(choices) == 1 else {"anyOf": choices}), at


def _single(tokens: list[str], at: int) -> tuple[Schema, int]:
    name = tokens[at]
    if at + 1 >= len(tokens) or tokens[at + 1] != "[":
        return _named(name), at + 1
    if name == "Literal":
        return _literal(tokens, at + 2)
    arguments, at = _arguments(tokens, at + 2)
    return _generic(name, arguments), at


def _arguments(tokens: list[str], at: int) -> tuple[list[Schema], int]:
    arguments: list[Schema] = []
    while tokens[at] != "]":
        if tokens[at] == ",":
            at += 1
            continue
        schema, at = _union(tokens, at)
        arguments.append(schema)
    return arguments, at + 1


def _named(name: str) -> Schema:
    if name.startswith("Code"):
        return {"type": "string", "format": "code"}
    return dict(_NAMES.get(name, {}))


def _generic(name: str, arguments: list[Schema]) -> Schema:
    if name in _LISTS and arguments:
        return {"type": "array", "items": arguments[0], "uniqueItems": name in ("set", "frozenset")}
    if name in _MAPS and len(arguments) == 2:
        keys = {"propertyNames": NUMERIC_KEYS} if arguments[0].get("type") in ("integer", "number") else {}
        return {"type": "object", "additionalProperties": arguments[1], **keys}
    if name in _UNIONS and arguments:
        return {"anyOf": arguments + ([{"type": "null"}] if name == "Optional" else [])}
    if name in ("tuple", "Tuple") and arguments:
        return {"type": "array", "prefixItems": arguments}
    return _named(name)


def _literal(tokens: list[str], at: int) -> tuple[Schema, int]:
    values: list[object] = []
    while tokens[at] != "]":
        if tokens[at] != ",":
            values.append(_literal_value(tokens[at]))
        at += 1
    return {"enum": values}, at + 1


def _literal_value(token: str) -> object:
    try:
        return ast.literal_eval(token)
    except (ValueError, SyntaxError):
        return token
