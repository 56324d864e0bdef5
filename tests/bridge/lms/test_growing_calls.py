"""Calls of tools out of the pieces of a stream: each once, when all of it is there."""

from __future__ import annotations

from typing import Any

from dspex_bridge.lms.growing_calls import GrowingCalls


def piece(at: int, arguments: str = "", **more: Any) -> dict[str, Any]:
    """As a chunk has it."""
    function = {"arguments": arguments} | ({"name": more.pop("name")} if "name" in more else {})
    return {"index": at, "function": function, **more}


def names(calls: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Names and arguments."""
    return [(call["function"]["name"], call["function"]["arguments"]) for call in calls]


def test_a_call_is_complete_when_the_next_begins() -> None:
    """And the last one when the answer has ended."""
    calls = GrowingCalls()
    assert [] == calls.feed([piece(0, '{"a"', name="add", id="c1")])
    assert [] == calls.feed([piece(0, ": 1}")])
    assert [("add", '{"a": 1}')] == names(calls.feed([piece(1, "{}", name="weather", id="c2")]))
    (last,) = calls.close()
    assert {"id": "c2", "function": {"name": "weather", "arguments": "{}"}} == last
    assert [] == calls.close()


def test_pieces_of_one_chunk_and_calls_without_arguments() -> None:
    """Whole calls in one piece, as some servers send them; no arguments are none, and not broken ones."""
    calls = GrowingCalls()
    first = calls.feed([piece(0, name="a"), piece(1, name="b")])
    assert [("a", "{}")] == names(first)
    assert [] == calls.feed(None)
    assert [("b", "{}")] == names(calls.close())
