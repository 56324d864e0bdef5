"""Writing an answer: the values of a format's fields, in the shape that its adapter reads."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Final, TypeAlias, cast
from xml.sax.saxutils import escape, quoteattr

from .request import Format, OutputField, Style, format_of_schema, read_format
from .typenames import Schema
from .values import maker, text

_json: Final = json.JSONEncoder(ensure_ascii=False).encode


Writer: TypeAlias = Callable[[Random], str]


def write_answer(system: str, random: Random, response_schema: Schema | None = None) -> str:
    """Answer the contract that a system message states.

    Args:
        system: The system message; empty where there is none.
        random: Where the values come from.
        response_schema: The JSON schema of `response_format`, which goes before the message.
    """
    if response_schema is not None:
        return _writer(format_of_schema(response_schema))(random)
    return _cached_writer(system)(random)


def write_said(form: Format, random: Random, said: Mapping[str, object]) -> str:
    """Answer a contract with some values given.

    Args:
        form: The contract.
        random: Where the others come from.
        said: Values by field.
    """
    return _writer(form, said)(random)


@functools.lru_cache(maxsize=256)
def _cached_writer(system: str) -> Writer:
    return _writer(read_format(system))


def _writer(form: Format, said: Mapping[str, object] = MappingProxyType({})) -> Writer:
    makers = [
        (field, _always(said[field.name]) if field.name in said else maker(field.schema))
        for field in form.fields
    ]
    match form.style:
        case Style.TEXT:
            return text
        case Style.JSON:
            numeric = {field.name: _only_digits(field) for field in form.fields}
            return lambda random: _json(
                {field.name: _number_where(numeric[field.name], make(random)) for field, make in makers}
            )
        case Style.CHAT:
            return lambda random: (
                "\n\n".join(
                    [f"[[ ## {field.name} ## ]]\n{_plain(field, make(random))}" for field, make in makers]
                )
                + "\n\n[[ ## completed ## ]]\n"
            )
        case Style.XML:
            return lambda random: "\n\n".join([_element(field, make(random)) for field, make in makers])


def _always(value: object) -> Callable[[Random], object]:
    return lambda random: value


def _only_digits(field: OutputField) -> bool:
    """Whether a note lists numbers: an enum whose values the prompt shows without quotes."""
    choices = field.schema.get("enum")
    if not isinstance(choices, list) or field.is_literal:
        return False
    return all(
        isinstance(choice, str) and choice.lstrip("-").isdecimal() for choice in cast("list[object]", choices)
    )


def _number_where(numeric: bool, value: object) -> object:
    return int(cast(str, value)) if numeric else value


def _plain(field: OutputField, value: object) -> str:
    """A value as the text that DSPy's `parse_value` reads back."""
    if not isinstance(value, str):
        return str(value) if "enum" in field.schema or isinstance(value, bool) else _json(value)
    # A bare `2026-01-01` would be taken for arithmetic or broken JSON; quoted, it is a text.
    # Where texts, choices or code are asked for, they are taken as they stand.
    if "format" in field.schema and field.schema["format"] != "code":
        return _json(value)
    return value


def _element(field: OutputField, value: object) -> str:
    if field.is_nested:
        return _nested(field.name, value)
    return f"<{field.name}>\n{escape(_plain(field, value))}\n</{field.name}>"


def _nested(tag: str, value: object, key: str | None = None) -> str:
    attribute = "" if key is None else f" key={quoteattr(key)}"
    if value is None:
        return f"<{tag}{attribute} />"
    if isinstance(value, list):
        inner = "".join(_nested("item", item) for item in cast("list[object]", value))
    elif isinstance(value, Mapping):
        inner = "".join(_member(name, part) for name, part in cast("Mapping[str, object]", value).items())
    else:
        inner = escape(str(value))
    return f"<{tag}{attribute}>{inner}</{tag}>"


def _member(name: str, value: object) -> str:
    return _nested(name, value) if name.isidentifier() else _nested("entry", value, name)
