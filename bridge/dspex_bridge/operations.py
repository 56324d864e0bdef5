"""The table of operations: method to function, with parameters that describe themselves.

A new operation is a dataclass for its parameters, a function, and a row. An `inline`
operation is a plain function that runs at once, in order with the frames around it; the
others are coroutines and run as tasks beside each other.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, Protocol

import dspy

from dspex_protocol import CODES, LMConfig, Tagged, error, invalid_argument
from dspex_protocol.limits import VERSION
from dspex_protocol.records import Doc, describe, read

from . import failpoints
from .adapters import ADAPTERS, DEFAULT
from .calls import RunningCall
from .lms import LanguageModels
from .modules import check_config, describe_modules, describe_types
from .programs import DSPY_VERSION, LiveProgram, ProgramCache, Spec, build_record
from .signatures import check_inputs, check_outputs, describe_signature
from .streaming import run_streaming
from .usage import counting
from .values import to_wire


class Worker(Protocol):
    """What operations may use of the process that they run in."""

    lms: LanguageModels
    programs: ProgramCache
    threads: ThreadPoolExecutor
    operations: Mapping[str, Operation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One row of the table.

    Attributes:
        method: Its name on the wire.
        parameters: Dataclass of its payload; None takes any value.
        run: `(worker, call, parameters) -> result`, a coroutine function unless inline.
        inline: Runs at once and in order; must be short and free of user code.
        effects: May change something outside; never repeated after a worker's death.
        doc: One sentence for `system.describe`.
    """

    method: str
    parameters: type | None
    run: Callable[[Any, RunningCall, Any], Any]
    inline: bool = False
    effects: bool = False
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """No parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    """What the host offers; replaces what was known before."""

    lms: dict[str, LMConfig] = field(default_factory=dict[str, LMConfig])
    secrets: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    functions: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A program to be checked."""

    spec: Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Describe:
    """A signature to be described."""

    signature: Annotated[object, Doc("string or map; docs/protocol.md section 7.4")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predict:
    """A prediction."""

    inputs: Annotated[dict[str, object], Doc("value by input field")]
    spec: Annotated[object, Doc("the program, where meta names none")] = None
    lm: Annotated[str, Doc("name of a configured LM; default: the one named default")] | None = None
    config: Annotated[dict[str, object], Doc("LM settings for this call, such as temperature")] = field(
        default_factory=dict[str, object]
    )
    adapter: Annotated[Literal["chat", "json", "xml"], Doc("how the prompt is written")] | None = None


def _echo(worker: Worker, call: RunningCall, value: object) -> object:
    return value


def _configure(worker: Worker, call: RunningCall, what: Configure) -> None:
    worker.lms.configure(what.lms, what.secrets, what.functions)


def _build(worker: Worker, call: RunningCall, what: Build) -> object:
    return build_record(what.spec)


def _load(worker: Worker, call: RunningCall, record: object) -> None:
    program, number = call.meta.get("program"), call.meta.get("version")
    if not isinstance(program, str) or not isinstance(number, int):
        raise invalid_argument("meta.program", "a program and its version", program)
    worker.programs.load(program, number, record)
    failpoints.passed("program.loaded")


def _describe_signature(worker: Worker, call: RunningCall, what: Describe) -> object:
    return describe_signature(what.signature)


def _list_lms(worker: Worker, call: RunningCall, nothing: Nothing) -> object:
    return worker.lms.describe()


def _describe_system(worker: Worker, call: RunningCall, nothing: Nothing) -> object:
    return {
        "methods": describe_operations(worker.operations),
        "modules": describe_modules(),
        "types": describe_types(),
        "errors": {
            code: {"fault": str(info.fault), "retryable": info.retryable, "meaning": info.meaning}
            for code, info in CODES.items()
        },
        "versions": {"protocol": VERSION, "dspy": DSPY_VERSION},
    }


async def _predict(worker: Worker, call: RunningCall, what: Predict) -> object:
    program = _program_of(worker, call, what)
    inputs = check_inputs(program.signature, what.inputs)
    settings: dict[str, object] = {
        "lm": worker.lms.get(what.lm),
        "adapter": ADAPTERS[what.adapter or DEFAULT],
        "disable_history": True,  # it would keep 10,000 prompts in memory
        "trace": None,
    }
    if what.config:
        inputs["config"] = check_config(what.config)
    failpoints.passed("predict.begin")
    with counting(call.usage), dspy.context(**settings):
        if call.wants_items:
            prediction = await run_streaming(program.module, inputs, call.emit)
        else:
            prediction = await run_module(program.module, inputs, worker.threads)
    failpoints.passed("predict.done")
    check_outputs(program.signature, dict(prediction.items()))
    return _with_usage(to_wire(prediction), call)


def _with_usage(prediction: object, call: RunningCall) -> object:
    """Put what the call spent into a prediction that does not say it itself."""
    match prediction:
        case Tagged(tag="prediction", value=dict(parts)) if "usage" not in parts:
            parts["usage"] = call.usage.meta()
        case _:
            pass
    return prediction


def _program_of(worker: Worker, call: RunningCall, what: Predict) -> LiveProgram:
    program, number = call.meta.get("program"), call.meta.get("version")
    if isinstance(program, str) and isinstance(number, int):
        if what.spec is not None:
            raise invalid_argument("spec", "no spec, since meta names a stored program", what.spec)
        return worker.programs.stored(program, number)
    if what.spec is None:
        raise invalid_argument("spec", "a spec, since meta names no stored program", None)
    return worker.programs.one_shot(what.spec)


async def run_module(
    module: dspy.Module, inputs: Mapping[str, object], threads: ThreadPoolExecutor
) -> dspy.Prediction:
    """Call a module: on the event loop where it has an async form, else in a thread.

    The thread gets a copy of this call's context, so that `dspy.context` and the usage
    of the call hold there too. A thread cannot be stopped: cancelling leaves it running.
    """
    if hasattr(module, "aforward"):
        return await module.acall(**inputs)
    work = functools.partial(copy_context().run, module, **inputs)
    return await asyncio.get_running_loop().run_in_executor(threads, work)


def describe_operations(operations: Mapping[str, Operation]) -> dict[str, object]:
    """Every operation with its parameters, as plain values."""
    return {
        name: {
            "doc": operation.doc,
            "parameters": None if operation.parameters is None else describe(operation.parameters),
            "effects": operation.effects,
        }
        for name, operation in operations.items()
    }


def read_parameters(operation: Operation, payload: object) -> object:
    """Check a payload against an operation's parameters.

    Raises:
        DSPexError: `invalid_argument`.
    """
    if operation.parameters is None:
        return payload
    return read(operation.parameters, {} if payload is None else payload)


def find(operations: Mapping[str, Operation], method: str | None) -> Operation:
    """Look a method up.

    Raises:
        DSPexError: `unknown_method`, naming those that exist.
    """
    operation = operations.get(method or "")
    if operation is None:
        known = sorted(operations)
        raise error(
            "unknown_method",
            f"there is no method {method!r}; system.describe lists them",
            details={"known": known},
        )
    return operation


OPERATIONS: Final[dict[str, Operation]] = {
    row.method: row
    for row in (
        Operation(
            method="system.echo", parameters=None, run=_echo, inline=True, doc="Answers what it was sent."
        ),
        Operation(
            method="system.describe",
            parameters=Nothing,
            run=_describe_system,
            inline=True,
            doc="Methods, modules, types and errors, as data.",
        ),
        Operation(
            method="worker.configure",
            parameters=Configure,
            run=_configure,
            inline=True,
            doc="Replaces language models, secrets and host functions.",
        ),
        Operation(
            method="program.build",
            parameters=Build,
            run=_build,
            inline=True,
            doc="Checks a spec and returns the record to store.",
        ),
        Operation(
            method="program.load",
            parameters=None,
            run=_load,
            inline=True,
            doc="Keeps a stored program for the calls that follow.",
        ),
        Operation(
            method="program.predict",
            parameters=Predict,
            run=_predict,
            doc="Runs a program; with credit, streams its tokens and status.",
        ),
        Operation(
            method="signature.describe",
            parameters=Describe,
            run=_describe_signature,
            inline=True,
            doc="A signature in full, with JSON schemas.",
        ),
        Operation(
            method="lm.list",
            parameters=Nothing,
            run=_list_lms,
            inline=True,
            doc="Names and models of the configured LMs.",
        ),
    )
}
