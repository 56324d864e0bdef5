"""Values as JSON: there and back, and refused by name where they cannot be."""

from __future__ import annotations

import datetime as dt
import json
import math
import uuid
from decimal import Decimal
from typing import Any

import pytest

from dspex_pool.notation import from_json, to_json
from dspex_protocol import CallerError, FunctionReference, Pairs, Tagged, Tensor

VALUES: list[tuple[Any, Any]] = [
    (b"\x00\xff", {"$base64": "AP8="}),
    (Decimal("0.10"), {"$decimal": "0.10"}),
    (math.inf, {"$float": "inf"}),
    (dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC), {"$timestamp": "2026-01-31T12:00:00+00:00"}),
    (dt.datetime(2026, 1, 31, 12), {"$datetime": "2026-01-31T12:00:00"}),
    (dt.date(2026, 1, 31), {"$date": "2026-01-31"}),
    (dt.time(12, 30), {"$time": "12:30:00"}),
    (dt.timedelta(seconds=1), {"$duration": 1_000_000}),
    ((1, "a"), {"$tuple": [1, "a"]}),
    ({1, 2}, {"$set": [1, 2]}),
    (Pairs({1: b"a"}), {"$pairs": [[1, {"$base64": "YQ=="}]]}),
    (uuid.UUID(int=1), {"$uuid": "00000000-0000-0000-0000-000000000001"}),
    (Tensor("u1", (2,), b"\x01\x02"), {"$tensor": ["u1", [2], {"$base64": "AQI="}]}),
    (FunctionReference("lookup"), {"$function": "lookup"}),
    (Tagged("prediction", {"fields": {"a": b"a"}}), {"$prediction": {"fields": {"a": {"$base64": "YQ=="}}}}),
    (Tagged("map", 1), {"$tagged": ["map", 1]}),
    ({"$base64": "text"}, {"$map": [["$base64", "text"]]}),
    ({"a": [None, True, 2**70, 1.5, "x"], "$b": {}}, {"a": [None, True, 2**70, 1.5, "x"], "$b": {}}),
]


@pytest.mark.parametrize(("value", "written"), VALUES)
def test_a_value_survives_the_way_through_json(value: object, written: object) -> None:
    """What JSON lacks is an object with one `$` key; the same value comes back, of the same type."""
    assert written == to_json(value)
    again = from_json(json.loads(json.dumps(to_json(value))))
    assert value == again
    assert type(value) is type(again)


def test_an_integer_of_any_length_survives() -> None:
    """Python writes and reads no more than 4,300 decimal digits."""
    for value in (2**8192, -(2**20_000), 2**8192 - 1):
        assert value == from_json(json.loads(json.dumps(to_json(value))))


@pytest.mark.parametrize(
    "written",
    [
        {"$base64": "not base64!"},
        {"$base64": 1},
        {"$decimal": "ten"},
        {"$timestamp": "yesterday"},
        {"$timestamp": "2026-01-31T12:00:00"},
        {"$integer": "1.5"},
        {"$map": [[1, 2]]},
        {"$tagged": [1, 2]},
        {"$set": [[]]},
        {"$tensor": ["u1", [2]]},
        {"$tensor": ["u1", [3], {"$base64": "AQI="}]},
        {"$tagged": 1},
        {"$map": [1]},
        {"$date": "31.1.2026"},
    ],
)
def test_content_that_does_not_fit_is_refused(written: dict[str, object]) -> None:
    """A typed error that says where it stands, whatever is inside; nothing else gets out."""
    with pytest.raises(CallerError) as caught:
        from_json({"a": [1, written]}, "payload")
    assert "invalid_argument" == caught.value.code
    assert f"payload.a[1].{next(iter(written))}" == caught.value.details["field"]


def test_what_is_no_value_is_refused() -> None:
    """An object of Python's has no form."""
    with pytest.raises(TypeError):
        to_json(object())
