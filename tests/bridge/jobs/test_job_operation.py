"""`job.run` against a supervisor of a few lines: what is kept is never asked for again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.bridge.jobs.job_hop import job_worker

from dspex_protocol import decode_value


def lines(ledger: Path) -> int:
    """Requests that were really made."""
    return len(ledger.read_text().splitlines()) if ledger.exists() else 0


async def test_a_job_runs_to_its_end(tmp_path: Path) -> None:
    """Its answers, events and best results are kept on the way."""
    ledger = tmp_path / "ledger"
    async with job_worker() as job:
        reply = await job.run({"steps": 3, "at_once": 2, "ledger": str(ledger)})
    assert lines(ledger) == 6
    assert {"answered": 0, "live": 6, "diverged": 0} == reply["replay"]
    assert reply["save"] is None
    assert [1, 2, 3] == [job.events[n]["step"] for n in (1, 2, 3)]
    assert [1.0, 2.0, 3.0] == [best["score"] for best in job.best]
    assert [("lm", 1), ("lm", 2)] == sorted((entry["kind"], entry["n"]) for entry in job.values()[:2])
    usage = {"lm_calls": 1, "tokens_in": 10, "tokens_out": 0, "cost_usd": 0.001}
    assert usage == job.values()[0]["usage"]


@pytest.mark.parametrize("in_threads", [False, True])
async def test_a_second_attempt_asks_for_nothing_that_is_kept(tmp_path: Path, in_threads: bool) -> None:
    """It comes to the same, on the event loop and in threads."""
    request = {"steps": 4, "at_once": 3, "ledger": str(tmp_path / "ledger"), "in_threads": in_threads}
    async with job_worker() as whole:
        undisturbed = await whole.run({**request, "ledger": ""})
    async with job_worker() as job:
        job.stop_after = 5
        assert await job.run(request) is None
    kept, made = len(job.answers), lines(tmp_path / "ledger")
    async with job_worker() as again:
        again.answers = list(job.answers)
        reply = await again.run(request, attempt=2)
    assert undisturbed["result"] == reply["result"]
    assert {"answered": kept, "live": 12 - kept, "diverged": 0} == reply["replay"]
    assert made + 12 - kept == lines(tmp_path / "ledger")


async def test_answers_that_nobody_wants_any_more_are_counted() -> None:
    """An attempt that goes another way says so."""
    async with job_worker() as job:
        await job.run({"steps": 3})
        reply = await job.run({"steps": 2}, attempt=2)
    assert {"answered": 2, "live": 0, "diverged": 1} == reply["replay"]


async def test_what_failed_before_a_job_was_resumed_is_asked_again(tmp_path: Path) -> None:
    """And from there on its events are told anew, once; else the journal answers as ever."""
    broken = tmp_path / "broken"
    broken.touch()
    request = {"steps": 4, "broken": str(broken), "swallows": True, "ledger": str(tmp_path / "ledger")}
    async with job_worker() as whole:
        undisturbed = await whole.run({**request, "broken": ""})
    async with job_worker() as job:
        bad = await job.run(request)
        kept = len(job.answers)
        assert {"answered": kept, "live": 0, "diverged": 0} == (await job.run(request, attempt=2))["replay"]
        broken.unlink()
        again = await job.run(request, attempt=3, forgiven=kept)
        assert {"answered": kept - 1, "live": 1, "diverged": 0} == again["replay"]
        assert bad["result"] != undisturbed["result"] == again["result"]
        assert whole.events == job.events
        job.events[3] = "as it was told"
        last = await job.run(request, attempt=4, forgiven=kept)
        assert {"answered": kept, "live": 0, "diverged": 0} == last["replay"]
        assert (again["result"], "as it was told") == (last["result"], job.events[3])


async def test_what_comes_together_is_kept_together() -> None:
    """While answers are on their way others wait, and go in one message."""
    async with job_worker() as job:
        await job.run({"steps": 1, "at_once": 32})
    assert sum(job.batches) == 32
    assert len(job.batches) < 10


@pytest.mark.parametrize(
    ("budget", "calls"),
    [({"lm_calls": 5}, 5), ({"tokens": 45}, 5), ({"usd": 0.0045}, 5), ({"lm_calls": 0}, 0)],
)
@pytest.mark.parametrize("swallows", [False, True])
async def test_a_budget_is_not_overdrawn(
    tmp_path: Path, budget: dict[str, object], calls: int, swallows: bool
) -> None:
    """Whatever the work makes of the refusal, the job ends with it."""
    ledger = tmp_path / "ledger"
    request = {"steps": 50, "ledger": str(ledger), "ms": 1, "swallows": swallows}
    async with job_worker() as job:
        failure = await job.failure(request, budget=budget)
    assert (failure.code, lines(ledger)) == ("budget_spent", calls)
    assert budget == failure.details["budget"]


async def test_attempts_share_a_budget(tmp_path: Path) -> None:
    """What was kept counts, and costs nothing again."""
    ledger = tmp_path / "ledger"
    request = {"steps": 50, "ledger": str(ledger)}
    async with job_worker() as job:
        job.stop_after = 3
        await job.run(request, budget={"lm_calls": 5})
    async with job_worker() as again:
        again.answers = list(job.answers)
        spent = {"lm_calls": len(job.answers), "tokens_in": 10 * len(job.answers)}
        failure = await again.failure(request, attempt=2, budget={"lm_calls": 5}, spent=spent)
    assert failure.code == "budget_spent"
    assert len(again.answers) == 5


async def test_requests_under_way_count(tmp_path: Path) -> None:
    """Eight at once with room for three make three."""
    ledger = tmp_path / "ledger"
    async with job_worker() as job:
        failure = await job.failure(
            {"steps": 1, "at_once": 8, "ms": 5, "ledger": str(ledger)}, budget={"lm_calls": 3}
        )
    assert (failure.code, lines(ledger) <= 3) == ("budget_spent", True)


async def test_a_host_function_is_called_in_the_job() -> None:
    """And its answer is part of what comes out."""
    async with job_worker() as job:
        await job.hop.call("worker.configure", {"functions": ["weigh"]})
        job.function = lambda asked: asked["args"]["step"] * 10
        first = await job.run({"steps": 2, "function": "weigh"})
        job.function = lambda asked: 0
        second = await job.run({"steps": 2, "function": "weigh"})
    assert first["result"] != second["result"]


async def test_rows_come_page_by_page() -> None:
    """Until there is no next page."""
    async with job_worker() as job:
        reply = await job.run({"steps": 1, "rows": "mine"})
    assert reply["result"]["rows"] == 6


async def test_progress_is_told_with_what_was_spent() -> None:
    """The latest figures, as a note."""
    async with job_worker() as job:
        await job.run({"steps": 30, "ms": 10})
        told: list[Any] = [decode_value(note.payload) for note in job.hop.notes("job.progress")]
    assert told
    assert len(told) < 30
    assert {"phase", "done", "total", "lm_calls", "tokens", "usd"} == told[-1].keys()


async def test_a_program_comes_with_the_end() -> None:
    """As a record that the library takes."""
    async with job_worker() as job:
        reply = await job.run({"steps": 1, "save_as": "made"})
    assert {"spec", "state", "dspy", "schema"} == set(reply["save"]["record"])
    assert ("made", "toil", ["made"]) == tuple(reply["save"][key] for key in ("program", "optimizer", "tags"))


async def test_an_unknown_kind_and_a_bad_request_name_their_field() -> None:
    """Before there is a job, and when one begins."""
    async with job_worker() as job:
        for method, more in (("job.check", {}), ("job.run", {"job": "j", "attempt": 1})):
            unknown = await job.hop.failure(method, {"kind": "alchemy", "request": {}, **more})
            assert ("invalid_argument", "kind") == (unknown.code, unknown.details["field"])
            assert "toil" in unknown.message
        bad = await job.hop.failure("job.check", {"kind": "toil", "request": {"steps": 0}})
        assert ("invalid_argument", "request.steps") == (bad.code, bad.details["field"])
        nobody = await job.hop.failure(
            "job.check", {"kind": "toil", "request": {"steps": 1, "function": "f"}}
        )
        assert nobody.details["field"] == "request.function"
        nothing = await job.hop.call("job.check", {"kind": "toil", "request": {"steps": 1}})
        assert {"programs": [], "datasets": []} == nothing


async def test_kinds_describe_themselves() -> None:
    """With the fields of their requests."""
    async with job_worker() as job:
        described = await job.hop.call("system.describe", {})
    assert described["jobs"]["toil"]["request"]["steps"]["required"] is True
