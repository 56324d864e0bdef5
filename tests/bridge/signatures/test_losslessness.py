"""What a client sends comes back to it unchanged: client to worker to client, through real bytes.

The values are those that a program's inputs may hold, drawn as a client writes them: tags of
DSPy's types, tensors and references included.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from tests.support.wire_values import VALUES

from dspex_bridge.signatures.signatures import build_signature, check_inputs
from dspex_bridge.values.incoming import from_wire
from dspex_bridge.values.outgoing import to_wire
from dspex_protocol import DSPexError, Tagged, decode_value, encode_value


def through_a_worker(value: object) -> object:
    """To the worker's objects and back."""
    objects = from_wire(decode_value(encode_value(value)))
    return decode_value(encode_value(to_wire(objects)))


def normal(value: Any) -> Any:
    """Frozen and plain sets alike, since the wire has one kind."""
    return decode_value(encode_value(value))


@settings(max_examples=250, deadline=None)
@given(VALUES)
def test_what_a_client_sends_comes_back(value: object) -> None:
    """Nested in whatever, and with its type."""
    back = through_a_worker(value)
    assert normal(value) == back
    assert _types(normal(value)) == _types(back)


def _types(value: Any) -> Any:
    """1, 1.0 and True are equal in Python; a host would not say so."""
    match value:
        case dict():
            return {repr(key): _types(member) for key, member in value.items()}
        case list() | tuple():
            return type(value), [_types(member) for member in value]
        case Tagged():
            return value.tag, _types(value.value)
        case _:
            return type(value)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_inputs_come_to_a_program_as_they_are(value: object) -> None:
    """A field of the type any changes nothing."""
    signature = build_signature("value: any -> answer")
    inputs = check_inputs(signature, {"value": normal(value)})
    assert normal(value) == normal(to_wire(inputs["value"]))


def test_what_is_one_member_in_python_is_refused_and_not_lost() -> None:
    """A host may tell 1 from true; a set of both would come back with one of them."""
    for members in ([1, True], [1, 1.0], ["a", "a"]):
        with pytest.raises(DSPexError) as refused:
            decode_value(encode_value(Tagged("set", members)))
        assert "value_bad_extension" == refused.value.code


def test_blanks_stay_where_they_are() -> None:
    """Also in the names of a history's fields, which DSPy's own validator would trim."""
    history = Tagged("history", {"messages": [{" question ": " why ", "n": 1}]})
    assert history == through_a_worker(history)


def test_the_reasoning_beside_a_predictions_fields_becomes_one_of_them() -> None:
    """Older peers send it so."""
    given = Tagged("prediction", {"fields": {"answer": "a"}, "reasoning": "so"})
    assert Tagged("prediction", {"fields": {"answer": "a", "reasoning": "so"}}) == through_a_worker(given)
