"""What a cell of a file says, by the type of its field; and what it does not say."""

from __future__ import annotations

import datetime as dt

import pytest

from dspex_bridge.datasets.checking import checked_row, declared
from dspex_protocol import DSPexError

SIGNATURE = (
    "q -> n: int, o: Optional[int], l: list[int], m: dict[str, float], b: bool, f: float, d: date, s: str"
)


@pytest.mark.parametrize(
    ("field", "cell", "value"),
    [
        ("n", " 7 ", 7),
        ("n", "-7", -7),
        ("o", "7", 7),
        ("o", "", None),
        ("l", "[1, 2]", [1, 2]),
        ("m", '{"a": 0.5}', {"a": 0.5}),
        ("b", "True", True),
        ("b", "0", False),
        ("f", "1e3", 1000.0),
        ("d", "2026-01-02", dt.date(2026, 1, 2)),
        ("s", "7", "7"),
        ("s", "[1]", "[1]"),
        ("other", "7", "7"),
    ],
)
def test_a_cell_becomes_what_its_field_wants(field: str, cell: str, value: object) -> None:
    """Text stays text where the field is one, or is none of the signature's."""
    row = checked_row({"q": "x", field: cell}, declared(None, SIGNATURE), "rows[0]", is_text=True)
    assert {"q": "x", field: value} == row


@pytest.mark.parametrize(
    ("field", "cell"),
    [
        ("n", ""),
        ("n", "1.5"),
        ("n", "9" * 5000),
        ("o", "many"),
        ("l", "1, 2"),
        ("l", '["a"]'),
        ("m", "[1]"),
        ("b", "perhaps"),
        ("f", "a"),
        ("d", "soon"),
    ],
)
def test_a_cell_that_does_not_say_it_is_refused(field: str, cell: str) -> None:
    """By row and field, whatever it is."""
    with pytest.raises(DSPexError) as caught:
        checked_row({"q": "x", field: cell}, declared(None, SIGNATURE), "rows[3]", is_text=True)
    assert "invalid_argument" == caught.value.code
    assert str(caught.value.details["field"]).startswith(f"rows[3].{field}")


def test_what_came_typed_is_not_read_as_text() -> None:
    """A call says numbers as numbers."""
    with pytest.raises(DSPexError):
        checked_row({"q": "x", "n": "7"}, declared(None, SIGNATURE), "rows[0]", is_text=False)
