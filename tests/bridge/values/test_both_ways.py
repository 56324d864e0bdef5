"""DSPy's objects on the wire: each comes back as it was, through real bytes."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from dspy.experimental import Citations, Document
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex_bridge.values.dspy_types import code_class
from dspex_bridge.values.incoming import from_wire
from dspex_bridge.values.outgoing import to_wire
from dspex_protocol import decode_value, encode_value


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


def test_an_example_keeps_which_fields_are_inputs() -> None:
    """Even with a field called `base`, the name of the constructor's own argument."""
    back = there_and_back(dspy.Example({"base": 1, "q": "x"}).with_inputs("q"))
    assert isinstance(back, dspy.Example)
    assert {"base": 1, "q": "x"} == back.toDict()
    assert ["q"] == list(back.inputs().keys())
