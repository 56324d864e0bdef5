"""`evaluation.run` with real workers and stores: what it finds, and that it goes on whoever dies."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Mapping
from typing import Any, Final, cast

import pytest
from tests.support.servers import count, info, serving, workers

from dspex_pool.client import Client
from dspex_protocol import DSPexError

pytestmark = pytest.mark.slow

MOODS: Final = "question -> mood: Literal['good', 'bad', 'odd']"
SPEC: Final = {"module": "Predict", "signature": MOODS}
RIGHT: Final = {"metric": "exact_match", "options": {"field": "mood"}}
LMS: Final[Mapping[str, object]] = {
    "default": {"model": "sim/test", "options": {"seed": 7}},
    "other": {"model": "sim/test", "options": {"seed": 8}},
    "slow": {"model": "sim/test", "options": {"seed": 7, "latency_ms": 60}},
    "host": {"model": "host/model"},
}
KILLS: Final = count("evaluation_kills", 3)
KINDS: Final = ("good", "bad", "odd")


def rows(count: int) -> list[dict[str, object]]:
    return [{"question": f"How is {n}?", "mood": KINDS[n % 3], "note": n} for n in range(count)]


async def put(client: Client, count: int, dataset: str = "moods") -> None:
    await client.call("dataset.put", {"dataset": dataset, "rows": rows(count), "signature": MOODS})


def asked(**more: object) -> dict[str, object]:
    return {"spec": SPEC, "dataset": {"dataset": "moods"}, "metrics": {"right": RIGHT}, **more}


async def call(client: Client, method: str, payload: Mapping[str, object], **meta: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", await client.call(f"evaluation.{method}", payload, **meta))


async def refused(client: Client, method: str, payload: Mapping[str, object], **meta: Any) -> DSPexError:
    with pytest.raises(DSPexError) as caught:
        await call(client, method, payload, **meta)
    return caught.value


async def all_rows(client: Client, evaluation: str, **more: object) -> list[dict[str, Any]]:
    """Page by page."""
    found: list[dict[str, Any]] = []
    offset: int | None = 0
    while offset is not None:
        page = await call(client, "rows", {"evaluation": evaluation, "offset": offset, "limit": 300, **more})
        found += page["rows"]
        offset = page["next"]
    return found


async def test_each_row_is_what_a_prediction_and_a_metric_give() -> None:
    """The same values as of `program.predict` and `metric.score`, and the fields that are its inputs."""
    async with serving("--workers", "2", lms=LMS) as client:
        await put(client, 12)
        made = await call(client, "run", asked(evaluation="e", trace=True, requests=True))
        found = await all_rows(client, "e")
        predictions = [
            await client.prediction(SPEC, {"question": row["question"]}, trace=True) for row in rows(12)
        ]
        scored = cast(
            "dict[str, Any]",
            await client.call(
                "metric.score",
                {
                    "metric": RIGHT,
                    "rows": [
                        {"example": row, "prediction": one.fields}
                        for row, one in zip(rows(12), predictions, strict=True)
                    ],
                },
            ),
        )
    assert rows(12) == [row["example"] for row in found]
    assert [one.fields for one in predictions] == [row["prediction"].value["fields"] for row in found]
    assert scored["results"] == [row["scores"]["right"] for row in found]
    assert [[{"question": row["question"]}] for row in rows(12)] == [
        [step["inputs"] for step in row["trace"]] for row in found
    ]
    assert {1} == {len(row["requests"]) for row in found}
    assert scored["mean"] == made["scores"]["right"]["mean"]
    assert 12 == made["usage"]["lm_calls"] == sum(row["usage"]["lm_calls"] for row in found)
    assert all(row["worker_ms"] > 0 for row in found)


async def test_a_dataset_is_read_in_pages_and_a_sample_in_its_order() -> None:
    """Rows of several parts; each once, under its place in the selection."""
    select = {"sample": 700, "seed": 3}
    async with serving("--workers", "2", lms=LMS) as client:
        await put(client, 2500)
        on = {"dataset": "moods", "version": 1, "select": select}
        request = asked(evaluation="e", dataset=on)
        await call(client, "run", request)
        found = await all_rows(client, "e")
        wanted: list[dict[str, Any]] = []
        for offset in (0, 400):
            page = {"dataset": "moods", "select": select, "offset": offset, "limit": 400}
            wanted += cast("dict[str, Any]", await client.call("dataset.rows", page))["rows"]
        await client.call("dataset.append", {"dataset": "moods", "rows": rows(1)})
        known = await call(client, "run", request)
    assert wanted == [row["example"] for row in found]
    assert list(range(700)) == [row["index"] for row in found]
    assert [row["example"]["note"] for row in found] == [row["row"] for row in found]
    assert (1, {**select, "split": None, "side": None}) == (known["dataset_version"], known["select"])


async def test_workers_that_die_cost_no_row() -> None:
    """Their rows are run again elsewhere; each comes once."""
    async with serving("--workers", "2", lms=LMS) as client:
        await put(client, 80)
        stream = client.stream_call("evaluation.run", asked(lm="slow", parallelism=8, evaluation="e"))
        seen: list[int] = []
        async for item in stream:
            seen.append(cast("dict[str, Any]", item)["index"])
            if len(seen) in (10, 40):
                for worker in await workers(client):
                    os.kill(worker["pid"], signal.SIGKILL)
        known = await call(client, "get", {"evaluation": "e"})
        found = await all_rows(client, "e")
    assert list(range(80)) == sorted(seen) == [row["index"] for row in found]
    assert ("done", 80, 0) == (known["state"], known["done"], known["failed"])


async def test_a_server_that_is_killed_goes_on_where_it_was(lasting_store: str) -> None:
    """Several times: rows that somebody has heard of are never run again, and all come in the end."""
    asked_for: list[str] = []

    async def model(**args: Any) -> str:
        asked_for.append(str(args["messages"][-1]["content"]))
        await asyncio.sleep(0.02)
        return "[[ ## mood ## ]]\ngood\n\n[[ ## completed ## ]]"

    flags = ("--workers", "1", "--store", lasting_store)
    request = asked(evaluation="e", lm="host", parallelism=4)
    seen: list[int] = []
    known: dict[str, Any] = {}
    found: list[dict[str, Any]] = []
    for kill in range(KILLS + 1):
        async with serving(*flags, lms=LMS, functions={"model": model}) as client:
            if kill == 0:
                await put(client, 60)
            before, pid = len(seen), (await info(client))["pid"]
            try:
                stream = client.stream_call("evaluation.run", request)
                async for item in stream:
                    seen.append(cast("dict[str, Any]", item)["index"])
                    if kill < KILLS and len(seen) - before == 7:
                        os.kill(pid, signal.SIGKILL)
                await stream.result()
            except DSPexError as failure:
                assert "connection_lost" == failure.code
            else:
                assert KILLS == kill
                known = await call(client, "get", {"evaluation": "e"})
                found = await all_rows(client, "e")
    assert len(seen) == len(set(seen))
    assert ("done", 60, 60) == (known["state"], known["done"], known["scores"]["right"]["scored"])
    assert list(range(60)) == [row["index"] for row in found]
    assert len(asked_for) <= 60 + KILLS * 4 * 2  # those that ran, and those that were just being stored


async def test_metrics_fail_each_for_itself() -> None:
    """One that throws, one that hangs, one that says nonsense: the prediction and the others stay."""

    async def hangs(**args: Any) -> object:
        await asyncio.sleep(60)
        return 1

    async def throws(**args: Any) -> object:
        raise ValueError("no")

    def fair(**args: Any) -> object:
        return {"score": 0.5, "feedback": f"of {args['example']['note']}"}

    def nonsense(**args: Any) -> object:
        return "very good"

    functions: Mapping[str, Any] = {"hangs": hangs, "throws": throws, "nonsense": nonsense, "fair": fair}
    metrics = {name: {"metric": "host", "options": {"function": name}} for name in functions}
    async with serving("--workers", "1", lms=LMS, functions=functions) as client:
        await put(client, 3)
        started = asyncio.get_running_loop().time()
        given = asked(metrics={"right": RIGHT, **metrics}, metric_deadline_ms=300, evaluation="e")
        made = await call(client, "run", given)
        took_s = asyncio.get_running_loop().time() - started
        by_row = await call(
            client,
            "run",
            {**given, "metric_deadline_ms": None, "row_deadline_ms": 1000} | {"evaluation": "f"},
        )
        found = await all_rows(client, "e")
        failures = await call(client, "failures", {"evaluation": "e"})
        lacking = await all_rows(client, "e", metric="hangs", scored=False)
    codes = {name: found[0]["scores"][name].get("error", {}).get("code") for name in ("right", *functions)}
    assert {
        "right": None,
        "hangs": "metric_timeout",
        "throws": "function_failed",
        "nonsense": "metric_failed",
        "fair": None,
    } == codes
    assert {"of 0", "of 1", "of 2"} == {row["scores"]["fair"]["feedback"] for row in found}
    assert all(row["prediction"] is not None for row in found)
    assert (3, 0) == (made["done"], made["failed"])
    assert (0, 3, 0.0) == tuple(made["scores"]["hangs"][key] for key in ("scored", "failed", "mean"))
    assert (3, 3) == (by_row["done"], by_row["scores"]["hangs"]["failed"])
    assert took_s < 30
    assert 3 == len(lacking)
    assert {"hangs", "throws", "nonsense"} <= {
        one["metric"] for one in failures["clusters"] if one["kind"] == "metric_error"
    }


async def test_what_judges_cost_is_told_apart() -> None:
    """In each row and in all."""
    judge = {
        "metric": "judge",
        "options": {"program": {"module": "Predict", "signature": "question, mood -> score: bool"}},
    }
    async with serving("--workers", "1", lms=LMS) as client:
        await put(client, 4)
        made = await call(client, "run", asked(metrics={"judge": judge, "right": RIGHT}, evaluation="e"))
        found = await all_rows(client, "e")
    assert {(2, 1)} == {(row["usage"]["lm_calls"], row["metric_usage"]["lm_calls"]) for row in found}
    assert (8, 4) == (made["usage"]["lm_calls"], made["metric_usage"]["lm_calls"])
    assert made["usage"]["tokens_in"] > made["metric_usage"]["tokens_in"] > 0


async def test_what_is_wrong_with_the_whole_is_told_before_any_row() -> None:
    """With the path of the part, and nothing is stored."""
    cases: list[tuple[dict[str, object], str, str | None]] = [
        (asked(metrics={"m": {"metric": "nope"}}), "invalid_argument", "metrics.m.metric"),
        (asked(metrics={"m": {"metric": "exact_match"}}), "invalid_argument", "metrics.m.options.field"),
        (asked(spec={"module": "Nope"}), "invalid_argument", "spec.module"),
        (asked(spec=None), "invalid_argument", "spec"),
        (asked(lm="nobody"), "unknown_lm", None),
        (asked(colour=1), "invalid_argument", "colour"),
        (asked(dataset={"dataset": "none"}), "unknown_dataset", None),
        (asked(dataset={"dataset": "moods", "version": 9}), "unknown_dataset", None),
        (asked(spec={**SPEC, "signature": "question, who -> mood"}), "invalid_argument", "input_keys"),
        (asked(metrics={"m": {"metric": "host", "options": {"function": "f"}}}), "unknown_function", None),
    ]
    async with serving("--workers", "1", lms=LMS) as client:
        await put(client, 3)
        for payload, code, field in cases:
            failure = await refused(client, "run", payload)
            assert (code, field) == (failure.code, failure.details.get("field") if field else None), failure
        assert [] == (await call(client, "list", {}))["evaluations"]


async def test_it_goes_on_with_the_version_that_it_began_with() -> None:
    """Though the program has a newer one by then."""
    async with serving("--workers", "1", lms=LMS) as client:
        await put(client, 30)
        await client.call("program.create", {"spec": SPEC}, program="p")
        request = {key: value for key, value in asked(lm="slow", evaluation="e").items() if key != "spec"}
        late = await refused(client, "run", {**request, "parallelism": 2}, program="p", deadline_ms=700)
        assert "deadline" == late.code
        state = {"self": {"instructions": "Say how it is."}}
        await client.call("program.update", {"state": state}, program="p")
        made = await call(client, "run", request, program="p")
        await client.call("program.update", {"state": state}, program="p")
        other = await call(client, "run", {**request, "evaluation": "f"}, program="p")
    assert ("p", 1, 30, "done") == tuple(made[key] for key in ("program", "version", "done", "state"))
    assert 3 == other["version"]


async def test_two_programs_are_compared_row_by_row() -> None:
    """And what is not of the same rows is not."""
    async with serving("--workers", "2", lms=LMS) as client:
        await put(client, 120)
        await put(client, 119, "fewer")
        kinds: dict[str, dict[str, object]] = {
            "a": {},
            "b": {"lm": "other"},
            "short": {"dataset": {"dataset": "fewer"}},
            "sample": {"dataset": {"dataset": "moods", "select": {"sample": 120}}},
            "named": {"metrics": {"wrong": RIGHT}},
        }
        for name, more in kinds.items():
            await call(client, "run", asked(evaluation=name, **more))
        one = await call(client, "compare", {"evaluations": ["a", "b"]})
        again = await call(client, "compare", {"evaluations": ["a", "b"]})
        found = {name: await all_rows(client, name) for name in "ab"}
        fields = {}
        for names in (["a", "short"], ["a", "sample"], ["a", "named"], ["a", "a"]):
            failure = await refused(client, "compare", {"evaluations": names})
            fields[names[1]] = failure.details["field"]
        unknown = await refused(client, "compare", {"evaluations": ["a", "none"]})
    assert one == again
    pair = one["metrics"]["right"][0]
    scores = {name: [row["scores"]["right"]["score"] for row in found[name]] for name in "ab"}
    better = sum(b > a for a, b in zip(scores["a"], scores["b"], strict=True))
    worse = sum(b < a for a, b in zip(scores["a"], scores["b"], strict=True))
    assert ("a", "b", 120, better, worse, 120 - better - worse) == tuple(
        pair[key] for key in ("a", "b", "rows", "wins", "losses", "ties")
    )
    assert better > 0 < worse
    assert pair["difference"] == pytest.approx((sum(scores["b"]) - sum(scores["a"])) / 120)
    assert pair["low"] <= pair["difference"] <= pair["high"]
    assert pair["significant"] == (pair["p_holm"] < 0.05)
    assert [list(pair_) for pair_ in zip(scores["a"], scores["b"], strict=True)] == [
        row["scores"]["right"] for row in one["rows"]
    ]
    assert {
        "short": "evaluations[1].dataset",
        "sample": "evaluations[1].select",
        "named": "evaluations",
        "a": "evaluations[1]",
    } == fields
    assert "unknown_evaluation" == unknown.code


async def test_several_run_at_once() -> None:
    """Beside predictions of others, each with its own rows."""
    async with serving("--workers", "2", lms=LMS) as client:
        await put(client, 150)
        runs = [call(client, "run", asked(evaluation=f"e{n}", note=f"n{n}")) for n in range(6)]
        beside = [client.prediction(SPEC, {"question": f"q{n}"}) for n in range(20)]
        made, predictions = await asyncio.gather(asyncio.gather(*runs), asyncio.gather(*beside))
        listed = await call(client, "list", {"prefix": "e", "limit": 4})
        rest = await call(client, "list", {"prefix": "e", "after": listed["next"]})
    assert 20 == len(predictions)
    assert {150} == {one["done"] for one in made}
    assert 1 == len({str(one["scores"]) for one in made})
    names = [one["evaluation"] for one in itertools.chain(listed["evaluations"], rest["evaluations"])]
    assert [f"e{n}" for n in range(6)] == names


async def test_a_dataset_that_is_deleted_ends_its_run() -> None:
    """When its next rows are to be read; what was stored of it can still be looked at."""
    async with serving("--workers", "2", lms=LMS) as client:
        await put(client, 1600)
        stream = client.stream_call("evaluation.run", asked(evaluation="e"))
        count = 0
        async for _ in stream:
            count += 1
            if count == 1:
                await client.call("dataset.delete", {"dataset": "moods"})
        with pytest.raises(DSPexError) as ended:
            await stream.result()
        known = await call(client, "get", {"evaluation": "e"})
        page = await call(client, "rows", {"evaluation": "e", "limit": 1})
        gone = await refused(client, "run", asked(evaluation="e"))
    assert "unknown_dataset" == ended.value.code == gone.code
    assert ("running", 1600) == (known["state"], known["rows"])
    assert count <= known["done"] == page["total"] < 1600
