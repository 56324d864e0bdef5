"""Which fields may feed which, by their types."""

from __future__ import annotations

from typing import Any, Final

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_bridge.pipelines.fitting import Field, fits, in_words, may_be_absent, needs_check
from dspex_bridge.signatures.annotations import Annotations
from dspex_bridge.signatures.descriptions import normalize_description

WORDS: Final = ("str", "int", "float", "bool", "any", "list", "dict", "date", "decimal", "image", "code")


def field(type_: object = "str", **more: object) -> Field:
    """A field in normal form."""
    normal: Any = normalize_description({"inputs": [], "outputs": [{"name": "f", "type": type_, **more}]})
    described: Field = normal["outputs"][0]
    return described


def person(*names: str, **more: object) -> dict[str, object]:
    return {"kind": "object", "name": "P", "fields": [{"name": name, **more} for name in names]}


@pytest.mark.parametrize(
    ("given_type", "wanted_type"),
    [
        *((word, word) for word in WORDS),
        *((word, "any") for word in WORDS),
        ("int", "float"),
        ("str", "optional[str]"),
        ("optional[int]", "optional[float]"),
        ("optional[str]", "any"),
        ("str", "int | str"),
        ("int | str", "str | int | bool"),
        ("literal['a']", "str"),
        ("literal['a']", "literal['a', 'b']"),
        ("literal[1]", "float"),
        ("list[int]", "list[float]"),
        ("list[int]", "list"),
        ("list[list[literal['a']]]", "list[list[str]]"),
        ("dict[str, int]", "dict"),
        ("dict[str, int]", "dict[str, float]"),
        ("dict", "dict[str, any]"),
        (person("a"), person("a")),
        (person("a"), person("a", "b", optional=True)),
        (person("a", type="int"), person("a", type="float")),
        ({"kind": "list", "items": person("a")}, {"kind": "list", "items": person("a")}),
    ],
)
def test_it_fits(given_type: object, wanted_type: object) -> None:
    """Each value of the one is a value of the other."""
    assert fits(field(given_type), field(wanted_type))


@pytest.mark.parametrize(
    ("given_type", "wanted_type"),
    [
        *((word, "literal['x', 'y']") for word in WORDS),
        *(("any", word) for word in WORDS if word != "any"),
        ("float", "int"),
        ("bool", "int"),
        ("str", "code"),
        ("optional[str]", "str"),
        ("optional[str]", "str | int"),
        ("str | int", "str"),
        ("literal['a', 'c']", "literal['a', 'b']"),
        ("literal['a', 1]", "str"),
        ("literal[1]", "bool"),
        ("list", "list[int]"),
        ("list[str]", "list[int]"),
        ("dict", "dict[str, int]"),
        ("list[str]", "str"),
        (person("a", "b"), person("a")),
        (person("a"), person("a", "b")),
        (person("a"), "dict"),
    ],
)
def test_it_does_not_fit(given_type: object, wanted_type: object) -> None:
    """Some value of the one is none of the other."""
    assert not fits(field(given_type), field(wanted_type))


def test_what_may_be_nil_needs_one_that_may() -> None:
    """Whether the field says it or its type."""
    assert not fits(field("str", optional=True), field("str"))
    assert fits(field("str", optional=True), field("optional[str]"))
    assert (True, True, False) == tuple(
        map(may_be_absent, (field(optional=True), field(default="x"), field("any")))
    )


@pytest.mark.parametrize(
    ("type_", "more", "checked"),
    [
        ("str", {}, False),
        ("list[dict[str, int | date]]", {}, False),
        ("str", {"max_length": 3}, True),
        ({"kind": "list", "items": {"kind": "int", "ge": 0}}, {}, True),
        ({"kind": "map", "values": {"kind": "int", "ge": 0}}, {}, True),
        ({"kind": "union", "types": ["str", {"kind": "int", "ge": 0}]}, {}, True),
        ({"kind": "optional", "of": person("a")}, {}, True),
        ({"kind": "enum", "values": ["object"]}, {}, False),
    ],
)
def test_what_a_type_does_not_decide_is_checked_by_value(
    type_: object, more: dict[str, object], checked: bool
) -> None:
    """Ranges, and objects, whose classes differ."""
    assert checked is needs_check(field(type_, **more))


def test_a_type_is_told_as_a_signature_would_say_it() -> None:
    """With objects, which have no such form, by their fields."""
    told = in_words(field({"kind": "list", "items": person("a", "b", optional=True)}))
    assert "list[object[a: optional[str], b: optional[str]]]" == told
    assert "optional[literal['a', 'b'] | int]" == in_words(field("literal['a', 'b'] | int | None"))
    assert "dict[str, list[any]]" == in_words(field("dict[str, list[any]]"))


TYPES = st.recursive(
    st.sampled_from(
        ("str", "int", "float", "bool", "literal['a', 'b']", "literal[1, 2]", "list", "dict", "any")
    ),
    lambda inner: st.one_of(
        inner.map(lambda one: f"list[{one}]"),
        inner.map(lambda one: f"dict[str, {one}]"),
        inner.map(lambda one: f"optional[{one}]"),
        st.tuples(inner, inner).map(lambda two: f"{two[0]} | {two[1]}"),
    ),
    max_leaves=5,
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.just(0.5), st.sampled_from(("a", "b", "c"))),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("ab"), inner)),
    max_leaves=4,
)


@given(TYPES, TYPES, VALUES)
def test_a_value_of_a_fitting_type_is_taken(one: str, other: str, value: object) -> None:
    """By pydantic, which checks inputs: it never refuses what `fits` has let through."""
    given_field, wanted = field(one), field(other)
    if fits(given_field, wanted) and _takes(given_field, value):
        assert _takes(wanted, value)


def _takes(wanted: Field, value: object) -> bool:
    adapter: Any = pydantic.TypeAdapter(Annotations(forbid_unknown=True).strict(wanted, "f"))
    try:
        adapter.validate_python(value)
    except pydantic.ValidationError:
        return False
    return True
