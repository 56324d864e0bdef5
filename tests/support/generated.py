"""Signatures of every type and constraint, with values that fit them, for Hypothesis."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from hypothesis import strategies as st

from dspex_bridge.signatures.signatures import build_signature
from dspex_protocol import DSPexError, Tagged

from .programs import ANYTHING, AUDIO, CODE, FILE, HISTORY, IMAGE, INLINE_IMAGE, JAVA, OBJECTS, REASONING

TEXT: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES: Final = st.sampled_from(["alpha", "beta", "gamma", "delta", "size", "label", "größe", "x1"])
_INTEGERS: Final = st.integers(-(2**66), 2**66)
_FLOATS: Final = st.floats(allow_nan=False, allow_infinity=False)
_MOMENTS: Final = st.datetimes() | st.datetimes(timezones=st.just(dt.UTC))


def anything() -> st.SearchStrategy[Any]:
    """Values of the wire, DSPy's types among them, one in another."""
    leaves = st.sampled_from([*ANYTHING, *OBJECTS, JAVA]) | TEXT | _INTEGERS | _FLOATS | _MOMENTS
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.tuples(inner, inner),
            st.dictionaries(TEXT, inner, max_size=3),
            st.dictionaries(st.integers(0, 9), inner, min_size=1, max_size=2).map(
                lambda pairs: Tagged("pairs", [[key, value] for key, value in pairs.items()])
            ),
        ),
        max_leaves=5,
    )


_PLAIN: Final[dict[str, st.SearchStrategy[Any]]] = {
    "str": TEXT,
    "int": _INTEGERS,
    "float": _FLOATS,
    "bool": st.booleans(),
    "bytes": st.binary(max_size=6),
    "date": st.dates(),
    "datetime": _MOMENTS,
    "time": st.times(),
    "decimal": st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-999, max_value=999),
    "any": anything(),
    "dict": st.dictionaries(TEXT, TEXT | _INTEGERS, max_size=2),
    "list": st.lists(TEXT | _FLOATS, max_size=2),
    "image": st.sampled_from([IMAGE, INLINE_IMAGE]),
    "audio": st.just(AUDIO),
    "file": st.just(FILE),
    "history": st.just(HISTORY),
    "code": st.sampled_from([CODE, Tagged("code", {"code": "x", "language": "python"})]),
    "reasoning": st.just(REASONING),
}


@st.composite
def types(draw: st.DrawFn, depth: int = 0) -> Any:
    """A type of the normal form or near it."""
    kinds = ["plain", "plain", "enum"]
    if depth < 2:
        kinds += ["list", "map", "object", "union", "optional"]
    match draw(st.sampled_from(kinds)):
        case "plain":
            return draw(st.sampled_from(sorted(_PLAIN)))
        case "enum":
            return {
                "kind": "enum",
                "values": draw(st.sampled_from([["a", "b"], [1, 2, 3], [True], ["only"]])),
            }
        case "list":
            return {"kind": "list", "items": draw(types(depth + 1))}
        case "map":
            return {"kind": "map", "values": draw(types(depth + 1))}
        case "union":
            return {"kind": "union", "types": ["int", draw(st.sampled_from(["str", "date", "bool"]))]}
        case "optional":
            return {"kind": "optional", "of": draw(types(depth + 1))}
        case _:
            names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
            fields = [draw(fields_named(name, depth + 1)) for name in names]
            return {"kind": "object", "name": "Thing", "fields": fields}


@st.composite
def fields_named(draw: st.DrawFn, name: str, depth: int = 0) -> dict[str, Any]:
    """A field, maybe with a description, constraints, or optional."""
    field: dict[str, Any] = {"name": name, "type": draw(types(depth))}
    if draw(st.booleans()):
        field["desc"] = draw(TEXT)
    if draw(st.integers(0, 3)) == 0:
        field["optional"] = True
    if field["type"] in ("int", "float", "decimal") and draw(st.booleans()):
        field |= {"ge": 1, "le": 50}
    if field["type"] == "str" and draw(st.booleans()):
        field |= draw(st.sampled_from([{"max_length": 5}, {"min_length": 1}, {"pattern": "^[a-z]*$"}]))
    return field


@st.composite
def signatures(draw: st.DrawFn) -> dict[str, Any]:
    """A description of a signature."""
    names = draw(st.lists(NAMES, min_size=2, max_size=5, unique=True))
    cut = draw(st.integers(1, len(names) - 1))
    described: dict[str, Any] = {
        "inputs": [draw(fields_named(f"in_{name}")) for name in names[:cut]],
        "outputs": [draw(fields_named(f"out_{name}")) for name in names[cut:]],
    }
    if draw(st.booleans()):
        described["instructions"] = draw(TEXT)
    return described


def values_of(field: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit a field."""
    values = _of_type(field["type"])
    if "ge" in field:
        numbers: dict[str, st.SearchStrategy[Any]] = {
            "int": st.integers(1, 50),
            "float": st.floats(1, 50),
            "decimal": st.decimals(1, 50, places=2),
        }
        values = numbers[field["type"]]
    if field["type"] == "str" and {"max_length", "min_length", "pattern"} & field.keys():
        values = st.text("abc", min_size=1, max_size=5)
    return values | st.none() if field.get("optional") else values


def _of_type(type_: Any) -> st.SearchStrategy[Any]:
    if isinstance(type_, str):
        return _PLAIN[type_]
    match type_["kind"]:
        case "list":
            return st.lists(_of_type(type_["items"]), max_size=2)
        case "map":
            return st.dictionaries(TEXT, _of_type(type_["values"]), max_size=2)
        case "optional":
            return st.none() | _of_type(type_["of"])
        case "enum":
            return st.sampled_from(type_["values"])
        case "union":
            return st.one_of([_PLAIN[member] for member in type_["types"]])
        case _:
            return st.fixed_dictionaries({one["name"]: values_of(one) for one in type_["fields"]})


@st.composite
def demos_of(draw: st.DrawFn, described: dict[str, Any]) -> dict[str, Any]:
    """A demo with a value for every field, and maybe one that the signature does not have."""
    fields = [*described["inputs"], *described["outputs"]]
    demo = {field["name"]: draw(values_of(field)) for field in fields}
    if draw(st.booleans()):
        demo["augmented"] = draw(st.booleans() | anything())
    return demo


def can_be_built(described: dict[str, Any]) -> bool:
    """Whether DSPy and pydantic take a signature; a few names inside objects they keep for themselves."""
    try:
        build_signature(described)
    except DSPexError:
        return False
    return True
