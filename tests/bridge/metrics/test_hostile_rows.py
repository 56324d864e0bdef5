"""Whatever stands in a row, a metric gives a score or a typed error, and both can be sent."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Final

import dspy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.metrics import build, needs_rapidfuzz, row, spec

from dspex_bridge.metrics.catalog import metric_classes
from dspex_bridge.metrics.scoring import PartFailed, failure_of, measure
from dspex_protocol import CODES, Tagged, Tensor, decode_value, encode_failure, encode_value

FIELD: Final = {"field": "answer"}
EXTRA: Final[dict[str, dict[str, object]]] = {
    "regex": {"pattern": "a+$"},
    "numeric": {"absolute": 0.1, "relative": 0.1},
    "json_match": {"ignore": ["a[*].b", "*"]},
}
PLAIN: Final = [name for name, kind in metric_classes().items() if kind.asks is None]

ODD: Final[list[Any]] = [
    *(None, True, 0, -1, 10**400, math.nan, math.inf, -math.inf, Decimal("NaN"), Decimal("sNaN")),
    *(
        Decimal("1e999999"),
        Decimal("-Infinity"),
        b"\x00\xff",
        "",
        "\x00",
        "NaN",
        "1e999",
        "9" * 5_000,
        "\u202e",
    ),
    *("[" * 5_000, '{"a": NaN}', "{'a': 1}", "a" * 5_000, (), (1, "a"), {1: 2}, {"a": [{"b": 1}]}, [[], {}]),
    *(dspy.Example(a=1), dspy.Image("https://example.org/a.png"), dspy.Code(code="a"), Tagged("x", 1)),
    *(Tensor("f8", (1,), b"\x00" * 8), object()),
]
VALUES = st.recursive(
    st.sampled_from(ODD) | st.text(max_size=6) | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=needs_rapidfuzz if name == "edit_distance" else ()) for name in PLAIN],
)
@settings(max_examples=50)
@given(wanted=VALUES, came=VALUES, any_of=st.booleans())
@example(wanted=[Decimal("sNaN")], came=Decimal("sNaN"), any_of=True)
def test_a_row_has_a_score_or_a_typed_error(name: str, wanted: Any, came: Any, any_of: bool) -> None:
    """Never anything else, and never a number out of bounds."""
    fields = metric_classes()[name].options.__dataclass_fields__  # type: ignore[attr-defined]
    options = {**(FIELD if "field" in fields else {}), **EXTRA.get(name, {})}
    options |= {"any_of": any_of} if "any_of" in fields else {}
    metric = build(spec(name, **options))
    try:
        found = measure(metric, row({"answer": wanted}, {"answer": came, "context": came}))
    except PartFailed as failed:
        failure = failure_of(failed)
        assert failure.code in CODES
        assert failure.details["metric"] == name
        encode_failure(failure)
    else:
        assert 0.0 <= found.score <= 1.0
        assert found.told() == decode_value(encode_value(found.told()))
