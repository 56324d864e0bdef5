"""`batch.run` with real workers: the same results as so many predictions, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from typing import Any, cast

import pytest
from tests.support.standing import Standing

from dspex_pool.client import Client
from dspex_pool.client_functions import HostFunction
from dspex_pool.replies import fields_of
from dspex_protocol import DSPexError

pytestmark = pytest.mark.slow

SPEC = {"module": "Predict", "signature": "question: str -> answer: str, score: int"}
LMS = {
    "default": {"model": "sim/batches", "options": {"seed": 7}},
    "slow": {"model": "sim/batches", "options": {"seed": 7, "latency_ms": 150}},
    "host": {"model": "host/model"},
}


def _model(**args: Any) -> str:
    return f"[[ ## answer ## ]]\n{len(args['messages'])}\n\n[[ ## score ## ]]\n3\n\n[[ ## completed ## ]]"


FUNCTIONS: Mapping[str, HostFunction] = {"model": _model}


def _client(*flags: str) -> Any:
    """Of a server of its own, for tests that kill or set something."""
    return Client.start(flags=("--workers", "2", *flags), lms=LMS, functions=FUNCTIONS)


def _rows(count: int) -> list[dict[str, object]]:
    return [{"question": f"What is {index}?"} for index in range(count)]


async def test_a_batch_gives_what_as_many_predictions_give(standing: Standing) -> None:
    """Row by row, with the usage of all of them together."""
    async with standing.client(functions=FUNCTIONS, lms=LMS) as client:
        rows = _rows(40)
        alone = await asyncio.gather(*(client.prediction(SPEC, row) for row in rows))
        outcome = await client.outcome("batch.run", {"spec": SPEC, "inputs": rows})
    value = cast("dict[str, Any]", outcome.value)
    assert [one.fields for one in alone] == [fields_of(row["prediction"]) for row in value["results"]]
    for key in ("lm_calls", "tokens_in", "tokens_out"):
        spent = [cast("int", one.meta[key]) for one in alone]
        assert spent == [row["prediction"].value["usage"][key] for row in value["results"]]
        assert sum(spent) == value["usage"][key] == outcome.meta[key]


async def test_a_worker_that_dies_costs_no_row() -> None:
    """Its rows are run again elsewhere; each comes once."""
    async with _client() as client:
        await client.call("system.echo")
        stream = client.stream_call(
            "batch.run", {"spec": SPEC, "inputs": _rows(60), "lm": "slow", "parallelism": 8}
        )
        seen: list[int] = []
        async for item in stream:
            row = cast("dict[str, Any]", item)
            assert "prediction" in row, row
            seen.append(row["index"])
            if len(seen) in (10, 25):
                info = cast("dict[str, Any]", await client.call("system.info", {}))
                os.kill(info["workers"][0]["pid"], signal.SIGKILL)
        summary = cast("dict[str, Any]", (await stream.result()).value)
    assert list(range(60)) == sorted(seen)
    assert (60, 60, 0, 0) == tuple(summary[key] for key in ("rows", "done", "failed", "left"))


async def test_a_wrong_row_is_named_and_the_others_are_run(standing: Standing) -> None:
    """By the path of the input in the batch."""
    rows = [*_rows(2), {"question": "?", "k": 3}, {}]
    async with standing.client(functions=FUNCTIONS, lms=LMS) as client:
        value = cast("dict[str, Any]", await client.call("batch.run", {"spec": SPEC, "inputs": rows}))
    first, second, third, fourth = value["results"]
    assert "prediction" in first
    assert "prediction" in second
    assert "inputs[2].k" == third["error"]["details"]["field"]
    assert "inputs[3].question" == fourth["error"]["details"]["field"]
    assert (2, 2) == (value["done"], value["failed"])


@pytest.mark.parametrize(
    ("more", "code", "field"),
    [
        ({"spec": {"module": "Nonsense", "signature": "q -> a"}}, "invalid_argument", "spec.module"),
        ({"spec": SPEC, "lm": "nobody"}, "unknown_lm", "lm"),
        ({"spec": SPEC, "colour": "red"}, "invalid_argument", "colour"),
        ({}, "invalid_argument", "spec"),
    ],
)
async def test_what_is_wrong_with_the_call_is_told_once(
    more: dict[str, object], code: str, field: str | None, standing: Standing
) -> None:
    """And not of each row."""
    async with standing.client(functions=FUNCTIONS, lms=LMS) as client:
        with pytest.raises(DSPexError) as caught:
            await client.call("batch.run", {"inputs": _rows(30), **more})
    assert (code, field) == (caught.value.code, caught.value.details.get("field"))


async def test_a_host_function_answers_for_all_rows(standing: Standing) -> None:
    """Here the language model is one."""
    async with standing.client(functions=FUNCTIONS, lms=LMS) as client:
        value = cast(
            "dict[str, Any]",
            await client.call("batch.run", {"spec": SPEC, "inputs": _rows(20), "lm": "host"}),
        )
    assert {3} == {fields_of(row["prediction"])["score"] for row in value["results"]}


async def test_rows_of_a_host_module_call_their_own_parts(standing: Standing) -> None:
    """Each in the worker where that row runs."""
    parts = {"answer": {"module": "Predict", "signature": "question -> answer"}}
    spec = {
        "module": "Host",
        "signature": "question -> answer",
        "options": {"forward": "forward", "parts": parts},
    }
    host: list[Client] = []

    async def forward(question: str) -> dict[str, object]:
        drafted = await host[0].part("answer", {"question": question})
        return {"answer": f"{question} {drafted['answer']}"}

    async with standing.client(functions={"forward": forward}, lms=LMS) as client:
        host.append(client)
        value = cast("dict[str, Any]", await client.call("batch.run", {"spec": spec, "inputs": _rows(20)}))
    answers = [str(fields_of(row["prediction"])["answer"]) for row in value["results"]]
    assert [f"What is {index}?" for index in range(20)] == [
        answer[: answer.index("?") + 1] for answer in answers
    ]


async def test_a_stored_program_runs_in_one_version(standing: Standing) -> None:
    """That which was there when the batch came, also when it changes meanwhile."""
    async with standing.client(functions=FUNCTIONS, lms=LMS) as client:
        await client.call("program.create", {"spec": SPEC}, program="p")
        stream = client.stream_call(
            "batch.run", {"inputs": _rows(30), "lm": "slow", "parallelism": 4}, program="p"
        )
        count = 0
        async for _ in stream:
            count += 1
            if count == 1:
                await client.call(
                    "program.update", {"state": {"self": {"instructions": "Otherwise."}}}, program="p"
                )
        outcome = await stream.result()
    assert (30, 1) == (count, outcome.meta["version"])


async def test_somebody_who_waits_goes_before_the_batch() -> None:
    """One prediction has its answer long before a batch that fills the pool."""
    async with _client("--calls-per-worker", "2") as client:
        stream = client.stream_call("batch.run", {"spec": SPEC, "inputs": _rows(200), "lm": "slow"})
        items = stream.__aiter__()
        await anext(items)
        for _ in range(3):
            await client.predict(SPEC, {"question": "Now?"}, lm="slow")
        info = cast("dict[str, Any]", await client.call("system.info", {}))
        assert 0 < info["lanes"]["batch"]["running"]
        stream.cancel()
        with pytest.raises(DSPexError) as caught:
            await stream.result()
    assert "cancelled" == caught.value.code


async def test_it_is_described_with_what_each_prediction_takes(standing: Standing) -> None:
    """Its own options, and those of `program.predict`."""
    async with standing.client(functions=FUNCTIONS, lms=LMS) as client:
        described = cast("dict[str, Any]", await client.call("system.describe", {}))
    parameters = described["methods"]["batch.run"]["parameters"]
    assert {
        "inputs",
        "parallelism",
        "max_errors",
        "row_deadline_ms",
        "spec",
        "lm",
        "config",
    } <= parameters.keys()
    assert "an array" in parameters["inputs"]["type"]
