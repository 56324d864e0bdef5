"""What language models have cost: added up by model, program and tenant, in bounded memory."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest

from dspex_pool.spending import MAX_ROWS, Spending
from dspex_protocol import encode_value

CALL: dict[str, Any] = {
    "lm_calls": 2,
    "lm_ms": 10.5,
    "tokens_in": 100,
    "tokens_out": 20,
    "cost_usd": 0.25,
    "lm": "big",
}


def told(spending: Spending, table: str, limit: int = 10) -> list[dict[str, Any]]:
    """The rows of a table."""
    return cast("list[dict[str, Any]]", spending.snapshot(limit)[table])


def test_a_call_counts_for_its_model_its_program_and_its_tenant() -> None:
    """And once in the total."""
    spending = Spending()
    spending.add(CALL, "acme", "qa")
    spending.add({**CALL, "lm": "small", "cost_usd": 0.5, "unpriced": 1}, "acme", None)
    assert {(row["lm"], row["cost_usd"]) for row in told(spending, "lms")} == {("big", 0.25), ("small", 0.5)}
    (program,) = told(spending, "programs")
    assert (program["program"], program["lm_calls"], program["tokens_in"]) == ("qa", 2, 100)
    (tenant,) = told(spending, "tenants")
    assert (tenant["tenant"], tenant["lm_calls"], tenant["cost_usd"], tenant["unpriced"]) == (
        "acme",
        4,
        0.75,
        1,
    )
    total = cast("dict[str, Any]", spending.snapshot(1)["total"])
    assert (total["lm_calls"], total["lm_ms"], total["tokens_out"], total["cost_usd"]) == (4, 21.0, 40, 0.75)


def test_what_several_models_share_is_told_apart() -> None:
    """By the worker's note; the answer's meta names none then."""
    spending = Spending()
    spending.split(encode_value({"big": {"lm_calls": 1, "cost_usd": 0.5}, "small": {"lm_calls": 3}}))
    spending.add({"lm_calls": 4, "cost_usd": 0.5}, "acme", None)
    assert {row["lm"]: row["lm_calls"] for row in told(spending, "lms")} == {"big": 1, "small": 3}
    assert spending.total.lm_calls == 4


def test_those_that_cost_most_come_first() -> None:
    """Where nothing is known of prices, those with the most tokens."""
    spending = Spending()
    for name, cost, tokens in (("a", 0.0, 5), ("b", 2.0, 1), ("c", 0.0, 9), ("d", 3.0, 1)):
        spending.add({"lm_calls": 1, "cost_usd": cost, "tokens_in": tokens}, name, None)
    assert [row["tenant"] for row in told(spending, "tenants")] == ["d", "b", "c", "a"]
    assert [row["tenant"] for row in told(spending, "tenants", 2)] == ["d", "b"]


def test_more_names_than_there_is_room_for_share_a_row_without_one() -> None:
    """Nothing is lost of the sum."""
    spending = Spending()
    for number in range(MAX_ROWS + 50):
        spending.add({"lm_calls": 1}, f"tenant-{number}", None)
    rows = told(spending, "tenants", 2_000)
    assert len(rows) == MAX_ROWS + 1
    assert sum(row["lm_calls"] for row in rows) == MAX_ROWS + 50
    assert {row["tenant"]: row["lm_calls"] for row in rows}[None] == 50


@pytest.mark.parametrize("odd", ["much", None, True, -1, math.nan, math.inf, -math.inf, 1e300, [1]])
def test_what_is_no_figure_counts_for_nothing(odd: object) -> None:
    """A worker may be broken; the sums go on."""
    spending = Spending()
    spending.add(cast("Any", {"lm_calls": 1, "cost_usd": odd, "tokens_in": odd, "lm": odd}), "acme", None)
    spending.add(CALL, "acme", None)
    assert spending.total.cost_usd == 0.25
    assert spending.total.tokens_in == 100


@pytest.mark.parametrize("note", [b"", b"\xc1", encode_value(3), encode_value({"a": 3}), encode_value(None)])
def test_a_note_that_says_nothing_changes_nothing(note: bytes) -> None:
    """Neither the total nor the rows."""
    spending = Spending()
    spending.split(note)
    assert told(spending, "lms") == []
