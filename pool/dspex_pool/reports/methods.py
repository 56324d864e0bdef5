"""The method that makes reports: reads what one is about, has it written apart, and delivers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, cast

from dspex_pool.evaluation.answers import evaluation_answer
from dspex_pool.evaluation.operations import CompareEvaluations, FindFailures
from dspex_pool.experiments.records import Run
from dspex_pool.experiments.shelf import Shelf
from dspex_pool.experiments.steps import sorted_runs
from dspex_pool.jobs.answers import describe
from dspex_pool.jobs.records import State
from dspex_pool.jobs.shelf import Shelf as JobShelf
from dspex_pool.library.names import check_program
from dspex_pool.program_methods import Handler, parameters
from dspex_protocol import decode_value, invalid_argument

from .csv_reports import Fields
from .operations import METHOD, MakeReport
from .shapes import Record, maps_of
from .sources import ComparisonSource, EvaluationSource, ExperimentSource, JobSource, Portion, RowsOf, Source
from .subjects import MEDIA_TYPES, OfComparison, OfEvaluation, OfExperiment, OfJob, Writer, writer_of
from .text import SendPiece, Text

if TYPE_CHECKING:
    from dspex_pool.calls import Call
    from dspex_pool.evaluation.methods import EvaluationMethods
    from dspex_pool.ports import Stored

Runs = Callable[[str], Awaitable[Sequence[Run]]]
To = Callable[["Call"], AbstractContextManager[SendPiece]]
SUBJECTS = ("evaluation", "comparison", "job", "experiment")


class ReportMethods:
    """Answers calls about reports.

    Args:
        stored: Where what computes for long is done.
        evaluations: Has comparisons and failures worked out, and the rows.
        jobs: Has them, and their events.
        experiments: Has the values over time of runs.
        runs: All runs of an experiment, brought up to date.
        to: Brings pieces of the text to a call's client, as long as its body lasts.
    """

    def __init__(
        self,
        stored: Stored,
        evaluations: EvaluationMethods,
        jobs: JobShelf,
        experiments: Shelf,
        runs: Runs,
        to: To,
    ) -> None:
        self._apart = stored.tasks.apart
        self._evaluations = evaluations
        self._jobs = jobs
        self._experiments = experiments
        self._runs = runs
        self._to = to

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """What answers each method."""
        return {METHOD: self._make}

    async def _make(self, call: Call) -> object:
        wish = parameters(MakeReport, call)
        with self._to(call) as send_piece:
            text = Text(call, send_piece)
            source = await self._source(call, wish)
            fields = Fields()
            if wish.format == "csv":  # whose columns stand first
                async for portion in source.portions():
                    text.check()
                    await self._apart(partial(_look, fields, portion))
            await self._write(writer_of(source.subject, wish.format, fields), source, text)
            return {
                "format": wish.format,
                "media_type": MEDIA_TYPES[wish.format],
                "size_bytes": text.size_bytes,
                "text": text.whole,
            }

    async def _write(self, writer: Writer, source: Source, text: Text) -> None:
        await text.send(writer.begin())
        async for portion in source.portions():
            text.check()
            await text.send(await self._apart(partial(_add, writer, portion)))
        await text.send(await self._apart(writer.end))

    # What it is about

    async def _source(self, call: Call, wish: MakeReport) -> Source:
        named = [name for name in SUBJECTS if getattr(wish, name) is not None]
        if len(named) != 1:
            raise invalid_argument("payload", f"one of {', '.join(SUBJECTS)}", ", ".join(named) or None)
        if wish.evaluation is not None:
            return await self._of_evaluation(wish.evaluation)
        if wish.job is not None:
            return await self._of_job(wish.job)
        if wish.experiment is not None:
            return await self._of_experiment(wish.experiment)
        assert wish.comparison is not None
        return await self._of_comparison(call, wish.comparison)

    async def _of_evaluation(self, evaluation: str) -> Source:
        reader = self._evaluations.reader
        head, request = await reader.whole(check_program(evaluation, "evaluation"))
        failures = await self._evaluations.failures(FindFailures(evaluation=evaluation))
        subject = OfEvaluation(evaluation=evaluation_answer(head, request), failures=failures)
        return EvaluationSource(subject, reader, await RowsOf.read(self._evaluations.lately, head))

    async def _of_comparison(self, call: Call, wish: CompareEvaluations) -> Source:
        reader = self._evaluations.reader
        answer = await self._evaluations.compare(wish, call)
        comparison = cast("Record", await self._apart(lambda: decode_value(answer)))
        whole = [await reader.whole(evaluation) for evaluation in wish.evaluations]
        subject = OfComparison(
            comparison=comparison, evaluations=[evaluation_answer(head, request) for head, request in whole]
        )
        sides = [await RowsOf.read(self._evaluations.lately, head) for head, _ in whole]
        return ComparisonSource(subject, reader, maps_of(comparison["rows"]), sides)

    async def _of_job(self, job: str) -> Source:
        found = (await self._jobs.get(job)).job
        record = {**describe(found), "request": decode_value(await self._jobs.request(job))}
        if found.state == State.DONE:
            result = await self._jobs.result(job)
            record["result"] = await self._apart(lambda: decode_value(result))
        return JobSource(OfJob(job=record), self._jobs, job, found.events)

    async def _of_experiment(self, experiment: str) -> Source:
        runs = await self._runs(check_program(experiment, "experiment"))
        subject = OfExperiment(experiment={"experiment": experiment, "total": len(runs)})
        return ExperimentSource(subject, self._experiments, sorted_runs(runs, None, lowest=False))


def _look(fields: Fields, portion: Portion) -> None:
    fields.look(portion())


def _add(writer: Writer, portion: Portion) -> str:
    return writer.add(portion())
