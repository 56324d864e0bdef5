"""Programs that an optimizer's result becomes where it is no other state of the one before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from ..finetuning.provider import with_provider
from ..jobs.job import Job
from ..lms.lms import LanguageModels
from ..programs.builder import Builder
from ..programs.live import LiveProgram
from ..programs.records import DSPY_VERSION, Record, Spec
from ..programs.state import named_learners
from ..programs.upgrades import SCHEMA
from ..refusals import refusal
from ..signatures.signatures import normal_of
from ..values.outgoing import to_wire


def ensemble_of(builder: Builder, members: Sequence[LiveProgram], size: int | None) -> LiveProgram:
    """Several programs as one, with what each has learned.

    Raises:
        CallerError: `invalid_argument` for one that takes or gives something else than the first.
    """
    first = members[0]
    for n, member in enumerate(members):
        if normal_of(member.signature) != normal_of(first.signature):
            raise refusal(f"request.programs[{n}]", "a program with the signature of the first", "another")
    options: dict[str, object] = {
        "programs": {f"program_{n}": _spec_of(member) for n, member in enumerate(members)}
    }
    if size is not None:
        options["size"] = size
    spec = Spec(
        module="Ensemble",
        signature=first.template.spec["signature"],
        options=options,
        adapter=first.template.adapter,
    )
    names = [name for name, _ in named_learners(builder.template(spec).module)]
    learned = [own for member in members for own in member.state.values()]
    state = dict(zip(names, learned, strict=True))
    return builder.load(Record(spec=spec, state=state, dspy=DSPY_VERSION, schema=SCHEMA))


def nearest_of(
    builder: Builder, program: LiveProgram, trainset: Sequence[dspy.Example], options: Mapping[str, Any]
) -> LiveProgram:
    """A program that takes the rows nearest to each call's inputs as demos."""
    kept = {name: options[name] for name in ("k", "vectorizer", "max_rounds")}
    demos = {name: options[name] for name in ("max_bootstrapped_demos", "max_labeled_demos")}
    rows = [to_wire(dict(example.items())) for example in trainset]
    spec = Spec(
        module="KNNFewShot",
        signature=program.template.spec["signature"],
        options={"module": _spec_of(program), "trainset": rows, **kept, **demos},
        adapter=program.template.adapter,
    )
    return builder.template(spec).program


def _spec_of(program: LiveProgram) -> dict[str, object]:
    return {name: program.template.spec[name] for name in ("module", "signature", "options")}


def bind_trainable(program: LiveProgram, lms: LanguageModels, job: Job, default: str | None) -> None:
    """Give each predictor its language model, such that DSPy can have it trained in this job.

    Raises:
        CallerError: `invalid_argument` for one that cannot be trained.
    """
    bound: dict[str | None, Any] = {}
    for name, predictor in named_learners(program.module):
        wanted = program.lms.get(name, default)
        if wanted not in bound:
            bound[wanted] = with_provider(lms, job, wanted)
        predictor.lm = bound[wanted]


def names_of(program: dspy.Module, before: Mapping[str, str]) -> dict[str, str]:
    """The names of predictors' language models: those of before, and of models that were made."""
    names = dict(before)
    for name, predictor in named_learners(program):
        account = getattr(predictor.lm, "account", None)
        if account is not None and "@" in account.label:
            names[name] = account.label
    return names
