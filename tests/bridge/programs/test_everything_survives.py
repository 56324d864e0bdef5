"""The whole of a program survives: whatever its signature, whatever its demos hold."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.support.generated import TEXT, can_be_built, demos_of, signatures, values_of
from tests.support.golden import over_the_wire
from tests.support.recording import requests_of

from dspex_bridge.programs.builder import Builder
from dspex_bridge.programs.demos import check_demos
from dspex_bridge.programs.live import LiveProgram
from dspex_bridge.programs.records import Spec, read_record
from dspex_bridge.signatures.signatures import check_inputs
from dspex_bridge.values.incoming import from_wire
from dspex_protocol import Tagged, Tensor, decode_value, encode_value

BUILDER = Builder()
SPECS = signatures().filter(can_be_built)


def trained(described: dict[str, Any], demos: list[Any], instructions: str) -> LiveProgram:
    """A program as an optimizer leaves it: changed where it lives."""
    template = BUILDER.template(Spec(module="Predict", signature=described))
    module: Any = template.module.deepcopy()
    module.signature = module.signature.with_instructions(instructions)
    module.demos = demos
    return LiveProgram(template, module, {})


def moved(record: bytes) -> LiveProgram:
    return BUILDER.load(read_record(decode_value(record)))


def is_text(value: Any) -> bool:
    """Whether all bytes are: of an object with others in it DSPy writes what Python calls its class."""
    match value:
        case bytes():
            return value.isascii()
        case Tensor():
            return False
        case dict():
            return all(map(is_text, value.values()))
        case list() | tuple():
            return all(map(is_text, value))
        case Tagged():
            return is_text(value.value)
        case _:
            return True


@pytest.mark.slow
@settings(max_examples=150)
@given(st.data())
def test_a_trained_program_says_the_same_after_any_number_of_moves(data: st.DataObject) -> None:
    """Its record is a fixed point, and its requests are the same to the byte."""
    described = data.draw(SPECS)
    values = data.draw(st.lists(demos_of(described), max_size=2))
    inputs = {field["name"]: data.draw(values_of(field)) for field in described["inputs"]}
    live = [
        dspy.Example({name: from_wire(value) for name, value in over_the_wire(one).items()}) for one in values
    ]
    signature: Any = BUILDER.template(Spec(module="Predict", signature=described)).signature
    if data.draw(st.booleans()) and all(map(is_text, values)):
        live = check_demos(live, signature, signature, "demos")  # objects of their fields' classes
    before = trained(described, live, data.draw(TEXT))
    record = encode_value(before.record())
    after = moved(record)
    assert record == encode_value(after.record())
    checked = check_inputs(signature, over_the_wire(inputs))
    for adapter in ("chat", "json", "xml"):
        assert requests_of(before.module, checked, adapter) == requests_of(after.module, checked, adapter)


@pytest.mark.slow
@settings(max_examples=100)
@given(st.data())
def test_a_state_that_is_given_is_what_a_trained_program_has(data: st.DataObject) -> None:
    """By whichever way the demos came into the program."""
    described = data.draw(SPECS)
    values = over_the_wire(data.draw(st.lists(demos_of(described), max_size=2)))
    instructions = data.draw(TEXT)
    assume(instructions and all(map(is_text, values)))
    given_state = {"self": {"demos": values, "instructions": instructions}}
    built = BUILDER.build(Spec(module="Predict", signature=described), given_state)
    signature: Any = built.signature
    live = [dspy.Example({name: from_wire(value) for name, value in one.items()}) for one in values]
    demos = check_demos(live, signature, signature, "demos")
    assert encode_value(trained(described, demos, instructions).record()) == encode_value(built.record())
