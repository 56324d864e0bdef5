"""The kind of job `synthesize`: a dataset written by a language model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any, Final, cast

import dspy
from dspy.utils.exceptions import AdapterParseError

from dspex_protocol.errors import error
from dspex_protocol.records import Doc, Length, Range

from ..adapters.choosing import adapter_of
from ..jobs.asking import JobJournal
from ..jobs.job import Job
from ..jobs.kind import Kind, NeededRows, Outcome
from ..refusals import refusal, unknown_field
from ..rows import Worker
from ..signatures.signatures import build_signature, normal_of
from .angles import angle
from .distinct import Distinct
from .sifting import Sifting
from .writer import Writer

MAX_ROWS: Final = 10_000
MAX_FRUITLESS: Final = 10
"""Requests in a row without a new row: then no more will come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleRows:
    """Rows of a dataset that show what is wanted."""

    dataset: Annotated[str, Length(1, 128)]
    version: Annotated[int, Range(1), Doc("default: the newest")] | None = None
    select: Annotated[dict[str, object], Doc("which rows, as in `dataset.rows`")] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthesize:
    """Rows that are to be written."""

    signature: Annotated[object, Doc("string or map: of the program that the rows are for")]
    rows: Annotated[int, Range(1, MAX_ROWS), Doc("how many")]
    dataset: Annotated[str, Length(1, 128), Doc("where they are stored, as a new version")]
    task: (
        Annotated[str, Length(1, 20_000), Doc("what the program does; default: the signature's instructions")]
        | None
    ) = None
    examples: ExampleRows | None = None
    shown: Annotated[int, Range(0, 50), Doc("rows that each request shows as known")] = 5
    rows_per_request: Annotated[int, Range(1, 50)] = 5
    parallelism: Annotated[int, Range(1, 64), Doc("requests at once")] = 4
    max_requests: (
        Annotated[int, Range(1, 100_000), Doc("default: four times as many as ought to do")] | None
    ) = None
    unique_by: (
        Annotated[list[str], Doc("fields that no two rows have in common; default: all inputs")] | None
    ) = None
    near: (
        Annotated[float, Range(0.5, 1.0), Doc("rows so alike count as the same; default: equal ones only")]
        | None
    ) = None
    lm: Annotated[str, Doc("a configured LM; default: `default`")] | None = None
    temperature: Annotated[float, Range(0, 2)] = 1.0
    seed: Annotated[int, Range(0, 2**63 - 1)] = 0
    note: Annotated[str, Length(0, 10_000), Doc("for the dataset's history")] | None = None


def check_synthesize(worker: Worker, what: Synthesize) -> None:
    """Refuse what could not begin."""
    signature = build_signature(what.signature, "request.signature")
    for name, field in signature.fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, dspy.Type):
            expected = "fields that a language model can write: texts, numbers, lists and the like"
            raise refusal(
                "request.signature", expected, f"{name}, of DSPy's type {field.annotation.__name__}"
            )
    Distinct(_unique_by(what, signature), what.near, "request.near")
    worker.lms.get(what.lm, "request.lm")


def needs(what: Synthesize) -> list[NeededRows]:
    """What a request names that is stored."""
    shown = what.examples
    if shown is None:
        return []
    return [
        NeededRows(path="request.examples", dataset=shown.dataset, version=shown.version, select=shown.select)
    ]


def _unique_by(what: Synthesize, signature: type[dspy.Signature]) -> list[str]:
    for field in what.unique_by or ():
        if field not in signature.fields:
            raise unknown_field("request.unique_by", field, signature.fields)
    return what.unique_by or list(signature.input_fields)


async def run_synthesize(worker: Worker, job: Job, what: Synthesize) -> Outcome:
    """Write them, and have them stored."""
    check_synthesize(worker, what)
    signature = build_signature(what.signature, "request.signature")
    examples = await _examples(job, what)
    distinct = Distinct(_unique_by(what, signature), what.near)
    for row in examples:
        distinct.add(row)
    sifting = Sifting(signature, distinct, what.rows)
    await job.event("started", rows=what.rows, examples=len(examples))
    lm = worker.lms.journaled(JobJournal(job.answers, job.outages)).get(what.lm)
    settings = {"lm": lm, "adapter": adapter_of(None, 0, worker.lms), "disable_history": True, "trace": None}
    with dspy.context(**settings):
        writing = Writing(job, what, Writer(signature), sifting, examples)
        await writing.run()
    counts = {"rows": len(sifting.rows), "requests": writing.requests, "refused": writing.refused}
    await job.event("finished", **counts, stopped=writing.stopped)
    if not sifting.rows:
        raise error(
            "prediction_failed",
            "the model wrote no row that fits the signature and is new",
            details={"counts": counts},
        )
    version = await job.store_rows(
        what.dataset,
        sifting.rows,
        signature=normal_of(signature),
        note=what.note or f"written by {what.lm or 'default'}",
    )
    return Outcome(result={"dataset": what.dataset, "version": version, **counts, "stopped": writing.stopped})


async def _examples(job: Job, what: Synthesize) -> list[dict[str, object]]:
    if what.examples is None:
        return []
    return await job.rows(what.examples.dataset, what.examples.version, what.examples.select)


class Writing:
    """Requests in waves, until there are rows enough.

    What a request says depends on its number, the seed and the rows that the waves before it brought, and
    a wave's answers are taken in the order of their numbers: so each attempt of a job asks the same.

    Attributes:
        requests: So many were made.
        unreadable: Answers that were no rows at all.
        stopped: Why there are fewer rows than wanted: `max_requests` or `fruitless`; else None.
    """

    def __init__(
        self,
        job: Job,
        what: Synthesize,
        writer: Writer,
        sifting: Sifting,
        examples: Sequence[Mapping[str, object]],
    ) -> None:
        self._job = job
        self._what = what
        self._writer = writer
        self._sifting = sifting
        self._examples = examples
        self._task = what.task or str(build_signature(what.signature, "request.signature").instructions)
        self._most = what.max_requests or 4 * -(-what.rows // what.rows_per_request)
        self._fruitless = 0
        self.requests = 0
        self.unreadable = 0
        self.stopped: str | None = None

    @property
    def refused(self) -> dict[str, int]:
        """How many rows were not taken, by reason, and answers that were none."""
        return {**self._sifting.refused, **({"unreadable": self.unreadable} if self.unreadable else {})}

    async def run(self) -> None:
        """Ask until there are enough, or there is no more to be had."""
        while self.stopped is None:
            await self._wave()
            if self._sifting.is_done:
                return
            if self._fruitless >= MAX_FRUITLESS:
                self.stopped = "fruitless"
            elif self.requests >= self._most:
                self.stopped = "max_requests"

    async def _wave(self) -> None:
        numbers = range(self.requests, min(self._most, self.requests + self._what.parallelism))
        asked = [self._asked(number) for number in numbers]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._ask(inputs, number))
                for number, inputs in zip(numbers, asked, strict=True)
            ]
        misfits: list[str] = []
        before = len(self._sifting.rows)
        for task in tasks:
            misfits += self._take(task.result())
        self.requests += len(tasks)
        rows = len(self._sifting.rows)
        await self._job.event(
            "wave", requests=self.requests, rows=rows, new=rows - before, misfits=misfits[:3]
        )
        self._job.progress(phase="writing", done=rows, total=self._what.rows, refused=self.refused)

    def _take(self, answer: Sequence[object] | None) -> list[str]:
        if answer is None:
            self.unreadable += 1
        taken, misfits = (0, list[str]()) if answer is None else self._sifting.take(answer)
        self._fruitless = 0 if taken else self._fruitless + 1
        return misfits

    def _asked(self, number: int) -> dict[str, Any]:
        known = [*self._examples, *self._sifting.rows]
        random = Random(f"{self._what.seed} shown {number}")
        shown = random.sample(known, min(self._what.shown, len(known)))
        count = self._what.rows_per_request
        return self._writer.asked(self._task, shown, angle(self._what.seed, number), count)

    async def _ask(self, inputs: dict[str, Any], number: int) -> Sequence[object] | None:
        # A rollout of its own: else two requests that say the same would have one answer.
        config = {"temperature": self._what.temperature, "rollout_id": self._what.seed * 1_000_003 + number}
        try:
            rows: Any = await self._writer.acall(**inputs, config=config)
        except AdapterParseError:
            return None
        return cast("Sequence[object]", rows)


SYNTHESIZE: Final = Kind(
    name="synthesize",
    request=Synthesize,
    run=run_synthesize,
    check=check_synthesize,
    needs=needs,
    doc="Has a language model write rows of a dataset.",
)
