"""A signature's description, checked part by part and brought into one normal form.

The normal form is what is stored, hashed and built from: every field has a type; a plain
type is a word; constraints of a field stand at the field, those of an inner type at that
type; what may be nil is `optional` at a field and a type of kind `optional` elsewhere;
enums are types. Each refusal names the part, such as `signature.inputs[0].type.items`.
Nothing is built here: `annotations` makes Python types of it.
"""

from __future__ import annotations

import math
import unicodedata
from decimal import Decimal
from typing import Final

from dspex_protocol.errors import invalid_argument

from ..refusals import missing, refusal, unknown_field
from .grammar import MAX_NESTING, parse_signature, parse_type
from .type_names import CONSTRAINTS, FITTING, KINDS, NUMBER_CONSTRAINTS, PLAIN_TYPES

MAX_FIELDS: Final = 256
"""In one signature or object: a class of a thousand fields takes DSPy a second to build."""

MAX_PARTS: Final = 4096
"""Fields and types in one description, so that a small payload cannot occupy a worker."""

MAX_ENUM_VALUES: Final = 1024
MAX_PATTERN_CHARACTERS: Final = 1024
MAX_NAME_CHARACTERS: Final = 128

_SIGNATURE_KEYS: Final = ("name", "instructions", "inputs", "outputs")
_FIELD_KEYS: Final = ("name", "type", "desc", "optional", "default", "enum", *CONSTRAINTS)
_KIND_KEYS: Final = {
    "list": ("items",),
    "map": ("values",),
    "object": ("name", "fields"),
    "union": ("types",),
    "enum": ("values",),
    "optional": ("of",),
}


def normalize_description(description: object, path: str = "signature") -> dict[str, object]:
    """Check a signature's string or map form and give the normal form.

    Raises:
        CallerError: `invalid_argument` naming the part, what was expected and what came.
    """
    if isinstance(description, str):
        description = parse_signature(description, path)
    given = _map(description, path, "a string or a map")
    _refuse_unknown(given, _SIGNATURE_KEYS, path)
    reader = _Reader()
    normal: dict[str, object] = {"name": _name(given.get("name", "Signature"), f"{path}.name")}
    instructions = given.get("instructions")
    if instructions is not None:
        normal["instructions"] = _text(instructions, f"{path}.instructions")
    normal["inputs"] = reader.fields(given, "inputs", path)
    normal["outputs"] = reader.fields(given, "outputs", path)
    _refuse_doubles(normal, path)
    return normal


def normalize_type(description: object, path: str = "type") -> object:
    """Check a type alone: a word, a string as in the string form, or a map."""
    return _Reader().type(description, path, 0)


class _Reader:
    """Counts the parts of one description while it reads them."""

    def __init__(self) -> None:
        self._parts = 0

    def _count(self, path: str) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise refusal(path, f"at most {MAX_PARTS} fields and types in one description", "one more")

    def fields(
        self, owner: dict[str, object], key: str, path: str, depth: int = 0
    ) -> list[dict[str, object]]:
        """The fields of a signature's side or of an object, in order."""
        where = f"{path}.{key}"
        if key not in owner:
            raise missing(where, "an array of fields")
        given = owner[key]
        if not isinstance(given, list):
            raise invalid_argument(where, "an array of fields", given)
        members: list[object] = given
        if len(members) > MAX_FIELDS or (not members and key != "inputs"):
            raise invalid_argument(where, f"an array of 1 to {MAX_FIELDS} fields", members)
        fields = [self._field(member, f"{where}[{n}]", depth) for n, member in enumerate(members)]
        _refuse_same_names(fields, where)
        return fields

    def _field(self, description: object, path: str, depth: int) -> dict[str, object]:
        self._count(path)
        given = _map(description, path, "a field: a map with a name")
        _refuse_unknown(given, _FIELD_KEYS, path)
        if "name" not in given:
            raise missing(f"{path}.name", "a name")
        field: dict[str, object] = {"name": _name(given["name"], f"{path}.name")}
        type_, optional, constraints = self._field_type(given, path, depth)
        field["type"] = type_
        if given.get("desc") is not None:
            field["desc"] = _text(given["desc"], f"{path}.desc")
        if optional:
            field["optional"] = True
        if "default" in given:
            field["default"] = given["default"]
        return field | constraints

    def _field_type(
        self, given: dict[str, object], path: str, depth: int
    ) -> tuple[object, bool, dict[str, object]]:
        """The bare type, whether it may be nil, and the constraints of the field and of its type."""
        optional = given.get("optional", False)
        if type(optional) is not bool:
            raise invalid_argument(f"{path}.optional", "true or false", optional)
        type_: object = self._enum_type(given, path) if "enum" in given else None
        if type_ is None:
            type_ = self.type(given.get("type", "str"), f"{path}.type", depth)
        if isinstance(type_, dict) and type_["kind"] == "optional":
            optional, type_ = True, type_["of"]
        type_, inner = _split_constraints(type_)
        outer = _constraints(given, _kind_of(type_), path)
        for name in outer:
            if name in inner and inner[name] != outer[name]:
                raise invalid_argument(f"{path}.{name}", f"{inner[name]}, as its type says", outer[name])
        constraints = inner | outer
        _refuse_empty_range(constraints, path)
        return type_, optional, constraints

    def _enum_type(self, given: dict[str, object], path: str) -> object:
        values = _enum_values(given["enum"], f"{path}.enum")
        if "type" not in given:
            return {"kind": "enum", "values": values}
        stated = self.type(given["type"], f"{path}.type", MAX_NESTING)
        optional = isinstance(stated, dict) and stated["kind"] == "optional"
        base = stated["of"] if isinstance(stated, dict) and optional else stated
        allowed = _ENUM_BASES.get(base) if isinstance(base, str) else None
        if allowed is None and base != {"kind": "enum", "values": values}:
            raise invalid_argument(
                f"{path}.type", f"one of {', '.join(_ENUM_BASES)} beside enum", given["type"]
            )
        for n, value in enumerate(values):
            if allowed is not None and type(value) not in allowed:
                raise invalid_argument(f"{path}.enum[{n}]", f"a value of the type {base}", value)
        enum: object = {"kind": "enum", "values": values}
        return {"kind": "optional", "of": enum} if optional else enum

    def type(self, description: object, path: str, depth: int) -> object:
        """A type in normal form."""
        self._count(path)
        if depth > MAX_NESTING:
            raise refusal(path, f"at most {MAX_NESTING} levels of types", "one more")
        if isinstance(description, str):
            parsed = parse_type(description, path)
            return parsed if isinstance(parsed, str) else self.type(parsed, path, depth)
        given = _map(description, path, "a type: a string, or a map with a kind")
        if "kind" not in given:
            raise missing(f"{path}.kind", f"one of {', '.join(KINDS)} or a plain type")
        kind = given["kind"]
        if isinstance(kind, str) and kind.lower() in PLAIN_TYPES and kind not in _KIND_KEYS:
            return self._plain(given, kind.lower(), path)
        if isinstance(kind, str) and kind == "list" and "items" not in given:
            return self._plain(given, kind, path)
        if not isinstance(kind, str) or kind not in _KIND_KEYS:
            raise invalid_argument(f"{path}.kind", f"one of {', '.join((*KINDS, *PLAIN_TYPES))}", kind)
        _refuse_unknown(given, ("kind", *_KIND_KEYS[kind], *CONSTRAINTS), path)
        for key in _KIND_KEYS[kind]:
            if key not in given and key != "name":
                raise missing(f"{path}.{key}", f"what a type of kind {kind} needs")
        built = self._of_kind(kind, given, path, depth)
        constraints = _constraints(given, kind, path)
        _refuse_empty_range(constraints, path)
        return built | constraints if constraints and isinstance(built, dict) else built

    def _plain(self, given: dict[str, object], name: str, path: str) -> object:
        _refuse_unknown(given, ("kind", *CONSTRAINTS), path)
        constraints = _constraints(given, name, path)
        _refuse_empty_range(constraints, path)
        return {"kind": name, **constraints} if constraints else name

    def _of_kind(self, kind: str, given: dict[str, object], path: str, depth: int) -> object:
        inner = depth + 1
        match kind:
            case "list":
                return {"kind": kind, "items": self.type(given["items"], f"{path}.items", inner)}
            case "map":
                return {"kind": kind, "values": self.type(given["values"], f"{path}.values", inner)}
            case "object":
                name = _name(given.get("name", "Object"), f"{path}.name")
                if depth >= MAX_NESTING:
                    raise refusal(path, f"at most {MAX_NESTING} levels of types", "one more")
                return {"kind": kind, "name": name, "fields": self.fields(given, "fields", path, inner)}
            case "enum":
                return {"kind": kind, "values": _enum_values(given["values"], f"{path}.values")}
            case "optional":
                of = self.type(given["of"], f"{path}.of", inner)
                return of if _kind_of(of) == "optional" else {"kind": kind, "of": of}
            case _:
                return self._union(given["types"], path, inner)

    def _union(self, types: object, path: str, depth: int) -> object:
        """A union without unions, optionals or doubles inside."""
        if not isinstance(types, list) or not types:
            raise invalid_argument(f"{path}.types", "an array of types", types)
        members: list[object] = []
        optional = False
        for n, given in enumerate(types):
            member = self.type(given, f"{path}.types[{n}]", depth)
            if isinstance(member, dict) and member["kind"] == "optional":
                optional, member = True, member["of"]
            flat = member["types"] if isinstance(member, dict) and member["kind"] == "union" else [member]
            members.extend(part for part in flat if part not in members)
        joined: object = members[0] if len(members) == 1 else {"kind": "union", "types": members}
        return {"kind": "optional", "of": joined} if optional else joined


_ENUM_BASES: Final[dict[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "any": (str, int, float, bool),
}


def _enum_values(given: object, path: str) -> list[object]:
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_ENUM_VALUES:
        raise invalid_argument(path, f"an array of 1 to {MAX_ENUM_VALUES} values", given)
    values: list[object] = given
    seen: set[tuple[type, object]] = set()
    for n, value in enumerate(values):
        if not isinstance(value, str | int | float) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise invalid_argument(f"{path}[{n}]", "a string, a number or a boolean", value)
        if (type(value), value) in seen:
            raise invalid_argument(f"{path}[{n}]", "values that differ", value)
        seen.add((type(value), value))
    return values


def _constraints(given: dict[str, object], kind: str, path: str) -> dict[str, object]:
    """The constraints among the keys of a field or type, checked against its kind."""
    found: dict[str, object] = {}
    for name in CONSTRAINTS:
        if given.get(name) is None:
            continue
        fitting = FITTING.get(kind, ())
        if name not in fitting:
            allowed = ", ".join(fitting) if fitting else "no constraints"
            raise invalid_argument(f"{path}.{name}", f"{allowed} for the type {kind}", given[name])
        found[name] = _constraint(name, given[name], kind, f"{path}.{name}")
    return found


def _constraint(name: str, value: object, kind: str, path: str) -> object:
    if name == "pattern":
        if not isinstance(value, str) or len(value) > MAX_PATTERN_CHARACTERS:
            raise invalid_argument(
                path, f"a regular expression of at most {MAX_PATTERN_CHARACTERS} characters", value
            )
        return value
    if name not in NUMBER_CONSTRAINTS:
        if type(value) is not int or not 0 <= value < 2**31:
            raise invalid_argument(path, "an integer from 0", value)
        return value
    number = _number(value, kind, path)
    if name == "multiple_of" and number <= 0:
        raise invalid_argument(path, "a number above 0", value)
    return number


def _number(value: object, kind: str, path: str) -> int | float | Decimal:
    """A bound of the kind that its field holds: integers only for integers."""
    if kind == "int":
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not int or value.bit_length() > 63:
            raise invalid_argument(path, "an integer of 64 bits", value)
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not math.isfinite(value):
        raise invalid_argument(path, "a finite number", value)
    if isinstance(value, Decimal) and kind == "float":
        return float(value)
    return value


def _refuse_empty_range(constraints: dict[str, object], path: str) -> None:
    """No value could satisfy a range that ends before it begins."""
    for low_name, high_name in (
        *((a, b) for a in ("ge", "gt") for b in ("le", "lt")),
        ("min_length", "max_length"),
    ):
        low, high = constraints.get(low_name), constraints.get(high_name)
        if isinstance(low, int | float | Decimal) and isinstance(high, int | float | Decimal):
            open_ended = low_name == "gt" or high_name == "lt"
            if low > high or (open_ended and low == high):
                raise invalid_argument(f"{path}.{high_name}", f"more than {low_name}, which is {low}", high)


def _split_constraints(type_: object) -> tuple[object, dict[str, object]]:
    """A type without its own constraints, and these."""
    if not isinstance(type_, dict):
        return type_, {}
    own = {key: type_[key] for key in CONSTRAINTS if key in type_}
    if not own:
        return type_, {}
    bare = {key: value for key, value in type_.items() if key not in own}
    return (bare["kind"] if len(bare) == 1 else bare), own


def _kind_of(type_: object) -> str:
    return str(type_["kind"]) if isinstance(type_, dict) else str(type_)


def _map(value: object, path: str, expected: str) -> dict[str, object]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise invalid_argument(path, expected, value)
    return value


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise invalid_argument(path, "a string", value)
    return value


def _name(value: object, path: str) -> str:
    """An identifier: it becomes a keyword argument, a word of the prompt and a key of the answer."""
    if (
        not isinstance(value, str)
        or not value.isidentifier()
        or value.startswith("_")
        or len(value) > MAX_NAME_CHARACTERS
        or unicodedata.normalize("NFKC", value) != value
    ):
        raise invalid_argument(path, "an identifier that does not start with '_'", value)
    return value


def _refuse_unknown(given: dict[str, object], known: tuple[str, ...], path: str) -> None:
    for key in given:
        if key not in known:
            raise unknown_field(path, key, known)


def _refuse_same_names(fields: list[dict[str, object]], path: str) -> None:
    seen: set[object] = set()
    for n, field in enumerate(fields):
        if field["name"] in seen:
            raise invalid_argument(f"{path}[{n}].name", "a name that no other field has", field["name"])
        seen.add(field["name"])


def _refuse_doubles(normal: dict[str, object], path: str) -> None:
    inputs, outputs = normal["inputs"], normal["outputs"]
    assert isinstance(inputs, list)
    assert isinstance(outputs, list)
    names = {field["name"] for field in inputs}
    for n, field in enumerate(outputs):
        if field["name"] in names:
            raise invalid_argument(f"{path}.outputs[{n}].name", "a name that no input has", field["name"])
