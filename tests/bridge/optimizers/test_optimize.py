"""Jobs of the kind `optimize`: each optimizer runs to its end, gets better, and comes to the same again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.bridge.jobs.job_hop import JobHop
from tests.support.hops import worker_here, worker_process
from tests.support.optimizing import ANSWERS, LMS, OPTIMIZERS, ROWS, SIGNATURE, request

from dspex_protocol import DSPexError, LMConfig

TRYING = sorted(set(OPTIMIZERS) - {"LabeledFewShot", "BootstrapFewShot"})
"""Those that try several programs."""


async def ran(what: object, answers: list[bytes] | None = None, **more: Any) -> tuple[Any, JobHop]:
    """The REPLY of a job in a worker of its own, and what its supervisor has seen."""
    async with worker_here(LMS) as (hop, _):
        job = JobHop(hop)
        job.answers = list(answers or ())
        return await job.run(what, "optimize", **more), job


async def refused(what: object) -> DSPexError:
    """A request that comes to nothing."""
    async with worker_here(LMS) as (hop, _):
        with pytest.raises(DSPexError) as caught:
            await hop.call("job.check", {"kind": "optimize", "request": what})
    return caught.value


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
async def test_it_runs_to_its_end_and_gets_better(name: str) -> None:
    """On rows that it is scored on before and after; and a second attempt asks for nothing anew."""
    what = request(name, valset=ROWS)
    reply, job = await ran(what)
    result = reply["result"]
    assert name == result["optimizer"]
    assert result["scores"]["best"] > result["scores"]["start"] == 0.3
    assert reply["replay"]["live"] == result["usage"]["lm_calls"] == len(job.answers)
    assert result["failed"] is result["unscored"] is result["unanswered"] is None
    again, second = await ran(what, job.answers, attempt=2, spent=result["usage"])
    assert {"answered": len(job.answers), "live": 0, "diverged": 0} == again["replay"]
    assert result == again["result"]
    assert job.events == second.events


@pytest.mark.parametrize("name", TRYING)
async def test_its_trials_are_told(name: str) -> None:
    """Numbered, with scores and what was tried; the best of them with its program."""
    reply, job = await ran(request(name))
    trials = [event for _, event in sorted(job.events.items()) if event["type"] == "trial"]
    assert list(range(1, len(trials) + 1)) == [trial["trial"] for trial in trials]
    assert [{**row, "type": "trial"} for row in reply["result"]["history"]] == trials
    assert all(set(trial["candidate"]) == {"self"} and 0 <= trial["score"] <= 1 for trial in trials)
    best = [trial for trial in trials if trial["is_best"]]
    assert best[-1]["score"] == reply["result"]["scores"]["best"]
    assert [(trial["score"], trial["trial"]) for trial in best[-1:]] == [
        (told["score"], told["content"]["trial"]) for told in job.best[-1:]
    ]
    assert {"spec", "state", "dspy", "schema", "trial"} == set(job.best[-1]["content"])


async def test_the_first_and_last_events_say_so() -> None:
    """With phases between."""
    _, job = await ran(request("MIPROv2"))
    events = [event for _, event in sorted(job.events.items())]
    assert ("optimizing", "optimized") == (events[0]["type"], events[-1]["type"])
    phases = [event["phase"] for event in events if event["type"] == "phase"]
    assert {"bootstrap", "propose", "evaluate"} == set(phases)


@pytest.mark.parametrize("name", ["BootstrapFewShotWithRandomSearch", "COPRO", "GEPA", "MIPROv2", "SIMBA"])
async def test_one_that_was_stopped_goes_on(name: str) -> None:
    """It comes to what an undisturbed one comes to, and pays for at most what was under way again."""
    whole, undisturbed = await ran(request(name))
    paid = len(undisturbed.answers)
    async with worker_process(LMS) as (hop, process):
        stopped = JobHop(hop)
        stopped.stop_after = paid // 2
        stopped.kill = process.kill
        assert await stopped.run(request(name), "optimize") is None
    reply, _ = await ran(request(name), stopped.answers, attempt=2)
    assert {**whole["result"], "usage": None} == {**reply["result"], "usage": None}
    assert 0 == reply["replay"]["diverged"]
    assert len(stopped.answers) + reply["replay"]["live"] == paid


async def test_a_budget_ends_it() -> None:
    """Whatever DSPy makes of the refusals; the best so far has been told."""
    async with worker_here(LMS) as (hop, _):
        job = JobHop(hop)
        failure = await job.failure(
            request("BootstrapFewShotWithRandomSearch"), kind="optimize", budget={"lm_calls": 70}
        )
    assert "budget_spent" == failure.code
    assert len(job.answers) <= 70
    assert job.best[-1]["score"] > 0.3


async def test_what_the_program_is_stored_as() -> None:
    """Its next version, unless it is said otherwise; of a spec nothing."""
    reply, _ = await ran(request("LabeledFewShot"))
    assert reply["save"] is None
    save = {"program": "mine", "tags": ["better"], "note": "by hand"}
    reply, _ = await ran(request("LabeledFewShot", save_as=save, valset=ROWS))
    assert ("mine", None, ["better"], "by hand", "LabeledFewShot") == tuple(
        reply["save"][key] for key in ("program", "base", "tags", "note", "optimizer")
    )
    assert reply["result"]["scores"] == reply["save"]["scores"]
    assert reply["result"]["program"] == reply["save"]["record"]
    assert 6 == len(reply["save"]["record"]["state"]["self"]["demos"])


async def test_a_metric_that_fails_is_counted() -> None:
    """And the rows score nothing, as DSPy has it."""
    metric = {"metric": "exact_match", "options": {"field": "colour"}}
    reply, _ = await ran(request("BootstrapFewShot", metric=metric, trainset=ROWS[:5]))
    assert (5, "metric_failed") == tuple(reply["result"]["unscored"][key] for key in ("count", "code"))


async def test_a_teacher_of_its_own() -> None:
    """With a language model of its own, that knows more: so the first rows are enough."""
    lms = {
        **LMS,
        "wise": {"model": "sim/wise", "options": {"lesson": {"answers": ANSWERS, "start": 1, "most": 1}}},
    }
    teacher = {"spec": {"module": "Predict", "signature": SIGNATURE}, "lm": "wise"}
    async with worker_here(lms) as (hop, _):
        reply = await JobHop(hop).run(request("BootstrapFewShot", teacher=teacher), "optimize")
    demos = reply["result"]["program"]["state"]["self"]["demos"]
    assert ["animal 0", "animal 1", "animal 2"] == [demo.value["fields"]["animal"] for demo in demos[:3]]
    assert 3 == reply["result"]["usage"]["lm_calls"]


async def test_it_waits_for_its_models() -> None:
    """A server that goes on with a job may not have them yet: they come with a client."""
    judged = {
        "metric": "judge",
        "options": {"program": {"module": "Predict", "signature": "sound -> score: float"}},
    }
    metric = {**judged, "options": {**judged["options"], "lm": "judging"}}  # type: ignore[dict-item]
    what = request("BootstrapFewShot", metric=metric, trainset=ROWS[:3])
    async with worker_here({"other": {"model": "sim/other"}}) as (hop, worker):
        running = asyncio.create_task(JobHop(hop).run(what, "optimize"))
        await asyncio.sleep(0.2)
        for names in (("judging",), ("judging", "default")):
            assert not running.done()
            worker.lms.configure(
                {name: LMConfig(model="sim/late") for name in names} | {"other": LMConfig(model="sim/other")},
                {},
            )
            await asyncio.sleep(0.2)
        reply = await running
    assert reply["result"]["scored_rows"]


async def test_the_seed_is_the_optimizers_own() -> None:
    """Another one is another search."""
    first, _ = await ran(request("SIMBA", seed=1))
    same, _ = await ran(request("SIMBA", seed=1))
    other, _ = await ran(request("SIMBA", seed=2))
    assert first["result"] == same["result"] != other["result"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"spec": None}, "request.program"),
        ({"program": "mine"}, "request.program"),
        ({"version": 1}, "request.version"),
        ({"metric": None}, "request.metric"),
        ({"trainset": None}, "request.trainset"),
        ({"trainset": []}, "request.trainset"),
        ({"metric": {"metric": "magic"}}, "request.metric.metric"),
        ({"optimizer": {"optimizer": "Magic"}}, "request.optimizer.optimizer"),
        ({"lm": "nobody"}, "request.lm"),
        ({"num_threads": 1000}, "request.num_threads"),
        ({"seed": -1}, "request.seed"),
        ({"teacher": {}}, "request.teacher.program"),
        ({"teacher": {"program": "p", "version": 1, "tag": "t"}}, "request.teacher.tag"),
        ({"tag": "t"}, "request.tag"),
        ({"surprise": 1}, "request.surprise"),
    ],
)
async def test_what_cannot_begin_is_refused(change: dict[str, object], field: str) -> None:
    """By the part that is wrong."""
    what = {key: value for key, value in {**request("COPRO"), **change}.items() if value is not None}
    assert field == (await refused(what)).details["field"]


async def test_what_it_needs_of_what_is_stored_is_told() -> None:
    """Programs by number or tag, and datasets, each with the part of the request that names it."""
    what = {
        **request("COPRO", trainset={"dataset": "rows", "select": {"sample": 3}}),
        "program": "p",
        "tag": "best",
        "valset": {"dataset": "rows", "version": 2},
    }
    del what["spec"]
    several = {
        "optimizer": {"optimizer": "Ensemble"},
        "programs": [{"program": "a", "version": 3}, {"spec": what_is_none()}],
    }
    async with worker_here(LMS) as (hop, _):
        one: Any = await hop.call("job.check", {"kind": "optimize", "request": what})
        other: Any = await hop.call("job.check", {"kind": "optimize", "request": several})
    assert [{"path": "request", "program": "p", "version": None, "tag": "best"}] == one["programs"]
    assert [
        {"path": "request.trainset", "dataset": "rows", "version": None, "select": {"sample": 3}},
        {"path": "request.valset", "dataset": "rows", "version": 2, "select": None},
    ] == one["datasets"]
    named = [(needed["path"], needed["program"], needed["version"]) for needed in other["programs"]]
    assert [("request.programs[0]", "a", 3)] == named


def what_is_none() -> object:
    """A program that is not stored."""
    return {"module": "Predict", "signature": SIGNATURE}


@pytest.mark.parametrize(
    ("rows", "field"),
    [
        ([{"animal": "a", "sound": "b"}, {"sound": "b"}], "request.trainset[1].animal"),
        ([{"animal": 3}], "request.trainset[0].animal"),
        (["animal"], "request.trainset[0]"),
    ],
)
async def test_a_row_that_is_none_is_named(rows: list[object], field: str) -> None:
    """By its number and field."""
    what = request("LabeledFewShot", trainset=rows)
    assert field == (await refused(what)).details["field"]
    async with worker_here(LMS) as (hop, _):
        failure = await JobHop(hop).failure(what, kind="optimize")
    assert ("invalid_argument", field) == (failure.code, failure.details["field"])


async def test_what_dspy_says_of_its_options_is_told() -> None:
    """Where only it can know."""
    what = {**request("GEPA"), "optimizer": {"optimizer": "GEPA", "options": {"reflection_lm": "default"}}}
    async with worker_here(LMS) as (hop, _):
        failure = await JobHop(hop).failure(what, kind="optimize")
    assert ("invalid_argument", "request.optimizer.options") == (failure.code, failure.details["field"])
    assert "max_metric_calls" in failure.message
    small = request("SIMBA", trainset=ROWS[:3])
    async with worker_here(LMS) as (hop, _):
        failure = await JobHop(hop).failure(small, kind="optimize")
    assert "Trainset too small" in failure.message
