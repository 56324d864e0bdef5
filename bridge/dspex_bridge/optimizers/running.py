"""One optimizer's run: in a thread, since all of DSPy's are synchronous, with its work told as it goes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Final, cast

import dspy

from dspex_protocol.errors import DSPexError, error

from ..failures import redact, to_failure
from ..host_functions import HostFunctions
from ..jobs.asking import JobJournal
from ..jobs.job import Job
from ..lms.lms import LanguageModels
from ..metrics.called import CalledMetric, FeedbackMetric
from ..metrics.metric import Metric
from ..programs.live import LiveProgram
from ..programs.state import copy_module, dump_state, named_learners
from .catalog import Chosen, compile_arguments, make_optimizer
from .classes import OptimizerClass
from .measuring import Counted, Failures
from .reshaping import names_of
from .taming import tamed
from .telling import Teller
from .totals import expected_trials
from .watching import BatchWatcher, GEPAWatcher, Watcher

MAX_ERRORS: Final = 10
"""Rows that may fail in one evaluation before DSPy gives all of it up: its own default."""


@dataclass(kw_only=True)
class Run:
    """What a run is made of.

    Attributes:
        chosen: The optimizer.
        program: What is optimized.
        lms, functions: Of the job.
        lm: That all ask who name none.
        metric: None where the optimizer takes none.
        trainset, valset: Rows.
        teacher: Who makes demos, or None.
        programs: Of an Ensemble.
        into: What the result becomes, where it is no other state of `program`.
        seed: None for DSPy's own.
        num_threads: Rows at once.
        settings: More of DSPy's settings.
        unscored: Rows that the metric could not score.
        unanswered: Requests that language models refused.
        failed: Runs of modules that raised.
    """

    job: Job
    journal: JobJournal
    chosen: Chosen
    program: LiveProgram
    lms: LanguageModels
    functions: HostFunctions
    lm: dspy.LM | None
    metric: Metric | None
    trainset: list[dspy.Example]
    valset: list[dspy.Example] | None
    teacher: dspy.Module | None
    programs: list[dspy.Module]
    into: LiveProgram | None
    seed: int | None
    num_threads: int
    settings: Mapping[str, Any]
    unscored: Failures = field(default_factory=Failures)
    unanswered: Failures = field(default_factory=Failures)
    failed: Failures = field(default_factory=Failures)
    gepa_callbacks: list[Any] = field(default_factory=list[Any])

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._start = self.program.state
        total = expected_trials(self.chosen, len(self.program.module.predictors()))
        self.teller = Teller(self, total, is_start=self._is_start)
        self._watcher = Watcher(self.teller, self._fell)
        self.gepa_callbacks = [GEPAWatcher(self.teller, self._of_texts)]
        self.journal.on_ask = self._watcher.asked
        self.journal.on_failure = self.unanswered.add

    # As `catalog.Means`

    def metric_for(self, row: OptimizerClass) -> Callable[..., Any] | None:
        """The metric as DSPy calls it."""
        if self.metric is None:
            return None
        kind = FeedbackMetric if row.wants_feedback else CalledMetric
        return Counted(kind(self.metric, self._loop), self.teller, self.unscored)

    # As `telling.Listener`

    def event(self, type_: str, fields: Mapping[str, object]) -> None:
        """As `telling.Listener`."""
        self.job.wait(lambda: self.job.event(type_, **fields))

    def best(self, score: float, program: dspy.Module, trial: int) -> None:
        """As `telling.Listener`."""
        content = {**self._record(program), "trial": trial}
        self.job.wait(lambda: self.job.best(score, content))

    def progress(self, figures: Mapping[str, object]) -> None:
        """As `telling.Listener`."""
        self.job.progress(**figures)

    # The run itself

    async def made(self) -> Made:
        """Run it to its end.

        Raises:
            DSPexError: `program_failed` with what DSPy said; as language models and the host.
        """
        work = functools.partial(copy_context().run, self._work)
        return await asyncio.get_running_loop().run_in_executor(None, work)

    def _work(self) -> Made:
        self._watcher.begin()
        settings = {
            "lm": self.lm,
            "disable_history": True,  # it would keep all prompts in memory
            "trace": None,
            "callbacks": [self._watcher],
            "num_threads": self.num_threads,
            "max_errors": MAX_ERRORS,
            **self.settings,
        }
        parallel = BatchWatcher(self.teller, len(self.trainset)).parallel()
        with dspy.context(**settings), tamed(parallel, self.seed or 0):
            start = self._scored([*self.programs, self.program.module][0], "start")
            optimizer = make_optimizer(self.chosen, self)
            compiled = self._compiled(optimizer)
            if self.into is not None:
                compiled = self.into.module
            best = self._scored(compiled, "result")
        scores = self._scores(start, best, optimizer)
        return Made(program=compiled, record=self._record(compiled), scores=scores)

    def _compiled(self, optimizer: Any) -> dspy.Module:
        self._limit_threads(optimizer)
        arguments = compile_arguments(self.chosen, self.seed)
        given = {
            "trainset": self.trainset,
            "devset": self.trainset,
            "valset": self.valset,
            "teacher": self.teacher,
        }
        for name, value in given.items():
            if value is not None and name in self.chosen.row.compiling:
                arguments[name] = value
        if "programs" in self.chosen.row.compiling:
            students: list[Any] = [self.programs]
        else:
            students = [self._student()]
        try:
            compiled: dspy.Module = optimizer.compile(*students, **arguments)
        except DSPexError:
            raise
        except Exception as reason:
            raise self._failed(reason) from reason
        return compiled

    def _failed(self, reason: Exception) -> DSPexError:
        failure = to_failure(reason)
        if failure.code != "program_failed":
            return failure
        said = redact(str(reason).partition("\n")[0])[:512] or type(reason).__name__
        details: dict[str, object] = {**failure.details, "optimizer": self.chosen.row.name}
        for what, failures in (("failed", self.failed), ("unscored", self.unscored)):
            told = failures.told()
            if told is not None:  # which DSPy has counted, until there were too many
                details[what] = told
                said += f"; {told['count']} {what}, such as: {told['message']}"
        return error("program_failed", f"{self.chosen.row.name} could not go on: {said}", details=details)

    def _fell(self, reason: Exception) -> None:
        failure = to_failure(reason)
        self.failed.add(failure.code, failure.message)

    def _student(self) -> dspy.Module:
        student: dspy.Module = copy_module(self.program.module)
        for _, part in named_learners(student):
            if self.chosen.row.binds_lms:
                part.lm = part.lm or self.lm
            if isinstance(part, dspy.Predict):
                # A class of its own: some write into it, and others have the same one.
                signature: Any = part.signature
                part.signature = signature.with_instructions(signature.instructions)
        return student

    def _limit_threads(self, optimizer: Any) -> None:
        for one in (optimizer, *getattr(optimizer, "optimizers", {}).values()):
            if getattr(one, "num_threads", 0) is None:
                one.num_threads = self.num_threads

    def _scored(self, program: dspy.Module, what: str) -> float | None:
        """The mean over the valset, if there is one."""
        if self.valset is None or self.metric is None:
            return None
        self.teller.phase(f"score the {what}")
        metric = Counted(CalledMetric(self.metric, self._loop), self.teller, self.unscored)
        evaluate = dspy.Evaluate(
            devset=self.valset,
            metric=metric,
            num_threads=self.num_threads,
            max_errors=len(self.valset) + 1,
            provide_traceback=False,
        )
        results: Any = evaluate(program).results
        score = sum(float(one) for _, _, one in results) / len(results)
        self.event("score", {"of": what, "score": score, "rows": len(results)})
        self.progress({"start_score" if what == "start" else "score": score})
        return score

    def _scores(self, start: float | None, best: float | None, optimizer: Any) -> dict[str, float]:
        """Of the valset, or else as the optimizer itself has measured."""
        report = getattr(optimizer, "report", {})
        measured = {
            "start": report.get("train_score_before", self.teller.start_score) if start is None else start,
            "best": report.get("train_score", self.teller.best_score) if best is None else best,
        }
        return {name: float(score) for name, score in measured.items() if score is not None}

    def _record(self, program: dspy.Module) -> dict[str, object]:
        if self.into is not None:
            return self.into.record()
        names = names_of(program, self.program.lms)
        return {**self.program.record(), "state": dump_state(program, names)}

    def _is_start(self, program: dspy.Module) -> bool:
        try:
            return dump_state(program, self.program.lms) == self._start
        except DSPexError:
            return False

    def _of_texts(self, candidate: Mapping[str, str]) -> dspy.Module:
        """A program of GEPA's texts: instructions, or source, by predictor."""
        program = copy_module(self.program.module)
        learners: dict[str, Any] = dict(named_learners(program))
        for name, text in candidate.items():
            part = learners[name]
            if isinstance(part, dspy.Predict):
                part.signature = cast("Any", part).signature.with_instructions(text)
            else:
                part.module_src = text
        return program


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What came of a run.

    Attributes:
        program: As DSPy returned it.
        record: Of it.
        scores: `start` and `best`, where they are known.
    """

    program: dspy.Module
    record: Mapping[str, object]
    scores: Mapping[str, float]
