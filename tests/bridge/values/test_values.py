"""DSPy's objects on the wire: each comes back as it was, through real bytes."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any

import dspy
import numpy as np
import pydantic
import pytest
from dspy.experimental import Citations, Document
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex_bridge.values.values import code_class, from_wire, to_wire
from dspex_protocol import DSPexError, Tagged, Tensor, decode_value, encode_value


def there_and_back(value: object) -> object:
    return from_wire(decode_value(encode_value(to_wire(value))))


# Their decorator hides their types.
MakeDocument: Any = Document
MakeCitations: Any = Citations

OBJECTS = [
    dspy.Image("https://example.test/a.png"),
    dspy.Image("data:image/png;base64,AAAA"),
    dspy.Audio(data="AAAA", audio_format="wav"),
    dspy.File(file_id="file-1", filename="a.pdf"),
    dspy.History(messages=[{"question": "why", "picture": dspy.Image("https://example.test/a.png")}]),
    dspy.Code(code="x = 1"),
    dspy.Code.model_construct(code="say:\n```python\nx\n```\n"),  # text around a fence is kept
    code_class("java")(code="int x;"),
    dspy.Reasoning(content="because"),
    dspy.ToolCalls.from_dict_list([{"name": "search", "args": {"query": "x", "k": 3}}]),
    MakeDocument(data="text", title="A"),
    MakeCitations.from_dict_list(
        [{"cited_text": "x", "document_index": 0, "start_char_index": 0, "end_char_index": 1}]
    ),
]


@pytest.mark.parametrize("value", OBJECTS, ids=lambda value: type(value).__name__)
def test_a_dspy_object_comes_back(value: object) -> None:
    """As an equal object of the same class, by its fields and not by a marker string."""
    back = there_and_back([value])
    assert [value] == back
    assert isinstance(back, list)
    assert type(value) is type(back[0])


ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.dates(),
    st.datetimes(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
)
VALUES = st.recursive(
    st.one_of(ATOMS, st.sampled_from(OBJECTS)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=4), inner, max_size=3),
        st.dictionaries(st.integers(-9, 9), inner, min_size=1, max_size=3),
        st.dictionaries(st.text(min_size=1, max_size=4), inner, max_size=3).map(dspy.Prediction),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_values_come_back_whatever_they_hold(value: object) -> None:
    """Also nested in one another, and maps whose keys are no strings."""
    assert value == there_and_back(value)


def test_a_prediction_keeps_completions_and_usage() -> None:
    """Every completion, and the fields of the first."""
    prediction = dspy.Prediction.from_completions([{"answer": "a"}, {"answer": "b"}])
    prediction.set_lm_usage({"openai/x": {"total_tokens": 3}})
    back: Any = there_and_back(prediction)
    assert isinstance(back, dspy.Prediction)
    completions: Any = back.completions
    assert ["a", "b"] == completions.answer
    assert {"openai/x": {"total_tokens": 3}} == back.get_lm_usage()
    assert "a" == back.answer


def test_a_single_completion_is_not_sent_twice() -> None:
    """It says again what the fields say."""
    prediction = dspy.Prediction.from_completions([{"answer": "a"}])
    assert Tagged("prediction", {"fields": {"answer": "a"}}) == to_wire(prediction)


def test_an_example_keeps_which_fields_are_inputs() -> None:
    """Even with a field called `base`, the name of the constructor's own argument."""
    back = there_and_back(dspy.Example({"base": 1, "q": "x"}).with_inputs("q"))
    assert isinstance(back, dspy.Example)
    assert {"base": 1, "q": "x"} == back.toDict()
    assert ["q"] == list(back.inputs().keys())


def test_models_and_enums_become_plain() -> None:
    """A model is a map, an enum its value, and values inside are written too."""

    class Colour(StrEnum):
        RED = "red"

    class Level(Enum):
        HIGH = 3

    class Inner(pydantic.BaseModel):
        picture: dspy.Image
        colour: Colour

    written = to_wire(
        {"a": Inner(picture=dspy.Image("https://example.test/a"), colour=Colour.RED), "b": Level.HIGH}
    )
    image = Tagged("image", {"url": "https://example.test/a"})
    assert {"a": {"picture": image, "colour": "red"}, "b": 3} == written


def test_arrays_become_tensors() -> None:
    """Whatever their byte order and layout; scalars become plain numbers."""
    array = np.arange(6, dtype=">i4").reshape(2, 3).T
    tensor = Tensor("i4", (3, 2), np.array([0, 3, 1, 4, 2, 5], dtype="<i4").tobytes())
    assert tensor == to_wire(array)
    assert [1.5, 3, True] == to_wire([np.float32(1.5), np.int64(3), np.bool_(True)])
    with pytest.raises(DSPexError, match="value_unencodable"):
        to_wire(np.array([object()]))


def test_atoms_of_the_protocol_pass_as_they_are() -> None:
    """Nothing is copied that need not be."""
    for value in ("x", 3, Decimal("1.5"), dt.date(2026, 1, 2), uuid.UUID(int=1), b"x", None):
        assert value is to_wire(value)


def test_what_has_no_form_is_refused_by_class() -> None:
    """A set of code, an object, a list that holds itself."""
    endless: list[object] = []
    endless.append(endless)
    for value in (object(), print, endless, {"a": [object]}):
        with pytest.raises(DSPexError) as refused:
            to_wire(value)
        assert "value_unencodable" == refused.value.code


@pytest.mark.parametrize(
    ("tag", "content", "field"),
    [
        ("image", {"url": "/etc/passwd"}, "value[0].url"),
        ("image", {"url": "https://example.test/a", "download": True}, "value[0].download"),
        ("image", 3, "value[0]"),
        ("image", {"url": b"\x89PNG"}, "value[0].url"),
        ("tool_calls", {"tool_calls": 3}, "value[0]"),
        ("code", {"code": "x", "language": []}, "value[0]"),
        ("history", {"messages": "x"}, "value[0]"),
        ("prediction", {"fields": []}, "value[0].fields"),
        ("prediction", {"fields": {}, "completions": [{"a": 1}, {}]}, "value[0].completions"),
        ("example", {"inputs": []}, "value[0].fields"),
        ("example", {"fields": {}, "inputs": [3]}, "value[0].inputs"),
        ("tool_call_results", {"tool_call_results": 3}, "value[0]"),
    ],
)
def test_content_that_does_not_fit_its_tag_is_refused(tag: str, content: object, field: str) -> None:
    """By the path of the part; no file is read and nothing is downloaded."""
    with pytest.raises(DSPexError) as refused:
        from_wire([Tagged(tag, content)])
    assert "invalid_argument" == refused.value.code
    assert field == refused.value.details["field"]


def test_an_unknown_tag_stays_a_pair() -> None:
    """So does a tool: its function lives in the host."""
    for value in (Tagged("future", {"a": 1}), Tagged("tool", {"name": "x"})):
        assert value is from_wire(value)
