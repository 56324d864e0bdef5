"""Demos: what may be in one, what DSPy would not show, and what would not come back."""

from __future__ import annotations

import collections
import datetime as dt
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import dspy
import numpy as np
import pydantic
import pytest
from tests.support.golden import over_the_wire
from tests.support.programs import ANYTHING, OBJECTS, PLACE, RICH_SIGNATURE, rich_demos

from dspex_bridge.programs.demos import MAX_VALUE_DEPTH, check_demos, read_examples, write_examples
from dspex_bridge.signatures.signatures import build_signature
from dspex_bridge.values.incoming import from_wire
from dspex_protocol import DSPexError, Tagged, encode_value

SCORED: Any = build_signature(
    {
        "inputs": [{"name": "question"}, {"name": "photo", "type": "image", "optional": True}],
        "outputs": [
            {"name": "score", "type": "float", "ge": 0, "le": 1},
            {"name": "label", "enum": ["a", "b"]},
            {"name": "place", "type": PLACE, "optional": True},
            {"name": "day", "type": "date", "optional": True},
        ],
    }
)
WHOLE: dict[str, object] = {
    "question": "x",
    "photo": None,
    "score": 0.5,
    "label": "a",
    "place": None,
    "day": None,
}


def checked(demo: object, signature: Any = SCORED) -> Any:
    """One demo of a patch, at the path of the third."""
    demos = read_examples([demo], "demos")
    return check_demos(demos, signature, signature, "demos")[0]


def test_a_demo_is_a_map_or_an_example() -> None:
    """An example says which fields are inputs."""
    example = Tagged("example", {"fields": {"question": "x", "label": "a"}, "inputs": ["question"]})
    assert {"question": "x", "label": "a"} == checked({"question": "x", "label": "a"}).toDict()
    assert ["question"] == list(checked(example).inputs().keys())


def test_values_become_what_their_fields_want() -> None:
    """A host without such types gives text, or a map of the fields."""
    demo = checked(
        {
            "question": "x",
            "photo": "https://example.test/a.png",
            "score": 1,
            "place": {"city": "Rome", "kind": "port"},
            "day": "2026-01-02",
        }
    )
    assert dspy.Image("https://example.test/a.png") == demo.photo
    assert dt.date(2026, 1, 2) == demo.day
    assert {"city": "Rome", "kind": "port", "since": None, "twin": None} == demo.place.model_dump()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"score": "high"}, "score"),
        ({"score": 7.0}, "score"),
        ({"label": "c"}, "label"),
        ({"question": 3}, "question"),
        ({"place": {"city": "Rome"}}, "place.kind"),
        ({"place": {"city": "", "kind": "port"}}, "place.city"),
        ({"place": {"city": "Rome", "kind": "port", "mayor": "x"}}, "place.mayor"),
        ({"day": "soon"}, "day"),
        ({"photo": "/etc/passwd"}, "photo"),
        ({"photo": "file:///etc/passwd"}, "photo"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_its_path(change: dict[str, object], field: str) -> None:
    """With what was expected and what came."""
    demo = {name: value for name, value in {**WHOLE, **change}.items() if value is not None}
    with pytest.raises(DSPexError) as refused:
        checked(demo)
    assert ("invalid_argument", f"demos[0].{field}") == (refused.value.code, refused.value.details["field"])
    assert refused.value.details["expected"]
    assert refused.value.details["got"]


def test_other_fields_may_be_there_and_some_may_be_missing() -> None:
    """As in bootstrapped demos. What DSPy does not know it does not show."""
    demo = checked({"question": "x", "label": "a", "augmented": True, "rationale": [1]})
    assert {"question": "x", "label": "a", "augmented": True, "rationale": [1]} == demo.toDict()
    assert checked(WHOLE).photo is None


@pytest.mark.parametrize("demo", [{}, {"question": "x"}, {"label": "a"}, {"qestion": "x", "label": "a"}])
def test_a_demo_that_dspy_would_leave_out_is_refused(demo: dict[str, object]) -> None:
    """It has no input, or no output: mostly a misspelt name. DSPy says nothing."""
    with pytest.raises(DSPexError, match=r"demos\[0\]: expected a demo with an input and an output"):
        checked(demo)
    messages = dspy.ChatAdapter().format(SCORED, [demo], {"question": "y"})
    assert 2 == len(messages)


def test_every_type_fits_its_field() -> None:
    """Of the wire and of DSPy."""
    signature: Any = build_signature(RICH_SIGNATURE)
    demos = read_examples(over_the_wire(rich_demos([*ANYTHING, *OBJECTS], {})), "demos")
    assert len(demos) == len(check_demos(demos, signature, signature, "demos"))


# Writing


@pytest.mark.parametrize("value", [*ANYTHING, *OBJECTS], ids=repr)
def test_a_value_comes_back_as_it_is(value: object) -> None:
    """To the byte, and as the same type."""
    live = from_wire(over_the_wire(value))
    (written,) = write_examples([dspy.Example(x=live)], "demos")
    back: Any = from_wire(over_the_wire(written))
    assert type(live) is type(back.x)
    assert encode_value(written) == encode_value(write_examples([back], "demos")[0])


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Plain(pydantic.BaseModel):
    name: str
    picture: dspy.Image
    colour: Colour = Colour.RED


@pytest.mark.parametrize(
    "value",
    [
        Colour.RED,
        [Level.HIGH],
        Plain(name="x", picture=dspy.Image("https://example.test/a.png")),
        {"deep": [Plain(name="x", picture=dspy.Image("https://example.test/a.png"))]},
        collections.OrderedDict(a=1),
        np.str_("text"),
    ],
    ids=repr,
)
def test_what_says_the_same_in_a_prompt_may_change_its_type(value: object) -> None:
    """Enums become their values, and models maps of their fields."""
    signature: Any = build_signature("x: any -> y")
    demo = dspy.Example(x=value, y="y")
    back: Any = [from_wire(one) for one in over_the_wire(write_examples([demo], "demos"))]
    adapter: Any = dspy.ChatAdapter()
    before, after = (adapter.format(signature, demos, {"x": 1}) for demos in ([demo], back))
    assert before == after


def echo(x: str) -> str:
    return x


class Marked(dspy.Type):  # type: ignore[misc]
    text: str

    def format(self) -> list[dict[str, str]]:
        return [{"type": "text", "text": self.text}]


class Holding(pydantic.BaseModel):
    value: Any


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


LOOP: list[object] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({1, 2}, ""),
        ([{"a": frozenset("b")}], "[0].a"),
        (dspy.History(messages=[{"q": {3}}]), "[0].q"),
        (dt.datetime(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))), ""),
        (dspy.Tool(echo), ""),
        (Marked(text="x"), ""),
        ([{"k": Marked(text="x")}], ""),
        (np.arange(3), ""),
        (np.float32(0.1), ""),
        (object(), ""),
        (2**40000, ""),
        (Decimal("sNaN"), ""),
        ("\ud800", ""),
        ({"a": ["\ud800"]}, ".a[0]"),
        (nested(MAX_VALUE_DEPTH + 2), "[0]" * (MAX_VALUE_DEPTH + 1)),
        (LOOP, "[0]" * (MAX_VALUE_DEPTH + 1)),
        ((1, [Tagged("money", {"x": {1}})]), "[1][0].x"),
        (Holding(value=[{1}]), ".value[0]"),
        ({(1, 2): {3}}, "[(1, 2)]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_not_come_back_is_refused_by_its_path(value: object, where: str) -> None:
    """Rather than change what the program says."""
    with pytest.raises(DSPexError) as refused:
        write_examples([dspy.Example(ok=1), dspy.Example(x=value)], "state.self.demos")
    assert "value_unencodable" == refused.value.code
    assert f"state.self.demos[1].x{where}" == refused.value.details["field"]


def test_demos_that_are_maps_are_written_as_examples() -> None:
    """DSPy's own load leaves maps."""
    assert write_examples([dspy.Example(a=1)], "demos") == write_examples([{"a": 1}], "demos")
    assert write_examples([dspy.Example(a=1)], "demos") == write_examples([dspy.Prediction(a=1)], "demos")
