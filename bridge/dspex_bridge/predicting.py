"""`program.predict`: a stored program, one of a session, or one that comes with the call."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import dspy

from dspex_protocol import Tagged, error, invalid_argument
from dspex_protocol.records import Doc

from .adapters.choices import Adapter, OnViolation, retries_of
from .adapters.choosing import adapter_of
from .adapters.classes import read_adapter
from .lms.keeping import Keeper
from .lms.lms import DEFAULT as DEFAULT_LM
from .lms.lms import LanguageModels
from .lms.request_config import check_config
from .lms.usage import counting
from .modules.retrievers import read_retriever
from .modules.running import run_module
from .programs.live import LiveProgram, Template
from .programs.sessions import Turn
from .programs.state import named_learners
from .refusals import missing
from .rows import Worker
from .signatures.signatures import check_inputs, check_outputs
from .streams.streaming import DEFAULT_EVENTS, Event, run_streaming
from .values.outgoing import to_wire
from .values.tracing import steps_of
from .worker import failpoints
from .worker.calls import RunningCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Predict:
    """A prediction."""

    inputs: Annotated[dict[str, object], Doc("value by input field")]
    spec: Annotated[object, Doc("the program, where meta names none")] = None
    lm: (
        Annotated[str, Doc("a configured LM, for predictors that name none; default: the one named default")]
        | None
    ) = None
    config: Annotated[dict[str, object], Doc("LM settings for this call, such as temperature")] = field(
        default_factory=dict[str, object]
    )
    adapter: Adapter = None
    on_violation: OnViolation = None
    trace: Annotated[bool, Doc("whether the prediction has the steps that led to it")] = False
    retriever: (
        Annotated[str, Doc("a host function that dspy.Retrieve asks in modules of plug-ins")] | None
    ) = None
    events: (
        Annotated[list[Event], Doc("kinds of items that a stream has; default: token and status")] | None
    ) = None
    history: (
        Annotated[
            bool,
            Doc(
                "true: its requests to language models are kept, and come with the prediction;"
                " false: they are not kept; default: as the server was started"
            ),
        ]
        | None
    ) = None


async def predict(worker: Worker, call: RunningCall, what: Predict) -> object:
    """Run a program; with credit, stream it."""
    if what.events is not None and not call.wants_items:
        raise invalid_argument("events", "none, since the call has no credit for items", what.events)
    program = program_of(worker, call, what.spec)
    turn = None if call.session is None else Turn(worker.sessions, call.session, program, call.id)
    given = what.inputs if turn is None else turn.with_history(what.inputs)
    run = ProgramRun(worker, call, what, program, given, None if turn is None else turn.program)
    prediction = await run.prediction()
    if turn is not None:
        turn.end(run.inputs, dict(prediction.items()))
        call.ending = turn
    return _with(to_wire(prediction), usage=call.usage.meta(), **run.told())


class ProgramRun:
    """One run of a program within a call.

    Args:
        worker: Where.
        call: The call.
        what: What was asked for.
        program: Which program; checked.
        given: Its inputs, which are not `what.inputs` where more is known.
        running: The program as it runs; by default as new.

    Raises:
        CallerError: `invalid_argument` naming an input; `unknown_function`, `unknown_lm`, …

    Attributes:
        inputs: As they are given to the module.
    """

    def __init__(
        self,
        worker: Worker,
        call: RunningCall,
        what: Predict,
        program: LiveProgram,
        given: dict[str, object],
        running: LiveProgram | None = None,
    ) -> None:
        self.inputs = _inputs(program, given)
        for function in program.template.functions:
            worker.functions.require(function, "program")
        self._worker = worker
        self._call = call
        self._what = what
        self._program = program
        self._running = program.for_one_call() if running is None else running
        self._trace: list[Any] | None = [] if what.trace or program.template.wants_trace else None
        self._settings = _settings(worker, self._running, what)
        self._settings["trace"] = self._trace
        self._keeper = _keeper(worker, self._running, what)
        if self._keeper is not None:
            call.kept = self._keeper
            self._settings["callbacks"] = [self._keeper]

    async def prediction(self) -> dspy.Prediction:
        """Make it.

        Raises:
            DSPexError: `prediction_failed`, and whatever a program raises.
        """
        what, call = self._what, self._call
        extras = {"config": check_config(what.config)} if what.config else {}
        failpoints.passed("predict.begin")
        with (
            _code_of(self._worker, self._program) as code,
            counting(call.usage),
            dspy.context(**self._settings, **code),
        ):
            prediction = await _run(self._worker, call, self._running, {**self.inputs, **extras}, what.events)
        failpoints.passed("predict.done")
        check_outputs(self._program.signature, dict(prediction.items()))
        return prediction

    def told(self) -> dict[str, object]:
        """What else was asked for, as far as it has come: `trace` and `requests`.

        Raises:
            DSPexError: `value_unencodable`.
        """
        more: dict[str, object] = {}
        if self._what.trace:
            more["trace"] = steps_of(self._running.module, self._trace or [])
        if self._what.history and self._keeper is not None:
            more["requests"] = self._keeper.described()
        return more


def check_run(worker: Worker, program: LiveProgram, what: Predict) -> None:
    """See that a program could run: its functions, language models and adapter are there.

    Raises:
        CallerError: `unknown_function`, `unknown_lm`, `invalid_argument`.
        ProgramError: `lm_not_configured`.
    """
    for function in program.template.functions:
        worker.functions.require(function, "program")
    _settings(worker, program.for_one_call(), what)
    check_config(what.config)


def _settings(worker: Worker, program: LiveProgram, what: Predict) -> dict[str, object]:
    """DSPy's settings for this call."""
    settings: dict[str, object] = {
        "lm": _language_models(worker.lms, program, what.lm),
        "adapter": _adapter(worker.lms, program.template, what),
        "disable_history": True,  # it would keep 10,000 prompts in memory
    }
    if what.retriever is not None:
        settings["rm"] = read_retriever(what.retriever, "retriever", worker.functions)
    return settings


def _keeper(worker: Worker, program: LiveProgram, what: Predict) -> Keeper | None:
    """Who keeps the call's requests; None where nobody wants them."""
    if not (what.history or (what.history is None and worker.history != "off")):
        return None
    with_texts = worker.history == "texts"
    return Keeper(program.module, program.lms, what.lm or DEFAULT_LM, with_texts=with_texts)


@contextmanager
def _code_of(worker: Worker, program: LiveProgram) -> Generator[dict[str, object]]:
    """DSPy's setting for a program that runs code: interpreters, which end with this call."""
    if not program.template.runs_code:
        yield {}
        return
    lease = worker.interpreters.lease()
    try:
        # CodeAct hands maps to fields that it calls texts; the warning would show what is in them.
        yield {"interpreter_factory": lease, "warn_on_type_mismatch": False}
    finally:
        lease.close()


async def _run(
    worker: Worker,
    call: RunningCall,
    program: LiveProgram,
    inputs: dict[str, object],
    events: list[Event] | None,
) -> dspy.Prediction:
    is_async = program.template.runs_async
    prediction: Any
    if program.template.runs_code:  # a refusal comes before a model is asked; looking takes some time
        await asyncio.get_running_loop().run_in_executor(worker.threads, worker.interpreters.sandbox)
    if call.wants_items:
        wanted = DEFAULT_EVENTS if events is None else events
        prediction = await run_streaming(program.module, inputs, call.emit, events=wanted, is_async=is_async)
    else:
        prediction = await run_module(program.module, inputs, worker.threads, is_async=is_async)
    if prediction is None:
        # What BestOfN and Refine give when each attempt has raised, and not too many were allowed to.
        raise error("prediction_failed", "no attempt gave a prediction")
    given: dspy.Prediction = prediction
    return given


def _inputs(program: LiveProgram, given: dict[str, object]) -> dict[str, object]:
    """A call's inputs, checked: those of its signature, and its module's own."""
    readers = program.template.module_class.call_inputs
    if not readers:
        return check_inputs(program.signature, given)
    for name in readers:
        if name not in given:
            raise missing(f"inputs.{name}", "what the module compares")
    rest = {name: value for name, value in given.items() if name not in readers}
    own = {name: read(given[name], program.module, f"inputs.{name}") for name, read in readers.items()}
    return {**check_inputs(program.signature, rest), **own}


def _adapter(lms: LanguageModels, template: Template, what: Predict) -> dspy.Adapter:
    """What the call chose, and what it leaves to its program."""
    retries = retries_of(what.on_violation)
    if retries is None:
        retries = template.retries
    if what.adapter is None:
        return adapter_of(template.adapter, retries, lms, "spec.adapter")
    return adapter_of(read_adapter(what.adapter, "adapter"), retries, lms)


def _language_models(lms: LanguageModels, program: LiveProgram, wanted: str | None) -> dspy.LM | None:
    """Give predictors the models that they name; returns the one for the others."""
    if program.lms:
        predictors: dict[str, Any] = dict(named_learners(program.module))
        for name, lm in program.lms.items():
            # As configured now, which may be another object than at the last call.
            predictors[name].lm = lms.get(lm, f"state.{name}.lm")
        if wanted is None and len(program.lms) == len(predictors):
            return None
    if wanted is None and not program.template.has_predictors and DEFAULT_LM not in lms.configs:
        return None  # such as a retriever, which asks none
    return lms.get(wanted)


def _with(prediction: object, **more: object) -> object:
    """Put into a prediction what it does not say itself."""
    if isinstance(prediction, Tagged) and isinstance(prediction.value, dict):
        for name, value in more.items():
            prediction.value.setdefault(name, value)
    return prediction


def program_of(worker: Worker, call: RunningCall, spec: object) -> LiveProgram:
    """The program that a call is about: the stored one that its meta names, or that of the spec.

    Raises:
        CallerError: `invalid_argument`, also where there are both or none of them.
    """
    if call.program is not None:
        if spec is not None:
            raise invalid_argument("spec", "no spec, since meta names a stored program", spec)
        return call.program.live()
    if spec is None:
        raise invalid_argument("spec", "a spec, since meta names no stored program", None)
    return worker.programs.one_shot(spec)
