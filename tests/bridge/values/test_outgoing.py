"""What programs give, as values of the protocol; and what has no form there."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from enum import Enum, StrEnum

import dspy
import numpy as np
import pydantic
import pytest

from dspex_bridge.values.outgoing import to_wire
from dspex_protocol import DSPexError, Tagged, Tensor


def test_a_single_completion_is_not_sent_twice() -> None:
    """It says again what the fields say."""
    prediction = dspy.Prediction.from_completions([{"answer": "a"}])
    assert Tagged("prediction", {"fields": {"answer": "a"}}) == to_wire(prediction)


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
