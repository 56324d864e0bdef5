"""THE RUN OF A JOB: what a job tells of itself by its events. Pure.

The run follows the job's events in their order, from where it is to the one that ends the job, and says
up to which number it has heard them. So it is the same whoever brings it up to date, and how often.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, cast

from dspex_pool.jobs.records import Job
from dspex_pool.store import Append, Entry
from dspex_protocol import DSPexError, decode_value
from dspex_protocol.slices import cut_map, is_map

from . import steps
from .operations import MAX_NAMES, MAX_TEXT, Point
from .records import Run
from .requests import MAX_NAME_CHARACTERS, Told, params_of
from .shelf import Changing

ENDS: Final[Mapping[str, str]] = {"done": "done", "failed": "failed", "cancelled": "failed"}
"""By the event that ends a job how its run ends."""
SPENT: Final = ("lm_calls", "tokens_in", "tokens_out", "cost_usd")
TERMS: Final = ("budget", "deadline_s")
"""Parameters that may be others when a job is resumed."""
NEWLY_MADE: Final = ("saved_program", "saved_version")
MADE: Final = ("dataset", "version", "lm", "model")
"""Entries of a result that say what has been made, where they are plain."""
_OURS: Final = frozenset(
    (
        *("submitted", "resumed", "died", "not_saved", *ENDS),
        *("waiting_for_host", "host_is_back", "waiting_for_model", "model_is_back"),
    )
)
"""Events whose numbers measure nothing."""


def of_job(job: str) -> str:
    """What a run says that tells of a job."""
    return f"job/{job}"


def beginning_of(job: Job, told: Told) -> Changing:
    """What the run of a job begins with."""

    def begin(run: Run) -> tuple[Run, Sequence[Append]]:
        lineage = {**told.lineage, "job": job.job}
        of = of_job(job.job)
        begun = replace(run, note=job.note, params=told.params, lineage=lineage, pins=told.pins)
        return replace(begun, of=of, heard=job.events), ()

    return begin


def going_on_of(job: Job, before: Run) -> Changing:
    """What the run of a job that was resumed begins with: it tells what is new, and where the rest is.

    Args:
        job: On the terms on which it goes on.
        before: The run that told of it before.
    """
    lineage = {name: value for name, value in before.lineage.items() if name not in NEWLY_MADE}
    terms = params_of({"budget": job.budget, "deadline_s": job.deadline_s})
    params = {name: value for name, value in before.params.items() if name.partition(".")[0] not in TERMS}
    told = Told({**params, **terms}, {**lineage, "went_on_from": before.run}, before.pins)
    return beginning_of(job, told)


def follow(run: Run, job: Job, events: Sequence[Entry], result: bytes | None) -> tuple[Run, list[Append]]:
    """A run after some of its job's events.

    Args:
        run: As it is.
        job: As it is, or was before.
        events: That follow each other; those that the run has heard already do nothing.
        result: What the job came to, encoded; None where that is not known.
    """
    points: list[tuple[Point, int]] = []
    for entry in events:
        if run.state != "open":
            break
        if entry.number != run.heard + 1:
            continue
        event, at_ms = event_of(entry)
        points += [(point, at_ms) for point in _points_of(event, entry.number)]
        run = replace(run, heard=entry.number)
        if event.get("type") in ENDS:
            run = _ended(run, job, event, result, at_ms)
            points += [(point, at_ms) for point in _spent(run, job, entry.number)]
    run = replace(run, lineage={**run.lineage, **_pinned(run, job)})
    run, entry_of_points = steps.with_timed_points(run, _within(run, points))
    return run, [] if entry_of_points is None else [entry_of_points]


def event_of(entry: Entry) -> tuple[Mapping[str, object], int]:
    """An event of a job's journal, and when it happened; of a damaged one nothing."""
    try:
        told = decode_value(entry.body)
    except DSPexError:
        told = None
    match told:
        case {"event": dict(), "at_ms": int(at_ms)}:
            return cast("dict[str, object]", cast("dict[str, object]", told)["event"]), at_ms
        case _:
            return {}, 0  # whoever asks for the job's events hears of it


def _points_of(event: Mapping[str, object], number: int) -> Iterator[Point]:
    match event:
        case {"type": "trial", "trial": int(trial), "score": int() | float() as score}:
            # A part of the rows says something else than all of them.
            yield Point(name="score" if event.get("full") else "part_score", value=score, step=trial)
            if event.get("is_best"):
                yield Point(name="best_score", value=score, step=trial)
        case {"type": "score", "of": str(what), "score": int() | float() as score}:
            yield Point(name=f"{what}_score", value=score, step=number)
        case {"type": "optimizing" | "optimized"}:
            pass  # a program's version, and the scores that were told already
        case {"type": "provider", "data": dict()}:
            data = cast("dict[str, object]", event["data"])
            yield from _numbers("", data, number)
        case {"type": str(kind)} if kind not in _OURS:
            yield from _numbers(f"{kind}.", event, number)
        case _:
            pass


def _numbers(prefix: str, told: Mapping[str, object], number: int) -> Iterator[Point]:
    """All numbers, at the step that is told with them, or else the event's own number."""
    given = told.get("step")
    step = given if isinstance(given, int) and given >= 0 else number
    for name, value in told.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and name != "step":
            yield Point(name=f"{prefix}{name}", value=cast("float", value), step=step)


def _within(run: Run, points: Sequence[tuple[Point, int]]) -> list[tuple[Point, int]]:
    """Those that a run takes: a job must not be able to say what a run cannot hold."""
    names = set(run.metrics)
    taken: list[tuple[Point, int]] = []
    for point, at_ms in points:
        is_sound = math.isfinite(point.value) and 1 <= len(point.name) <= MAX_NAME_CHARACTERS
        if is_sound and (point.name in names or len(names) < MAX_NAMES):
            names.add(point.name)
            taken.append((point, at_ms))
    return taken


def _ended(run: Run, job: Job, event: Mapping[str, object], result: bytes | None, at_ms: int) -> Run:
    kind = cast("str", event["type"])
    lineage = {**run.lineage, **_pinned(run, job), **_saved(event), **_made(run, result)}
    run = steps.ended(replace(run, lineage=lineage), ENDS[kind], at_ms)
    if kind == "cancelled":
        return noted(run, "cancelled")
    return noted(run, f"{event.get('code')}: {event.get('message')}") if kind == "failed" else run


def noted(run: Run, why: str) -> Run:
    """The run with why it ended so, behind what was noted before."""
    note = why if run.note is None else f"{run.note}\n{why}"
    return replace(run, note=note[:MAX_TEXT])


def _pinned(run: Run, job: Job) -> dict[str, object]:
    return {name: job.pins[pin] for name, pin in run.pins.items() if pin in job.pins}


def _saved(event: Mapping[str, object]) -> dict[str, object]:
    saved = event.get("saved")
    if not isinstance(saved, dict):
        return {}
    known = cast("dict[str, object]", saved)
    return {"saved_program": known.get("program"), "saved_version": known.get("version")}


def _made(run: Run, result: bytes | None) -> dict[str, object]:
    if result is None or not is_map(result):
        return {}
    # Cut and not decoded: a result may be long, and what is looked for in it is not.
    parts = cut_map(result)
    small = {
        name: decode_value(parts[name]) for name in MADE if name in parts and len(parts[name]) < MAX_TEXT
    }
    made: dict[str, object] = {name: value for name, value in small.items() if isinstance(value, str | int)}
    if "dataset" not in made:
        made.pop("version", None)
        return made
    version = made.pop("version", None)
    return {**made, "dataset_version": version} if version is not None else made


def _spent(run: Run, job: Job, number: int) -> Iterator[Point]:
    """What the job has cost, where it has not gone on since in another run."""
    if job.run == run.run:
        for name in SPENT:
            yield Point(name=name, value=float(getattr(job.spent, name)), step=number)
