"""The methods about experiments: what each does with the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dspex_pool.library.answers import moment
from dspex_pool.library.names import check_prefix, check_program
from dspex_pool.ports import Stored
from dspex_pool.program_methods import Handler, parameters, write_of
from dspex_pool.store import Append
from dspex_protocol import invalid_argument

from . import steps
from .chronicle import Chronicle
from .operations import (
    AttachArtifact,
    BeginRun,
    DeleteExperiment,
    EndRun,
    GetArtifact,
    ListExperiments,
    ListPoints,
    ListRuns,
    LogRun,
    NamedRun,
)
from .records import Head, Run
from .shelf import Changing, Shelf

if TYPE_CHECKING:
    from dspex_pool.calls import Call


class ExperimentMethods:
    """Answers calls about experiments.

    Args:
        stored: The store, new ids and the wall clock.
    """

    def __init__(self, stored: Stored) -> None:
        self._shelf = Shelf(stored.store, new_id=stored.new_id, wall_ms=stored.wall_ms)
        self._chronicle = Chronicle(stored)
        self._wall_ms = stored.wall_ms

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """What answers each method."""
        return {
            "experiment.begin": self._begin,
            "experiment.log": self._log,
            "experiment.attach": self._attach,
            "experiment.end": self._end,
            "experiment.run": self._run,
            "experiment.runs": self._runs,
            "experiment.points": self._points,
            "experiment.artifact": self._artifact,
            "experiment.list": self._list,
            "experiment.delete": self._delete,
        }

    # What is written

    async def _begin(self, call: Call) -> object:
        wish = parameters(BeginRun, call)
        check_program(wish.experiment, "experiment")
        if wish.run is not None:
            check_program(wish.run, "run")
        steps.check_entries(wish.params, "params")
        steps.check_entries(wish.lineage, "lineage")

        def first(run: Run) -> tuple[Run, Sequence[Append]]:
            return steps.with_entries(replace(run, note=wish.note), wish.params, wish.lineage), ()

        call.begin_effects()
        run = await self._shelf.begin(wish.experiment, wish.run, first, write_of(call))
        return {"experiment": wish.experiment, "run": run}

    async def _log(self, call: Call) -> object:
        wish = parameters(LogRun, call)
        steps.check_entries(wish.params, "params")
        steps.check_entries(wish.lineage, "lineage")
        now_ms = self._wall_ms()

        def change(run: Run) -> tuple[Run, Sequence[Append]]:
            steps.check_open(run)
            grown, entry = steps.with_points(
                steps.with_entries(run, wish.params, wish.lineage), wish.points, now_ms
            )
            return grown, () if entry is None else (entry,)

        return await self._change(call, wish.experiment, wish.run, change)

    async def _attach(self, call: Call) -> object:
        wish = parameters(AttachArtifact, call)
        check_program(wish.name, "name")

        def change(run: Run) -> tuple[Run, Sequence[Append]]:
            steps.check_open(run)
            made, entry = steps.with_artifact(run, wish.name, wish.content, wish.media_type)
            return made, (entry,)

        return await self._change(call, wish.experiment, wish.run, change)

    async def _end(self, call: Call) -> object:
        wish = parameters(EndRun, call)

        def change(run: Run) -> tuple[Run, Sequence[Append]]:
            steps.check_open(run)
            return steps.ended(run, wish.state, self._wall_ms()), ()

        return await self._change(call, wish.experiment, wish.run, change)

    async def _change(self, call: Call, experiment: str, run: str, change: Changing) -> object:
        check_program(experiment, "experiment")
        check_program(run, "run")
        call.begin_effects()
        await self._shelf.change(experiment, run, change, write_of(call), call.method)
        return None

    async def _delete(self, call: Call) -> object:
        wish = parameters(DeleteExperiment, call)
        check_program(wish.experiment, "experiment")
        call.begin_effects()
        if wish.run is None:
            await self._shelf.delete(wish.experiment)
        else:
            await self._shelf.delete_run(wish.experiment, check_program(wish.run, "run"))
        return None

    # What is read

    async def _run(self, call: Call) -> object:
        wish = parameters(NamedRun, call)
        return run_row(await self._named(wish.experiment, wish.run))

    async def _runs(self, call: Call) -> object:
        wish = parameters(ListRuns, call)
        runs = await self._chronicle.runs(check_program(wish.experiment, "experiment"))
        ordered = steps.sorted_runs(runs, wish.sort, lowest=wish.lowest)
        shown = ordered[wish.offset : wish.offset + wish.limit]
        end = wish.offset + len(shown)
        return {
            "experiment": wish.experiment,
            "total": len(runs),
            "runs": [run_row(run) for run in shown],
            "next": end if end < len(runs) else None,
        }

    async def _points(self, call: Call) -> object:
        wish = parameters(ListPoints, call)
        run = await self._named(wish.experiment, wish.run)
        rows, next_ = await self._shelf.points(run, wish.metric, wish.after, wish.limit)
        points = [
            {"name": name, "step": step, "value": value, "at": moment(at_ms)}
            for name, step, value, at_ms in rows
            if isinstance(at_ms, int)
        ]
        return {"points": points, "next": next_}

    async def _artifact(self, call: Call) -> object:
        wish = parameters(GetArtifact, call)
        run = await self._named(wish.experiment, wish.run)
        artifact = run.artifacts.get(wish.name)
        if artifact is None:
            known = ", ".join(sorted(run.artifacts)) or "none"
            raise invalid_argument("name", f"an artifact of the run; there are: {known}", wish.name)
        body = await self._shelf.artifact(run, artifact)
        content: object = body.decode() if artifact.is_text else body
        return {"name": wish.name, "media_type": artifact.media_type, "content": content}

    async def _list(self, call: Call) -> object:
        wish = parameters(ListExperiments, call)
        check_prefix(wish.prefix)
        check_prefix(wish.after, "after")
        heads, next_, unreadable = await self._shelf.page(wish.prefix, wish.after, wish.limit)
        answer = {"experiments": [_head_row(head) for head in heads], "next": next_}
        return answer | ({"unreadable": unreadable} if unreadable else {})

    async def _named(self, experiment: str, run: str) -> Run:
        check_program(experiment, "experiment")
        return await self._chronicle.run(experiment, check_program(run, "run"))


def _head_row(head: Head) -> dict[str, object]:
    return {
        "experiment": head.experiment,
        "begun": head.begun,
        "created": moment(head.created_ms),
        "updated": moment(head.updated_ms),
    }


def run_row(run: Run) -> dict[str, object]:
    """What is known of a run, as a plain value."""
    return {
        "experiment": run.experiment,
        "run": run.run,
        "number": run.number,
        "state": run.state,
        "note": run.note,
        "params": run.params,
        "lineage": run.lineage,
        "metrics": {
            name: {
                "last": metric.last,
                "step": metric.step,
                "least": metric.least,
                "most": metric.most,
                "points": metric.points,
            }
            for name, metric in run.metrics.items()
        },
        "artifacts": {
            name: {"media_type": one.media_type, "size_bytes": one.size_bytes, "sha256": one.sha256.hex()}
            for name, one in run.artifacts.items()
        },
        "created": moment(run.created_ms),
        "ended": None if run.ended_ms is None else moment(run.ended_ms),
    }
