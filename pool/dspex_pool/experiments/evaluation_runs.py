"""THE RUN OF AN EVALUATION: what came of it, when it has ended. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from dspex_pool.evaluation import records as evaluations
from dspex_pool.evaluation.records import Head
from dspex_pool.store import Append

from . import steps
from .job_runs import SPENT, noted
from .operations import Point
from .records import Run
from .shelf import Changing

STATES: Final = {evaluations.DONE: "done", evaluations.STOPPED: "failed"}
"""By an evaluation's state how its run ends."""


def of_evaluation(evaluation: str) -> str:
    """What a run says that tells of an evaluation."""
    return f"evaluation/{evaluation}"


def beginning_of(head: Head, params: dict[str, object]) -> Changing:
    """What the run of an evaluation begins with."""
    named = {
        "program": head.program,
        "version": head.version,
        "dataset": head.dataset,
        "dataset_version": head.dataset_version,
        "checksum": head.checksum,
        "evaluation": head.evaluation,
        "went_on_from": head.run,
    }
    lineage: dict[str, object] = {name: value for name, value in named.items() if value is not None}

    def begin(run: Run) -> tuple[Run, list[Append]]:
        of = of_evaluation(head.evaluation)
        return replace(run, note=head.note, params=params, lineage=lineage, of=of), []

    return begin


def follow(run: Run, head: Head) -> tuple[Run, list[Append]]:
    """A run after its evaluation has come so far: nothing new before that has ended."""
    state = STATES.get(head.state)
    if run.state != "open" or state is None or head.ended_ms is None:
        return run, []
    at_ms = head.ended_ms
    values = dict(_means(head))  # and costs, but where a metric has the name of one
    values |= {name: value for name, value in _costs(head) if name not in values}
    points = [(Point(name=name, value=value, step=0), at_ms) for name, value in values.items()]
    run, entry = steps.with_timed_points(steps.ended(run, state, at_ms), points)
    if head.state == evaluations.STOPPED:
        run = noted(run, f"stopped: {head.failed} rows failed")
    return run, [] if entry is None else [entry]


def _means(head: Head) -> Iterator[tuple[str, float]]:
    for name, row in head.scores.items():
        mean = row.get("mean")
        if isinstance(mean, int | float) and math.isfinite(mean):
            yield name, float(mean)


def _costs(head: Head) -> Iterator[tuple[str, float]]:
    for name in SPENT:
        value = head.usage.get(name)
        if isinstance(value, int | float):
            yield name, float(value)
    yield "failed_rows", float(head.failed)
