"""What a job's events become in its run, by values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from dspex_pool.experiments import job_runs
from dspex_pool.experiments.operations import MAX_NAMES
from dspex_pool.experiments.records import Run
from dspex_pool.experiments.requests import Told
from dspex_pool.jobs.records import Job, Spent, State
from dspex_pool.store import Append, Entry
from dspex_protocol import decode_value, encode_value

JOB = Job(
    job="j",
    kind="optimize",
    key=None,
    note="why",
    tenant="t",
    state=State.RUNNING,
    budget={},
    deadline_s=None,
    created_ms=1,
    experiment="e",
    run="run-1",
)
EMPTY = Run(experiment="e", run="run-1", number=1, state="open", journals="x", note=None, created_ms=1)
TOLD = Told({"kind": "optimize"}, {"program": "qa"}, {"version": "program/qa"})


def begun(job: Job = JOB) -> Run:
    run, _ = job_runs.beginning_of(job, TOLD)(EMPTY)
    return run


def entries(*events: Mapping[str, object], first: int = 1) -> list[Entry]:
    """Events as the store has them, one a second."""
    return [
        Entry(number=n, body=encode_value({"at_ms": 1000 * n, "attempt": 1, "event": dict(event)}))
        for n, event in enumerate(events, first)
    ]


def values(run: Run, appended: Sequence[Append]) -> list[tuple[object, ...]]:
    """Name, step, value and time of what was said."""
    return [tuple(row) for append in appended for row in cast("list[list[Any]]", decode_value(append.body))]


def trial(number: int, score: float, **more: object) -> dict[str, object]:
    return {
        "type": "trial",
        "trial": number,
        "score": score,
        "rows": 9,
        "full": True,
        "is_best": False,
        **more,
    }


def test_trials_are_values_over_trials() -> None:
    """The best so far beside them, and trials on some rows apart."""
    events = entries(
        {"type": "submitted"},
        {"type": "optimizing", "version": 4},
        trial(1, 0.5, is_best=True),
        trial(2, 0.25, full=False),
        trial(3, 0.75, is_best=True),
        {"type": "score", "of": "start", "score": 0.5, "rows": 3},
    )
    run, appended = job_runs.follow(begun(), replace(JOB, pins={"program/qa": 4}), events, None)
    assert [
        ("score", 1, 0.5, 3000),
        ("best_score", 1, 0.5, 3000),
        ("part_score", 2, 0.25, 4000),
        ("score", 3, 0.75, 5000),
        ("best_score", 3, 0.75, 5000),
        ("start_score", 6, 0.5, 6000),
    ] == values(run, appended)
    assert {"program": "qa", "job": "j", "version": 4} == run.lineage
    assert (6, "open", "why") == (run.heard, run.state, run.note)


def test_what_a_provider_says_is_told_by_its_steps() -> None:
    """And numbers of any other kind's events by their names."""
    losses = {"type": "provider", "message": "step", "data": {"step": 7, "train_loss": 1.5}}
    run, appended = job_runs.follow(
        begun(), JOB, entries(losses, {"type": "wave", "rows": 5, "is": True}), None
    )
    assert [("train_loss", 7, 1.5, 1000), ("wave.rows", 2, 5, 2000)] == values(run, appended)


def test_events_that_were_heard_are_not_told_again() -> None:
    """However the pages lie."""
    events = entries(trial(1, 0.5), trial(2, 0.25), trial(3, 0.75))
    once, _ = job_runs.follow(begun(), JOB, events[:2], None)
    assert (once, []) == job_runs.follow(once, JOB, events[:2], None)
    twice, appended = job_runs.follow(once, JOB, events, None)
    assert ([("score", 3, 0.75, 3000)], 3) == (values(twice, appended), twice.metrics["score"].points)


def test_the_end_is_told_with_what_came_of_it() -> None:
    """The program that was saved, what was made, and what it has cost."""
    job = replace(JOB, spent=Spent(lm_calls=3, tokens_in=10, tokens_out=2, cost_usd=0.5))
    done = {"type": "done", "saved": {"program": "qa", "version": 5}, "replay": {}}
    result = encode_value({"dataset": "made", "version": 2, "history": [{"trial": 1}]})
    run, appended = job_runs.follow(begun(), job, entries(done), result)
    assert ("done", 1000) == (run.state, run.ended_ms)
    assert {
        "program": "qa",
        "job": "j",
        "saved_program": "qa",
        "saved_version": 5,
        "dataset": "made",
        "dataset_version": 2,
    } == run.lineage
    costs = {name: value for name, _, value, _ in values(run, appended)}
    assert {"lm_calls": 3, "tokens_in": 10, "tokens_out": 2, "cost_usd": 0.5} == costs


def test_a_bad_end_is_told_with_its_reason() -> None:
    """Behind the job's own note; a cancelled one has failed."""
    failed = {"type": "failed", "code": "budget_spent", "message": "no more"}
    run, _ = job_runs.follow(begun(), JOB, entries(failed), None)
    assert ("failed", "why\nbudget_spent: no more") == (run.state, run.note)
    run, _ = job_runs.follow(begun(replace(JOB, note=None)), JOB, entries({"type": "cancelled"}), None)
    assert ("failed", "cancelled") == (run.state, run.note)


def test_nothing_follows_an_end() -> None:
    """What a job does later, if it goes on, another run tells: it begins behind that end."""
    events = entries(
        {"type": "cancelled"}, {"type": "resumed"}, trial(1, 0.5), {"type": "done", "saved": None}
    )
    later = replace(JOB, run="run-2", events=1)
    first, appended = job_runs.follow(begun(), later, events, None)
    assert ("failed", 1, []) == (first.state, first.heard, values(first, appended))
    second, appended = job_runs.follow(replace(begun(later), run="run-2"), later, events, None)
    assert ("done", 4) == (second.state, second.heard)
    assert ("score", 1, 0.5, 3000) == values(second, appended)[0]


def test_a_damaged_event_harms_none_of_the_others() -> None:
    """It is passed over."""
    sound = entries({"type": "submitted"}, trial(1, 0.5), trial(2, 0.75))
    for broken in (b"", b"\xc1", b"\x80", encode_value([1]), encode_value({"event": 1, "at_ms": 2})):
        events = [sound[0], Entry(number=2, body=broken), sound[2]]
        run, appended = job_runs.follow(begun(), JOB, events, None)
        assert ([("score", 2, 0.75, 3000)], 3) == (values(run, appended), run.heard)


def test_a_run_takes_what_it_can_hold() -> None:
    """Values that are no numbers, and names beyond its room, are left out."""
    hostile = entries(
        {"type": "x", "nan": float("nan"), "big": 1e308, "y" * 200: 1, **{f"n{n}": n for n in range(600)}},
        trial(1, float("inf")),
    )
    run, appended = job_runs.follow(begun(), JOB, hostile, None)
    assert (MAX_NAMES, 2) == (len(run.metrics), run.heard)
    assert MAX_NAMES == len(values(run, appended))
