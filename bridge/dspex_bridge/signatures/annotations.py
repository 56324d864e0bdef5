"""Types of the normal form to Python annotations that DSPy and pydantic understand.

There are two forms of each type. DSPy's signature gets the plain one, since an LM's text
must be read leniently ("3" is an int). Inputs come from a typed wire, so they are checked
by the strict one: a string is no number, and an object has no unknown fields. Both use
the same classes for objects. No string from a description is ever evaluated: names only
choose from the table below.
"""

from __future__ import annotations

import datetime as dt
import functools
import operator
import re
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import dspy
import pydantic
import pydantic_core
from dspy.experimental import Citations, Document

from dspex_protocol.errors import DSPexError, invalid_argument

from ..refusals import missing, refusal
from ..values.incoming import read_dspy_type
from .type_names import CONSTRAINTS, DSPY_TYPES

_PLAIN: Final[Mapping[str, Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "bytes": bytes,
    "date": dt.date,
    "datetime": dt.datetime,
    "time": dt.time,
    "duration": dt.timedelta,
    "uuid": uuid.UUID,
    "decimal": Decimal,
    "any": Any,
    "dict": dict,
    "list": list,
    "image": dspy.Image,
    "audio": dspy.Audio,
    "file": dspy.File,
    "history": dspy.History,
    "code": dspy.Code,
    "reasoning": dspy.Reasoning,
    "document": Document,
    "citations": Citations,
    "tool_calls": dspy.ToolCalls,
}
_EXACT: Final = frozenset(("str", "int", "float", "bool", "bytes"))
"""Plain types of which the strict form takes nothing else (an integer is a number, though)."""

_SHOULD: Final = re.compile(r"^(?:\w+ should (?:be|have) |Value error, )")

_OBJECT_MEMBERS: Final = frozenset(dir(pydantic.BaseModel))


class Annotations:
    """Builds the annotations of one side of a signature.

    Args:
        forbid_unknown: Objects refuse fields that they do not have, and hold strict
            types: for inputs.
    """

    def __init__(self, *, forbid_unknown: bool) -> None:
        self._forbid_unknown = forbid_unknown
        self._objects: dict[int, type[pydantic.BaseModel]] = {}

    def plain(self, type_: object, path: str) -> Any:
        """The annotation for a signature's field, without the field's own constraints."""
        return self._annotation(type_, path, strict=False)

    def strict(self, field: Mapping[str, Any], path: str) -> Any:
        """The annotation by which values for this field are checked."""
        return self._constrained(self._annotation(field["type"], f"{path}.type", strict=True), field, path)

    def _constrained(self, base: Any, field: Mapping[str, Any], path: str) -> Any:
        limits = constraints_of(field, path)
        annotation: Any = Annotated[base, pydantic.Field(**limits)] if limits else base
        return annotation | None if field.get("optional") else annotation

    def _annotation(self, type_: object, path: str, *, strict: bool) -> Any:
        if isinstance(type_, str):
            return _plain_annotation(type_, strict=strict)
        assert isinstance(type_, dict)
        base = self._of_kind(type_, path, strict=strict)
        limits = constraints_of(type_, path)
        return Annotated[base, pydantic.Field(**limits)] if limits else base

    def _of_kind(self, type_: dict[str, Any], path: str, *, strict: bool) -> Any:
        match type_["kind"]:
            case "list" if "items" in type_:
                return list[self._annotation(type_["items"], f"{path}.items", strict=strict)]  # type: ignore[misc]
            case "map":
                return dict[str, self._annotation(type_["values"], f"{path}.values", strict=strict)]  # type: ignore[misc]
            case "optional":
                return self._annotation(type_["of"], f"{path}.of", strict=strict) | None
            case "enum":
                return Literal[tuple(type_["values"])]
            case "union":
                members = [
                    self._annotation(member, f"{path}.types[{n}]", strict=strict)
                    for n, member in enumerate(type_["types"])
                ]
                return functools.reduce(operator.or_, members)
            case "object":
                return self._object(type_, path)
            case plain:
                return _plain_annotation(plain, strict=strict)

    def _object(self, type_: dict[str, Any], path: str) -> type[pydantic.BaseModel]:
        known = self._objects.get(id(type_))
        if known is not None:
            return known
        fields = {
            field["name"]: self._object_field(field, f"{path}.fields[{n}]")
            for n, field in enumerate(type_["fields"])
        }
        extra: Literal["forbid", "ignore"] = "forbid" if self._forbid_unknown else "ignore"
        built = self._objects[id(type_)] = pydantic.create_model(
            type_["name"], __config__=pydantic.ConfigDict(extra=extra), **fields
        )
        return built

    def _object_field(self, field: dict[str, Any], path: str) -> Any:
        if field["name"] in _OBJECT_MEMBERS or is_protected(field["name"]):
            raise refusal(f"{path}.name", "a name that means nothing to pydantic", repr(field["name"]))
        annotation = self._annotation(field["type"], f"{path}.type", strict=self._forbid_unknown)
        annotation = self._constrained(annotation, field, path)
        if "default" in field:
            return annotation, pydantic.Field(
                default=checked_default(annotation, field["default"], path), description=field.get("desc")
            )
        default: Any = None if field.get("optional") else ...
        return annotation, pydantic.Field(default=default, description=field.get("desc"))


def is_protected(name: str) -> bool:
    """Whether pydantic keeps such names for itself and warns of them."""
    return name.startswith(("model_validate", "model_dump"))


def _plain_annotation(name: str, *, strict: bool) -> Any:
    if not strict:
        return _PLAIN[name]
    if name in _EXACT:
        return Annotated[_PLAIN[name], pydantic.Strict()]
    if name in DSPY_TYPES:
        return Annotated[_PLAIN[name], pydantic.BeforeValidator(functools.partial(_read_member, name))]
    return _PLAIN[name]


def _read_member(name: str, value: object) -> object:
    """One of DSPy's types from the map of its fields, or from a string where it is one text."""
    if isinstance(value, _PLAIN[name]):
        return value
    try:
        return read_dspy_type(name, value, "")
    except DSPexError as refused:
        part = str(refused.details["field"]).lstrip(".")
        expected = refused.details["expected"]
        # Pydantic then tells where it stands.
        raise ValueError(f"in {part} {expected}" if part else expected) from None


def constraints_of(owner: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The constraints of a field or type as arguments of `pydantic.Field`.

    Raises:
        CallerError: `invalid_argument` for a pattern that is no regular expression.
    """
    found = {name: owner[name] for name in CONSTRAINTS if name in owner}
    if "pattern" in found:
        _check_pattern(found["pattern"], f"{path}.pattern")
    if owner.get("kind", owner.get("type")) == "decimal":
        # A bound of 0.1 means 0.1, not the nearest binary fraction.
        return {name: Decimal(str(value)) for name, value in found.items()}
    return found


@functools.lru_cache(maxsize=256)
def _is_pattern(pattern: str) -> bool:
    # The engine that will run it, which is linear in time and knows no look-around.
    try:
        pydantic_core.SchemaValidator(pydantic_core.core_schema.str_schema(pattern=pattern))
    except pydantic_core.SchemaError:
        return False
    return True


def _check_pattern(pattern: str, path: str) -> None:
    if not _is_pattern(pattern):
        raise invalid_argument(path, "a regular expression (without look-around and backreferences)", pattern)


def checked_default(annotation: Any, default: object, path: str) -> Any:
    """A default as its field will hold it.

    Raises:
        CallerError: `invalid_argument` when it does not fit the field.
    """
    try:
        return pydantic.TypeAdapter(annotation).validate_python(default)
    except pydantic.ValidationError as failure:
        raise refused_by(failure, f"{path}.default") from None


def refused_by(failure: pydantic.ValidationError, path: str) -> DSPexError:
    """Pydantic's refusal as ours: the part, what it should be, and what came, never more of the value."""
    errors = failure.errors(include_url=False, include_context=False)
    # In a union each member refuses; the one that got furthest in says most.
    row = max(errors, key=lambda row: len(row["loc"]))
    where = path + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in row["loc"])
    match row["type"]:
        case "missing":
            return missing(where, "a value")
        case "extra_forbidden":
            return refusal(where, "a field of the object", "an unknown field")
        case _:
            return invalid_argument(where, _reason(row["msg"]), row["input"])


def _reason(message: str) -> str:
    """Pydantic's sentence as what was expected."""
    return _SHOULD.sub("", message.replace(" should match ", " that matches "))
