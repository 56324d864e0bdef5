"""The job `synthesize` in a worker: the same rows each time, whatever dies in between."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.bridge.jobs.job_hop import JobHop
from tests.support.hops import Heard, worker_here

from dspex_protocol import decode_value

SIGNATURE = {
    "instructions": "Rate a review.",
    "inputs": [{"name": "text", "type": "str"}],
    "outputs": [{"name": "stars", "type": "int", "ge": 1, "le": 5}],
}
REQUEST: dict[str, Any] = {"signature": SIGNATURE, "rows": 12, "dataset": "reviews", "seed": 3}


class Datasets(JobHop):
    """A supervisor that has examples, and keeps what is stored."""

    def __init__(self, hop: Any) -> None:
        super().__init__(hop)
        self.examples: list[Any] = []
        self.stored: list[Any] = []

    def _answer(self, frame: Heard) -> object:
        match frame.method:
            case "job.rows":
                return {"rows": self.examples, "next": None}
            case "job.dataset":
                self.stored.append(frame.value)
                return {"dataset": frame.value["dataset"], "version": 1}
            case _:
                return super()._answer(frame)

    @property
    def rows(self) -> list[Any]:
        """Those of the last dataset that was stored."""
        return [row for part in self.stored[-1]["parts"] for row in decode_value(part["body"])]  # type: ignore[attr-defined]


@asynccontextmanager
async def scene() -> AsyncGenerator[Datasets]:
    async with worker_here() as (hop, _):
        yield Datasets(hop)


async def test_rows_are_written_and_stored() -> None:
    """As many as were wanted, each fitting and none twice; declared by the signature."""
    async with scene() as hop:
        reply = await hop.run(REQUEST, kind="synthesize")
        assert {"dataset": "reviews", "version": 1, "rows": 12} == {
            name: reply["result"][name] for name in ("dataset", "version", "rows")
        }
        assert reply["result"]["stopped"] is None
        assert 12 == len({row["text"] for row in hop.rows})
        assert all(1 <= row["stars"] <= 5 for row in hop.rows)
        assert ["text"] == hop.stored[-1]["input_keys"]
        kinds = [event["type"] for _, event in sorted(hop.events.items())]
        assert ["started", *["wave"] * (len(kinds) - 2), "finished"] == kinds


@pytest.mark.parametrize("after", [1, 3])
async def test_what_was_paid_for_is_not_asked_again(after: int) -> None:
    """And the rows are those of a job that nobody disturbed; another seed has others."""
    async with scene() as hop:
        await hop.run(REQUEST, kind="synthesize")
        undisturbed = hop.rows
    async with scene() as hop:
        hop.stop_after = after
        assert await hop.run(REQUEST, kind="synthesize") is None
        kept, hop.stop_after = len(hop.answers), 1 << 30
        reply = await hop.run(REQUEST, kind="synthesize", attempt=2)
        assert undisturbed == hop.rows
        assert {"answered": kept, "live": len(hop.answers) - kept, "diverged": 0} == reply["replay"]
        await hop.run({**REQUEST, "seed": 4}, kind="synthesize")
        assert undisturbed != hop.rows


async def test_examples_are_shown_and_not_written_again() -> None:
    """They are known from the beginning."""
    async with scene() as hop:
        await hop.run({**REQUEST, "rows": 3}, kind="synthesize")
        known = hop.rows
    async with scene() as hop:
        hop.examples = known
        request = {**REQUEST, "rows": 3, "shown": 0, "examples": {"dataset": "some"}}
        reply = await hop.run(request, kind="synthesize")
        assert not {row["text"] for row in known} & {row["text"] for row in hop.rows}
        assert 0 < reply["result"]["refused"]["duplicate"]


async def test_a_model_that_writes_nothing_new_is_not_asked_for_ever() -> None:
    """The request says how often at most; and there are no rows at all where none is new."""
    async with scene() as hop:
        reply = await hop.run({**REQUEST, "rows": 100, "max_requests": 3}, kind="synthesize")
        assert ("max_requests", 3) == (reply["result"]["stopped"], reply["result"]["requests"])
        assert 0 < len(hop.rows) < 100
        hop.examples = [{"text": "", "stars": stars} for stars in range(1, 6)]
        full = {"unique_by": ["stars"], "examples": {"dataset": "all of them"}}
        refused = await hop.failure({**REQUEST, **full}, kind="synthesize")
        assert "prediction_failed" == refused.code
        assert 1 == len(hop.stored)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"signature": "text ->"}, "request.signature.outputs"),
        ({"signature": "photo: image -> text"}, "request.signature"),
        ({"unique_by": ["colour"]}, "request.unique_by.colour"),
        ({"lm": "nobody"}, "request.lm"),
        ({"rows": 0}, "request.rows"),
        ({"near": 0.1}, "request.near"),
        ({"examples": {}}, "request.examples.dataset"),
        ({"colour": "red"}, "request.colour"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_path(changed: dict[str, Any], field: str) -> None:
    """Before a model is asked."""
    async with scene() as hop:
        refused = await hop.failure({**REQUEST, **changed}, kind="synthesize")
        assert field == refused.details["field"]
        assert [] == hop.answers
