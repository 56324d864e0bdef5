"""The table of operations: method to function, with parameters that describe themselves.

A new operation is a dataclass for its parameters, a function, and a row. An `inline`
operation is a plain function that runs at once, in order with the frames around it; the
others are coroutines and run as tasks beside each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

import dspy

from dspex_protocol import CODES, LMConfig, error, invalid_argument
from dspex_protocol.limits import VERSION
from dspex_protocol.records import Doc, describe, read

from .adapters.choices import Adapter
from .adapters.choosing import adapter_of
from .adapters.classes import describe_adapters, read_adapter
from .adapters.prompts import prompts_of
from .code.operation import CHECK_CODE
from .datasets.operation import READ_DATASET
from .evaluation.operation import CHECK_EVALUATION, EVALUATE_ROW
from .graphs.operation import DescribeGraph, describe_graph
from .host_functions import HostFunctions
from .jobs.kinds import describe_kinds
from .jobs.operation import CHECK_JOB, RUN_JOB
from .lms.lms import DEFAULT as DEFAULT_LM
from .lms.lms import LanguageModels
from .lms.operations import LM_OPERATIONS
from .metrics.catalog import describe_metrics
from .metrics.operation import SCORE
from .modules.part_calls import PredictPart, predict_part
from .optimizers.classes import describe_optimizers
from .predicting import Predict, predict
from .programs.documents import dump_document
from .programs.live import LiveProgram
from .programs.records import DSPY_VERSION, Spec, StoredPart
from .refusals import refusal
from .rows import Nothing, Operation, Worker
from .signatures.signatures import describe_signature
from .signatures.type_names import describe_types
from .worker import failpoints
from .worker.calls import RunningCall
from .worker.warm_up import predict_all


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    """What the host offers; replaces what was known before."""

    lms: dict[str, LMConfig] = field(default_factory=dict[str, LMConfig])
    secrets: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    functions: list[str] = field(default_factory=list[str])


Stored = Annotated[list[StoredPart], Doc("programs that the spec names as parts")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A program to be checked."""

    spec: Spec
    state: Annotated[object, Doc("map of predictor to the parts that are to be another way")] = None
    stored: Stored = field(default_factory=list[StoredPart])


@dataclass(frozen=True, slots=True, kw_only=True)
class Revise:
    """The next version of a program; its own in meta."""

    spec: Spec | None = None
    state: Annotated[object, Doc("map of predictor to the parts that are to be another way")] = None
    stored: Stored = field(default_factory=list[StoredPart])


@dataclass(frozen=True, slots=True, kw_only=True)
class Undump:
    """A program of DSPy's own form."""

    document: Annotated[str, Doc("JSON text, as DSPy's save writes it")]
    spec: Annotated[Spec, Doc("the program that it was saved of")]
    stored: Stored = field(default_factory=list[StoredPart])


@dataclass(frozen=True, slots=True, kw_only=True)
class Describe:
    """A signature to be described, or that of a program, with its prompts."""

    signature: Annotated[object, Doc("string or map; docs/protocol.md section 7.4")] = None
    spec: Annotated[Spec | None, Doc("of a program, instead; or meta names one")] = None
    state: Annotated[object, Doc("map of predictor to the parts that are to be another way")] = None
    adapter: Adapter = None
    lm: Annotated[str, Doc("the LM that is to be asked, as in program.predict; nobody is asked")] | None = (
        None
    )
    inputs: Annotated[dict[str, object], Doc("to be put into the prompts; any of the inputs")] = field(
        default_factory=dict[str, object]
    )


def _echo(worker: Worker, call: RunningCall, value: object) -> object:
    return value


def configure(functions: HostFunctions, lms: LanguageModels, what: Configure) -> None:
    """Take what the host offers in place of what it offered before."""
    functions.configure(what.functions)
    lms.configure(what.lms, what.secrets)  # some are functions, and are built anew with these


def _configure(worker: Worker, call: RunningCall, what: Configure) -> None:
    configure(worker.functions, worker.lms, what)


def _build(worker: Worker, call: RunningCall, what: Build) -> object:
    return worker.programs.builder.build(what.spec, what.state, what.stored).record()


def _revise(worker: Worker, call: RunningCall, what: Revise) -> object:
    program = _stored(worker, call)
    return worker.programs.builder.revise(program, what.spec, what.state, what.stored).record()


def _dump(worker: Worker, call: RunningCall, nothing: Nothing) -> object:
    return {"document": dump_document(_stored(worker, call))}


def _undump(worker: Worker, call: RunningCall, what: Undump) -> object:
    return worker.programs.builder.undump(what.document, what.spec, what.stored).record()


def _load(worker: Worker, call: RunningCall, record: object) -> None:
    worker.programs.load(*_named(call), record)
    if call.meta.get("build") is True:
        worker.programs.build(*_named(call))
    failpoints.passed("program.loaded")


def _forget(worker: Worker, call: RunningCall, nothing: Nothing) -> None:
    worker.programs.forget(*_named(call))


def _named(call: RunningCall) -> tuple[str, int]:
    program, number = call.meta.get("program"), call.meta.get("version")
    if not isinstance(program, str) or not isinstance(number, int):
        raise invalid_argument("meta.program", "a program and its version", program)
    return program, number


async def _warm_up(worker: Worker, call: RunningCall, nothing: Nothing) -> None:
    await predict_all()


def _stored(worker: Worker, call: RunningCall) -> LiveProgram:
    _named(call)
    stored = worker.programs.named(call.meta)
    assert stored is not None  # it names one
    return stored.live()


def _load_session(worker: Worker, call: RunningCall, checkpoint: object) -> None:
    worker.sessions.load(call.meta, checkpoint)


def _forget_session(worker: Worker, call: RunningCall, nothing: Nothing) -> None:
    worker.sessions.forget(call.meta)


async def _describe_signature(worker: Worker, call: RunningCall, what: Describe) -> object:
    stored = call.program
    if [what.signature, what.spec, stored].count(None) != 2:
        raise refusal(
            "signature", "a signature, or a spec, or a stored program in meta", "none of them, or several"
        )
    described = None if what.signature is None else describe_signature(what.signature)
    if described is not None and what.adapter is what.lm is what.state is None and not what.inputs:
        return described
    if stored is not None:
        program = worker.programs.builder.revise(stored.live(), None, what.state)
    else:
        spec = what.spec or Spec(module="Predict", signature=what.signature)
        program = worker.programs.builder.build(spec, what.state)
    described = described or describe_signature(program.template.spec["signature"])
    lms = {name: _asked(worker, program, name, what.lm) for name, _ in program.module.named_predictors()}
    prompts = await prompts_of(
        program, _writer(worker, program, what), lms.__getitem__, what.inputs, worker.threads
    )
    return {**described, "prompts": prompts}


def _asked(worker: Worker, program: LiveProgram, predictor: str, wanted: str | None) -> dspy.LM | None:
    """Whom a predictor would ask; None where none is named and none configured as the default."""
    own = program.lms.get(predictor)
    if own is not None:
        return worker.lms.get(own, f"state.{predictor}.lm")
    if wanted is None and DEFAULT_LM not in worker.lms.configs:
        return None
    return worker.lms.get(wanted)


def _writer(worker: Worker, program: LiveProgram, what: Describe) -> dspy.Adapter:
    if what.adapter is None:
        return adapter_of(program.template.adapter, 0, worker.lms, "spec.adapter")
    return adapter_of(read_adapter(what.adapter, "adapter"), 0, worker.lms)


def _describe_system(worker: Worker, call: RunningCall, nothing: Nothing) -> object:
    return {
        "methods": describe_operations(worker.operations),
        "modules": worker.programs.builder.catalog.describe(),
        "adapters": describe_adapters(),
        "metrics": describe_metrics(),
        "jobs": describe_kinds(worker.kinds),
        "optimizers": describe_optimizers(),
        "types": describe_types(),
        "errors": {
            code: {"fault": str(info.fault), "retryable": info.retryable, "meaning": info.meaning}
            for code, info in CODES.items()
        },
        "versions": {"protocol": VERSION, "dspy": DSPY_VERSION},
    }


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
            doc="Methods, modules, adapters, metrics, optimizers, types and errors, as data.",
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
            method="program.revise",
            parameters=Revise,
            run=_revise,
            inline=True,
            doc="Changes a stored program and returns the record of its next version.",
        ),
        Operation(
            method="program.dump",
            parameters=Nothing,
            run=_dump,
            inline=True,
            doc="A stored program as the JSON that DSPy's own save writes.",
        ),
        Operation(
            method="program.undump",
            parameters=Undump,
            run=_undump,
            inline=True,
            doc="Reads the JSON of DSPy's own save and returns the record to store.",
        ),
        Operation(
            method="program.load",
            parameters=None,
            run=_load,
            inline=True,
            doc="Keeps a stored program for the calls that follow.",
        ),
        Operation(
            method="program.forget",
            parameters=Nothing,
            run=_forget,
            inline=True,
            doc="Drops a stored program; calls that came before keep theirs.",
        ),
        Operation(
            method="worker.warm_up",
            parameters=Nothing,
            run=_warm_up,
            doc="Makes predictions for nobody, so that the first real one is as fast as the next.",
        ),
        Operation(
            method="session.load",
            parameters=None,
            run=_load_session,
            inline=True,
            doc="Keeps a session at the turn of its checkpoint.",
        ),
        Operation(
            method="session.forget",
            parameters=Nothing,
            run=_forget_session,
            inline=True,
            doc="Drops a session; a turn that is running ends as it would.",
        ),
        Operation(
            method="program.predict",
            parameters=Predict,
            run=predict,
            doc="Runs a program; with credit, streams its tokens and status.",
        ),
        Operation(
            method="program.graph",
            parameters=DescribeGraph,
            run=describe_graph,
            doc="What a program is made of: nodes and edges, or a drawing as Mermaid or SVG.",
        ),
        Operation(
            method="part.predict",
            parameters=PredictPart,
            run=predict_part,
            doc="Runs a part of the module in whose forward the host is; within a callback only.",
        ),
        Operation(
            method="signature.describe",
            parameters=Describe,
            run=_describe_signature,
            doc="A signature in full, with JSON schemas and the prompts that an adapter would send.",
        ),
        CHECK_CODE,
        SCORE,
        READ_DATASET,
        RUN_JOB,
        CHECK_JOB,
        CHECK_EVALUATION,
        EVALUATE_ROW,
        *LM_OPERATIONS,
    )
}
