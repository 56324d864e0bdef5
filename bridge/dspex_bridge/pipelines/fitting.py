"""Whether the values of one field may be those of another: types in normal form, compared. Pure.

A field fits where every value that it may have is one that the other takes. Constraints are no
part of that: whether a number is within a range its value tells, when there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from ..signatures.type_names import CONSTRAINTS

Field: TypeAlias = Mapping[str, Any]
"""A field in normal form."""

_TYPES_OF_VALUES: Final[Mapping[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
}


def fits(given: Field, wanted: Field) -> bool:
    """Whether each value of a field, by its type, is one that another takes."""
    return _fits(_whole(given), _whole(wanted))


def needs_check(wanted: Field) -> bool:
    """Whether a value of a fitting type may yet be refused, or has to be made into another object."""
    return _asks_more(wanted) or _asks_more(wanted["type"])


def may_be_absent(field: Field) -> bool:
    """Whether a call need not give it."""
    return "default" in field or bool(field.get("optional"))


def in_words(field: Field) -> str:
    """A field's type as the string form of a signature has it, as far as that has one."""
    return _told(_whole(field))


def _whole(field: Field) -> object:
    return {"kind": "optional", "of": field["type"]} if field.get("optional") else field["type"]


def _kind(type_: Any) -> str:
    return str(type_ if isinstance(type_, str) else type_["kind"])


def _fits(given: Any, wanted: Any) -> bool:
    if _kind(wanted) == "any":
        return True
    match _kind(given), _kind(wanted):
        case "union", _:
            return all(_fits(member, wanted) for member in given["types"])
        case "optional", other:
            return other == "optional" and _fits(given["of"], wanted["of"])
        case _, "union":
            return any(_fits(given, member) for member in wanted["types"])
        case _, "optional":
            return _fits(given, wanted["of"])
        case _:
            return _fits_plainly(given, wanted)


def _fits_plainly(given: Any, wanted: Any) -> bool:
    """Of types that are neither unions nor optional."""
    match _kind(given), _kind(wanted):
        case "enum", other:
            return _values_fit(given["values"], wanted, other)
        case "list", "list":
            return _fits(_part(given, "items"), _part(wanted, "items"))
        case (("map" | "dict"), ("map" | "dict")):
            return _fits(_part(given, "values"), _part(wanted, "values"))
        case "object", "object":
            return _objects_fit(given, wanted)
        case "int", "float":
            return True
        case one, other:
            return one == other


def _part(type_: Any, name: str) -> Any:
    """What a list or map holds; those that do not say may hold anything."""
    return "any" if isinstance(type_, str) else type_.get(name, "any")


def _values_fit(values: list[object], wanted: Any, kind: str) -> bool:
    if kind == "enum":
        taken = {(type(value), value) for value in wanted["values"]}
        return all((type(value), value) in taken for value in values)
    return all(type(value) in _TYPES_OF_VALUES.get(kind, ()) for value in values)


def _objects_fit(given: Any, wanted: Any) -> bool:
    """Objects have no fields that are not declared, so those of `given` must all be known."""
    theirs = {field["name"]: field for field in given["fields"]}
    ours = {field["name"]: field for field in wanted["fields"]}
    return theirs.keys() <= ours.keys() and all(
        fits(theirs[name], field) if name in theirs else may_be_absent(field) for name, field in ours.items()
    )


def _asks_more(type_: Any) -> bool:
    if isinstance(type_, str):
        return False
    if isinstance(type_, list):
        return any(map(_asks_more, type_))
    if type_.get("kind") == "object" or any(name in type_ for name in CONSTRAINTS):
        return True
    return any(_asks_more(type_[part]) for part in ("items", "of", "types") if part in type_) or (
        type_.get("kind") == "map" and _asks_more(type_["values"])
    )


def _told(type_: Any) -> str:
    match _kind(type_):
        case "optional":
            return f"optional[{_told(type_['of'])}]"
        case "union":
            return " | ".join(_told(member) for member in type_["types"])
        case "enum":
            return f"literal[{', '.join(map(repr, type_['values'][:8]))}{', …' * (len(type_['values']) > 8)}]"
        case "object":
            fields = ", ".join(f"{field['name']}: {in_words(field)}" for field in type_["fields"])
            return f"object[{fields}]"
        case "map":
            return f"dict[str, {_told(type_['values'])}]"
        case "list" if not isinstance(type_, str) and "items" in type_:
            return f"list[{_told(type_['items'])}]"
        case plain:
            return plain
