"""The methods that the supervisor answers itself, and those that are only for workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, cast

from dspex_protocol import Hello, Meta, decode_value, encode_value
from dspex_protocol.records import Doc, Length, Range, describe

from .batch_payload import METHOD as BATCH_RUN
from .batch_payload import RunBatch
from .evaluation.request import METHOD as EVALUATION_RUN
from .evaluation.request import ROW_METHOD, RunEvaluation
from .own_method import Nothing, OwnMethod
from .stored_operations import STORED_METHODS


@dataclass(frozen=True, slots=True, kw_only=True)
class Recycle:
    """Which worker to replace."""

    worker: Annotated[int, Range(1), Doc("its number; nil: all of them")] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Which call to let out of the quarantine."""

    fingerprint: Annotated[str, Length(1, 128), Doc("as the error said; nil: all of them")] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentBy:
    """How much to tell of what language models have cost."""

    limit: Annotated[int, Range(1, 1_000), Doc("rows of each table, those that spent most")] = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ListHistory:
    """Which of the calls that are kept; the newest come first."""

    worker: Annotated[int, Range(1), Doc("only calls that it ran, by its number")] | None = None
    limit: Annotated[int, Range(1, 1_000), Doc("calls at most")] = 20
    before: Annotated[int, Range(1), Doc("`next` of the page before")] | None = None


OWN_METHODS: Final = {
    "system.hello": OwnMethod(parameters=Hello, doc="The first call: who the client is and what it offers."),
    "system.ping": OwnMethod(parameters=None, doc="Answers what it was sent, from the supervisor itself."),
    "system.info": OwnMethod(parameters=Nothing, doc="A snapshot of workers, queue and counters."),
    "system.goodbye": OwnMethod(parameters=Nothing, doc="Ends the server when the open calls have ended."),
    "lm.usage": OwnMethod(
        parameters=SpentBy, doc="What language models have cost since the start, by LM, program and tenant."
    ),
    BATCH_RUN: OwnMethod(
        parameters=RunBatch,
        doc="Runs a program over many inputs, spread over the workers; with credit an item for each row.",
    ),
    EVALUATION_RUN: OwnMethod(
        parameters=RunEvaluation,
        doc="Runs a program on rows and scores each; with credit an item for each row. What comes is stored.",
    ),
    "pool.recycle": OwnMethod(
        parameters=Recycle, doc="Replaces workers that serve; each goes when its successor is ready."
    ),
    "pool.drain": OwnMethod(
        parameters=Nothing, doc="Takes no more calls of anybody, lets the open ones end, and ends the server."
    ),
    "pool.quarantine": OwnMethod(
        parameters=Nothing, doc="The calls that are refused since workers died under them."
    ),
    "pool.release": OwnMethod(parameters=Release, doc="Lets calls out of the quarantine."),
    "program.history": OwnMethod(
        parameters=ListHistory,
        doc="What is kept of the last calls, of all or of the program, version, session or tenant in meta.",
    ),
    **STORED_METHODS,
}

SPREAD: Final = frozenset((BATCH_RUN, EVALUATION_RUN))
"""Those of them that are spread over the workers row by row; `batches` runs them."""

ADMITTED: Final = SPREAD | STORED_METHODS.keys()
"""Those of them that are calls with a life: they wait, end by time, and are cancelled."""

OF_ROWS: Final = {BATCH_RUN: "program.predict", EVALUATION_RUN: ROW_METHOD}
"""What a worker is asked about each row of those."""

NOT_GIVEN: Final = ("example",)
"""What a row has and the whole has not."""

HOP_METHODS: Final = frozenset(
    (
        "worker.configure",
        "worker.warm_up",
        "program.build",
        "program.revise",
        "program.dump",
        "program.undump",
        "program.load",
        "program.forget",
        "dataset.read",
        "job.run",
        "job.check",
        "evaluation.check",
        "evaluation.row",
        "session.load",
        "session.forget",
    )
)
"""What only the supervisor may ask of a worker."""


def with_own_methods(meta: Meta, described: bytes) -> bytes:
    """Complete a worker's answer to `system.describe` with what the supervisor adds."""
    match decode_value(described):
        case {"methods": dict()} as description:
            own: dict[str, dict[str, object]] = {
                name: {
                    "doc": method.doc,
                    "parameters": None if method.parameters is None else describe(method.parameters),
                    "effects": False,
                }
                for name, method in OWN_METHODS.items()
            }
            whole = cast("dict[str, dict[str, object]]", description)
            for method, of_row in OF_ROWS.items():
                own[method]["parameters"] = _with_those_of_row(own[method], whole["methods"].get(of_row))
            shown = {name: row for name, row in whole["methods"].items() if name not in HOP_METHODS}
            return encode_value({**whole, "methods": dict(sorted({**own, **shown}.items()))})
        case _:
            return described


def _with_those_of_row(own: object, of_row: object) -> object:
    """What such a call takes besides its own goes to each row."""
    ours = _parameters(own)
    theirs = {name: row for name, row in _parameters(of_row).items() if name not in NOT_GIVEN}
    return ours | {name: row for name, row in theirs.items() if name not in ours}


def _parameters(row: object) -> dict[str, object]:
    parameters = cast("dict[str, object]", row)["parameters"] if isinstance(row, dict) else None
    return cast("dict[str, object]", parameters) if isinstance(parameters, dict) else {}
