"""The kind of jobs `optimize`: a request to a better program, with how it came about."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import dspy

from ..adapters.choosing import adapter_of
from ..finetuning.provider import tunable_model
from ..jobs.asking import JobFunctions, JobJournal
from ..jobs.job import Job
from ..jobs.kind import Kind, Outcome, Save
from ..lms.lms import DEFAULT as DEFAULT_LM
from ..lms.lms import LanguageModels
from ..metrics.catalog import MetricBuilder
from ..programs.builder import Builder
from ..programs.live import LiveProgram
from ..programs.records import read_record
from ..programs.state import copy_module, named_learners
from ..refusals import missing, refusal
from ..rows import Worker
from .catalog import Chosen, check_means, read_optimizer
from .request import (
    Choice,
    DatasetChoice,
    Optimize,
    SaveChoice,
    check_choice,
    check_rows,
    examples_of,
    needs,
)
from .reshaping import bind_trainable, ensemble_of, nearest_of
from .running import Made, Run
from .waiting import models_of_program, models_of_request, models_there

MAX_CODE_THREADS: Final = 4
"""Rows at once of a program that runs code: a call has as many interpreters."""


async def optimize(worker: Worker, job: Job, what: Optimize) -> Outcome:
    """Run an optimizer to its end."""
    chosen = read_optimizer(what.optimizer, "request.optimizer")
    journal = JobJournal(job.answers, job.outages)
    functions = JobFunctions(worker.calls, job.answers, asyncio.get_running_loop())
    functions.configure(worker.functions.names)
    lms = worker.lms.journaled(journal)
    await models_there(job, worker.lms, lms, models_of_request(chosen, what))
    builder = Builder(worker.programs.builder.catalog, functions, lms)
    version, program, members = await _subject(job, builder, chosen, what)
    functions.nesting = _nesting(program.template.spec)
    await models_there(job, worker.lms, lms, models_of_program(program, what))
    await job.event("optimizing", optimizer=chosen.row.name, program=what.program, version=version)
    trainset = await _rows(what.trainset, program, job, "request.trainset") or []
    run = Run(
        job=job,
        journal=journal,
        chosen=chosen,
        program=_with_models(program, lms),
        lms=lms,
        functions=functions,
        lm=_lm(lms, what.lm),
        metric=None
        if what.metric is None
        else MetricBuilder(builder, lms).metric(what.metric, "request.metric"),
        trainset=trainset,
        valset=await _rows(what.valset, program, job, "request.valset"),
        teacher=await _teacher(job, builder, lms, what),
        programs=[_with_models(member, lms).module for member in members],
        into=_into(builder, chosen, program, trainset),
        seed=what.seed,
        num_threads=_threads(program, what),
        settings={
            "adapter": adapter_of(
                program.template.adapter, program.template.retries, lms, "request.spec.adapter"
            )
        },
    )
    if chosen.trains:
        bind_trainable(run.program, lms, job, what.lm)
    with _code_of(worker, program) as code:
        run.settings = {**run.settings, **code}
        made = await run.made()
    await job.event("optimized", scores=dict(made.scores), trials=len(run.teller.history))
    return Outcome(result=_result(job, chosen, run, made), save=_save(what, version, chosen, made))


def check(worker: Worker, what: Optimize) -> None:
    """Refuse what cannot begin."""
    chosen = read_optimizer(what.optimizer, "request.optimizer")
    check_means(chosen, worker.lms, worker.functions)
    _check_subject(chosen, what)
    if what.spec is not None:
        signature = worker.programs.builder.template(what.spec, "request.spec").signature
        check_rows(what.trainset, signature, "request.trainset")
        check_rows(what.valset, signature, "request.valset")
    if what.teacher is not None:
        check_choice(what.teacher, "request.teacher")
        if "teacher" not in chosen.row.takes:
            raise refusal("request.teacher", f"none: {chosen.row.name} takes no teacher", "one")
        if what.teacher.lm is not None:
            worker.lms.get(what.teacher.lm, "request.teacher.lm")
    if what.metric is not None:
        MetricBuilder(worker.programs.builder, worker.lms).metric(what.metric, "request.metric")
    if what.lm is not None:
        worker.lms.get(what.lm, "request.lm")
    if chosen.trains:
        tunable_model(worker.lms, what.lm, "request.lm")
    _check_needs(chosen, what)


def _check_subject(chosen: Chosen, what: Optimize) -> None:
    if "programs" not in chosen.row.needs:
        check_choice(what, "request")
        return
    if what.program is not None or what.spec is not None:
        raise refusal(
            "request.program", f"none beside `programs`, of which {chosen.row.name} makes one", "one"
        )
    for n, choice in enumerate(what.programs):
        check_choice(choice, f"request.programs[{n}]")


def _check_needs(chosen: Chosen, what: Optimize) -> None:
    for name in chosen.row.needs:
        if not getattr(what, name):
            raise missing(f"request.{name}", f"what {chosen.row.name} needs")
    if what.valset is not None and what.metric is None:
        raise missing("request.metric", "what the rows of the valset are scored by")


async def _subject(
    job: Job, builder: Builder, chosen: Chosen, what: Optimize
) -> tuple[int | None, LiveProgram, list[LiveProgram]]:
    """What is optimized, with its version; of an ensemble also its members."""
    _check_subject(chosen, what)
    if "programs" not in chosen.row.needs:
        version, program = await _program(job, builder, what, "request")
        return version, program, []
    members = [
        (await _program(job, builder, choice, f"request.programs[{n}]"))[1]
        for n, choice in enumerate(what.programs)
    ]
    return None, ensemble_of(builder, members, chosen.options["size"]), members


async def _rows(
    rows: DatasetChoice | list[object] | None, program: LiveProgram, job: Job, path: str
) -> list[dspy.Example] | None:
    return None if rows is None else await examples_of(rows, program.signature, job, path)


def _into(
    builder: Builder, chosen: Chosen, program: LiveProgram, trainset: list[dspy.Example]
) -> LiveProgram | None:
    """The program that an optimizer's result becomes, where it is no other state of the same."""
    match chosen.row.name:
        case "Ensemble":
            return program
        case "KNNFewShot":
            return nearest_of(builder, program, trainset, chosen.options)
        case _:
            return None


def _threads(program: LiveProgram, what: Optimize) -> int:
    return min(what.num_threads, MAX_CODE_THREADS) if program.template.runs_code else what.num_threads


async def _program(job: Job, builder: Builder, choice: Choice, path: str) -> tuple[int | None, LiveProgram]:
    check_choice(choice, path)
    if choice.program is None:
        assert choice.spec is not None  # it was checked
        return None, builder.template(choice.spec, f"{path}.spec").program
    number, record = await job.program(choice.program, choice.version, choice.tag)
    return number, builder.load(read_record(record))


def _with_models(program: LiveProgram, lms: LanguageModels) -> LiveProgram:
    """A program of the job's own, whose predictors have the models that they name."""
    module = copy_module(program.module)
    for name, predictor in named_learners(module):
        predictor.lm = lms.get(program.lms[name], f"state.{name}.lm") if name in program.lms else None
    return LiveProgram(program.template, module, program.lms)


def _lm(lms: LanguageModels, wanted: str | None) -> dspy.LM | None:
    """Whom all ask who name nobody; None where all that is asked names somebody."""
    return None if wanted is None and DEFAULT_LM not in lms.configs else lms.get(wanted, "request.lm")


async def _teacher(job: Job, builder: Builder, lms: LanguageModels, what: Optimize) -> dspy.Module | None:
    if what.teacher is None:
        return None
    choice = what.teacher
    _, program = await _program(job, builder, choice, "request.teacher")
    module: Any = _with_models(program, lms).module
    # Who is named teaches as it is: from one that is not compiled DSPy takes its demos and its model.
    module._compiled = True  # noqa: SLF001 - there is no other way to say so
    if choice.lm is not None:
        lm = lms.get(choice.lm, "request.teacher.lm")
        for _, predictor in named_learners(module):
            predictor.lm = lm
    teacher: dspy.Module = module
    return teacher


def _nesting(spec: object) -> frozenset[str]:
    """Host functions in a spec in which the host calls predictors back."""
    if isinstance(spec, list):
        return frozenset(name for part in spec for name in _nesting(part))  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(spec, Mapping):
        return frozenset()
    found: set[str] = set()
    for name, value in spec.items():  # pyright: ignore[reportUnknownVariableType]
        if name == "forward":
            found.add(str(value["function"] if isinstance(value, Mapping) else value))  # pyright: ignore[reportUnknownArgumentType]
        found |= _nesting(value)
    return frozenset(found)


@contextmanager
def _code_of(worker: Worker, program: LiveProgram) -> Generator[dict[str, Any]]:
    if not program.template.runs_code:
        yield {}
        return
    lease = worker.interpreters.lease()
    try:
        yield {"interpreter_factory": lease, "warn_on_type_mismatch": False}
    finally:
        lease.close()


def _result(job: Job, chosen: Chosen, run: Run, made: Made) -> dict[str, object]:
    return {
        "optimizer": chosen.row.name,
        "program": dict(made.record),
        "scores": dict(made.scores),
        "history": run.teller.history_told(),
        "trials": len(run.teller.history),
        "scored_rows": run.teller.scored,
        "failed": run.failed.told(),
        "unscored": run.unscored.told(),
        "unanswered": run.unanswered.told(),
        "usage": job.answers.spent.told(),
    }


def _save(what: Optimize, version: int | None, chosen: Chosen, made: Made) -> Save | None:
    choice = what.save_as
    if choice is None:
        if what.program is None:
            return None
        choice = SaveChoice(program=what.program)
    name = choice.program or what.program
    return Save(
        record=made.record,
        program=name,
        base=version if name == what.program else None,
        tags=tuple(choice.tags),
        note=choice.note,
        optimizer=chosen.row.name,
        scores=made.scores or None,
    )


OPTIMIZE = Kind(
    name="optimize",
    request=Optimize,
    run=optimize,
    check=check,
    needs=needs,
    doc="Makes a better program of a program, by one of DSPy's optimizers.",
)
