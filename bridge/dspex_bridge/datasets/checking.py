"""Rows against what was declared of them: the fields that a program is given, and a signature."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Final, Union, get_args, get_origin

import orjson
import pydantic

from dspex_protocol.errors import invalid_argument

from ..programs.revival import revived
from ..refusals import missing, refusal
from ..signatures.signatures import FieldCheck, build_signature, demo_checks, normal_of
from ..values.outgoing import to_wire
from .files import Row

MAX_FIELDS: Final = 256
MAX_NAME_CHARACTERS: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What rows must be like.

    Attributes:
        input_keys: Fields that each must have.
        signature: In normal form; None where rows may hold anything.
        checks: Of its fields.
        types: Of its fields, for what was text in a file.
    """

    input_keys: list[str]
    signature: dict[str, object] | None
    checks: Mapping[str, FieldCheck]
    types: Mapping[str, Any]


def declared(input_keys: Sequence[str] | None, signature: object) -> Declared:
    """What was declared.

    Raises:
        CallerError: `invalid_argument` for a wrong signature, for input keys that are not its
            inputs, or where neither is given.
    """
    if signature is None:
        if not input_keys:
            raise missing("input_keys", "the fields that a program is given, or a signature that has them")
        return Declared(input_keys=_distinct(input_keys), signature=None, checks={}, types={})
    built: Any = build_signature(signature)
    inputs = list(built.input_fields)
    for key in input_keys or ():
        if key not in inputs:
            raise invalid_argument("input_keys", f"inputs of the signature ({', '.join(inputs)})", key)
    return Declared(
        input_keys=_distinct(input_keys) if input_keys else inputs,
        signature=normal_of(built),
        checks=demo_checks(built, built),
        types={name: field.annotation for name, field in built.fields.items()},
    )


def _distinct(keys: Sequence[str]) -> list[str]:
    if len(set(keys)) != len(keys):
        raise invalid_argument("input_keys", "each field once", list(keys))
    return list(keys)


def checked_row(row: object, what: Declared, path: str, *, is_text: bool) -> Row:
    """A row as it is stored.

    Args:
        row: As it came.
        what: What it must be like.
        path: Where it stands, for messages.
        is_text: It came from a file whose values may stand for other types, by their field's.

    Raises:
        CallerError: `invalid_argument` naming row and field.
    """
    if not isinstance(row, dict) or not all(isinstance(name, str) for name in row):
        raise invalid_argument(path, "a map of field to value", row)
    fields: Row = row
    if len(fields) > MAX_FIELDS:
        raise refusal(path, f"at most {MAX_FIELDS} fields", str(len(fields)))
    for name in fields:
        if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
            raise invalid_argument(path, f"names of 1 to {MAX_NAME_CHARACTERS} characters", name)
    for key in what.input_keys:
        if fields.get(key) is None:
            raise missing(f"{path}.{key}", "a value, since it is an input key")
    return {name: _checked(name, value, what, path, is_text=is_text) for name, value in fields.items()}


def _checked(name: str, value: object, what: Declared, path: str, *, is_text: bool) -> object:
    check = what.checks.get(name)
    if check is None or value is None:
        return value
    where = f"{path}.{name}"
    if not is_text:
        check.convert(value, where)
        return value  # as it came: the wire keeps it, and each use makes of it what it needs
    return to_wire(check.convert(_typed(value, what.types[name]), where))


def _typed(value: object, annotation: Any) -> object:
    """What a value of a file stands for, by its field's type; what is none of it stays, to be refused."""
    if not isinstance(value, str):
        return revived(value, annotation)
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    if str in members:
        return value
    if not value.strip() and NoneType in members:
        return None
    for member in members:
        found = _said(value, member)
        if found is not value:
            return found
    return value


def _said(text: str, annotation: Any) -> object:
    for kind, read in _WORDS:
        if annotation is kind:
            return read(text.strip(), text)
    if get_origin(annotation) in (list, dict) or _is_model(annotation):
        return _json(text, annotation)
    return revived(text, annotation)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)


def _json(text: str, annotation: Any) -> object:
    try:
        found = orjson.loads(text)
    except ValueError:
        return revived(text, annotation)
    return revived(found, annotation)


def _integer(text: str, given: str) -> object:
    try:
        return int(text)
    except ValueError:  # also of more digits than Python reads
        return given


def _number(text: str, given: str) -> object:
    try:
        return float(text)
    except ValueError:
        return given


def _truth(text: str, given: str) -> object:
    return {"true": True, "false": False, "1": True, "0": False}.get(text.lower(), given)


_WORDS: Final[Sequence[tuple[type, Callable[[str, str], object]]]] = (
    (int, _integer),
    (float, _number),
    (bool, _truth),
)
"""How a cell of CSV says a value of these types. No map by annotation: not all of those have a hash."""
