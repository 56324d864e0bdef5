"""The kind of job `finetune`: a model made of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

import dspy

from dspex_protocol.records import Doc, Length, Range

from ..jobs.job import Job
from ..jobs.kind import Kind, NeededRows, Outcome
from ..refusals import refusal
from ..rows import Worker
from ..signatures.signatures import build_signature
from .examples import conversation_of, labelled_conversation
from .local import LOCAL, check_local
from .provider import TuningProvider, tunable_model


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetune:
    """A model that is to be made of examples."""

    lm: Annotated[str, Doc("the configured LM whose model is tuned; default: `default`")] | None = None
    dataset: Annotated[str, Length(1, 128), Doc("whose rows are the examples")]
    version: Annotated[int, Range(1), Doc("of the dataset; default: the newest")] | None = None
    select: Annotated[dict[str, object], Doc("which rows, as in `dataset.rows`")] | None = None
    signature: Annotated[
        object,
        Doc(
            "string or map: rows are its fields, and examples what a `Predict` of it would ask and answer;"
            " default: rows are conversations, with `messages`"
        ),
    ] = None
    epochs: Annotated[int, Range(1, 50)] | None = None
    batch_size: Annotated[int, Range(1, 256)] | None = None
    learning_rate_multiplier: Annotated[float, Range(0)] | None = None
    suffix: Annotated[str, Length(1, 64), Doc("part of the new model's name")] | None = None
    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    options: Annotated[
        dict[str, object], Doc("further parameters of the provider's job, such as `validation_file`")
    ] = field(default_factory=dict[str, object])


_OURS: Final = ("model", "training_file", "metadata", "method", "hyperparameters", "seed", "suffix")


def check_finetune(worker: Worker, what: Finetune) -> None:
    """Refuse what could not begin."""
    if tunable_model(worker.lms, what.lm, "request.lm").startswith(LOCAL):
        check_local(what.options, "request.options")
    for name in what.options:
        if name in _OURS:
            raise refusal(f"request.options.{name}", "parameters that have no field of their own here", name)
    if what.signature is not None:
        build_signature(what.signature, "request.signature")


def needs(what: Finetune) -> list[NeededRows]:
    """What a request names that is stored."""
    return [NeededRows(path="request", dataset=what.dataset, version=what.version, select=what.select)]


async def run_finetune(worker: Worker, job: Job, what: Finetune) -> Outcome:
    """Have it made, and say what it is called."""
    check_finetune(worker, what)
    is_local = tunable_model(worker.lms, what.lm, "request.lm").startswith(LOCAL)
    options = what.options if is_local else _options(what)
    rows = await job.rows(what.dataset, what.version, what.select)
    examples = _examples(what, rows)
    await job.event("started", examples=len(examples), lm=what.lm or "default")
    ended = await TuningProvider(worker.lms, job).tune(what.lm, examples, options)
    lm = f"{what.lm or 'default'}@{ended.model}"
    await job.event("finished", lm=lm)
    return Outcome(
        result={
            "lm": lm,
            "model": ended.model,
            "provider_job": ended.id,
            "examples": len(examples),
            "trained_tokens": ended.trained_tokens,
        }
    )


def _examples(what: Finetune, rows: list[dict[str, object]]) -> list[Mapping[str, object]]:
    if what.signature is None:
        return [conversation_of(row, f"rows[{at}]") for at, row in enumerate(rows)]
    signature, adapter = build_signature(what.signature, "request.signature"), dspy.ChatAdapter()
    return [labelled_conversation(signature, adapter, row, f"rows[{at}]") for at, row in enumerate(rows)]


def _options(what: Finetune) -> dict[str, object]:
    """As OpenAI's API has them; DSPy's local provider has others, which are `options` alone."""
    given = {
        "n_epochs": what.epochs,
        "batch_size": what.batch_size,
        "learning_rate_multiplier": what.learning_rate_multiplier,
    }
    hyper = {name: value for name, value in given.items() if value is not None}
    options: dict[str, object] = {**what.options, "seed": what.seed}
    if what.suffix is not None:
        options["suffix"] = what.suffix
    if hyper:
        options["method"] = {"type": "supervised", "supervised": {"hyperparameters": hyper}}
    return options


FINETUNE: Final = Kind(
    name="finetune",
    request=Finetune,
    run=run_finetune,
    check=check_finetune,
    needs=needs,
    doc="Has a provider make a model of a dataset.",
)
