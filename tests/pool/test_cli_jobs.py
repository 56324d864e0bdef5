"""`dspex jobs`: listed, shown, followed and cancelled from a shell."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import json
from pathlib import Path

import pytest
from tests.support.job_servers import ended, submit
from tests.support.servers import serving
from tests.support.shell import run_dspex

from dspex_pool.cli import jobs
from dspex_pool.cli.exits import BAD_ARGUMENTS, CALL_FAILED

run = functools.partial(run_dspex, "jobs")


@pytest.mark.slow
async def test_a_job_is_looked_at_from_a_shell(tmp_path: Path) -> None:
    """At the server that runs it, and afterwards at one of its own."""
    address, store = f"unix:{tmp_path / 's'}", f"sqlite:{tmp_path / 'state.db'}"
    flags = ("--workers", "1", "--store", store, "--listen", f"stdio,{address}")
    async with serving(*flags, environment={"DSPEX_PLUGINS": "plugin_jobs"}, limit_s=180) as client:
        job = await submit(client, {"steps": 3, "ms": 50}, note="why")
        followed = await asyncio.to_thread(run, "follow", job, "--connect", address)
        assert 0 == followed.returncode
        told = followed.stdout.splitlines()
        assert ["submitted", "started", "step", "step", "step", "done"] == [
            line.split()[2] for line in told[:6]
        ]
        assert "done after 1 attempts: 3 calls, 30 tokens, $0.003" == told[6]
        still = await submit(client, {"steps": 1, "stand_still": True})
        cancelled = await asyncio.to_thread(run, "cancel", still, "--connect", address, "--json")
        assert still == json.loads(cancelled.stdout)["job"]
        await ended(client, still)
        failed = await asyncio.to_thread(run, "follow", still, "--connect", address, "--json")
        assert CALL_FAILED == failed.returncode
        assert "cancelled" == json.loads(failed.stdout.splitlines()[-1])["ended"]["state"]
        spent = await submit(client, {"steps": 4}, budget={"lm_calls": 2})
        await ended(client, spent)
        words = ("resume", spent, "--lm-calls", "9", "--deadline-s", "60", "--connect", address, "--json")
        resumed = json.loads((await asyncio.to_thread(run, *words)).stdout)
        assert ({"lm_calls": 9}, 60.0, 1) == (
            resumed["budget"],
            resumed["deadline_s"],
            resumed["resumes"],
        )
        assert ("done", 4) == ((row := await ended(client, spent))["state"], row["spent"]["lm_calls"])
        best = await asyncio.to_thread(run, "best", spent, "--connect", address)
        assert "score 4" == best.stdout.splitlines()[0]
        deleted = await asyncio.to_thread(run, "delete", spent, "--connect", address)
        assert "deleted" == deleted.stdout.strip()
        gone = await asyncio.to_thread(run, "best", spent, "--connect", address, "--json")
        assert (CALL_FAILED, "unknown_job") == (gone.returncode, json.loads(gone.stderr)["error"]["code"])
    listed = run("list", "--state", "done", DSPEX_STORE=store).stdout.splitlines()
    assert [job, "toil", "done", "1", "3"] == listed[1].split()[:5]
    assert 2 == len(listed)
    shown = json.loads(run("show", job, "--json", DSPEX_STORE=store).stdout)
    assert (3, "why") == (shown["request"]["steps"], shown["note"])
    assert "state: done" in run("show", job, DSPEX_STORE=store).stdout
    result = json.loads(run("result", job, "--json", DSPEX_STORE=store).stdout)
    assert 0 == result["result"]["rows"]
    nobody = run("result", "none", DSPEX_STORE=store)
    assert (CALL_FAILED, True) == (nobody.returncode, nobody.stderr.startswith("unknown_job: "))


def test_bad_arguments_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Before a server is started."""
    for words in ([], ["list", "--state", "lost"], ["show"], ["show", "j", "--connect", "tcp:1"]):
        assert BAD_ARGUMENTS == jobs.run(words)
    assert "--connect" in capsys.readouterr().err


def test_figures_in_words() -> None:
    """Those that there are."""
    assert "" == jobs.progress_text({})
    progress = {"phase": "trials", "done": 2, "total": 8, "best_score": 0.75, "remaining_s": 12.4}
    assert "trials 2/8 best 0.75 12 s left" == jobs.progress_text(progress)
    assert "waits for weigh" == jobs.progress_text({"waiting_for": "weigh"})
    assert "1 calls, 3 tokens" == jobs.spent_text(
        {"lm_calls": 1, "tokens_in": 1, "tokens_out": 2, "cost_usd": 0.0}
    )
    event = {"n": 7, "at": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "attempt": 1, "type": "trial"}
    assert "    7  03:04:05  trial  score=0.5 why=a\\x1bb" == jobs.event_text(
        {**event, "score": 0.5, "why": "a\x1bb", "none": None}
    )
