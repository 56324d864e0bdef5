"""Waiting for language models: a server that goes on with a job may not have them yet.

They come with a client, which may have to find its way back after a restart. That they are there was
seen when the job was submitted, so a job waits for them as it waits for the host's functions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..jobs.job import Job
from ..lms.lms import DEFAULT as DEFAULT_LM
from ..lms.lms import LanguageModels
from ..programs.live import LiveProgram
from ..programs.state import named_learners
from .catalog import LM_OPTIONS, Chosen
from .options import TeacherSettings
from .request import Optimize

LOOK_AGAIN_S: Final = 0.5


async def models_there(job: Job, here: LanguageModels, lms: LanguageModels, names: Iterable[str]) -> None:
    """Wait until there are models of these names.

    Args:
        job: Is told for what it waits.
        here: Those of the worker, as they are configured now.
        lms: Those of the job; they take over what is configured.
        names: Of models.
    """
    wanted = sorted(set(names))
    while missing := [name for name in wanted if not here.has(name)]:
        job.progress(phase="waiting", waiting_for_models=missing)
        await asyncio.sleep(LOOK_AGAIN_S)
    lms.take_over(here)


def models_of_request(chosen: Chosen, what: Optimize) -> set[str]:
    """Names of models that a request has."""
    names = {name for name in (what.lm, what.teacher.lm if what.teacher else None) if name is not None}
    return names | _of_options(chosen) | _named_in(what.metric)


def models_of_program(program: LiveProgram, what: Optimize) -> set[str]:
    """Names of models that a program has, and the default one where it needs that."""
    names = set(program.lms.values())
    if what.lm is None and len(program.lms) < len(named_learners(program.module)):
        names.add(DEFAULT_LM)
    return names


def _of_options(chosen: Chosen) -> set[str]:
    names = {value for name, value in chosen.options.items() if name in LM_OPTIONS and value is not None}
    settings = chosen.options.get("teacher_settings")
    if isinstance(settings, TeacherSettings) and settings.lm is not None:
        names.add(settings.lm)
    vectorizer = chosen.options.get("vectorizer")
    if isinstance(vectorizer, str):
        names.add(vectorizer)
    for step in chosen.steps.values():
        names |= _of_options(step)
    return names


def _named_in(spec: object) -> set[str]:
    """Names of models that a metric's spec has in whatever depth."""
    if isinstance(spec, list):
        return {name for part in spec for name in _named_in(part)}  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(spec, Mapping):
        return set()
    parts: Mapping[Any, Any] = spec  # pyright: ignore[reportUnknownVariableType]
    here = {parts["lm"]} if isinstance(parts.get("lm"), str) else set[str]()
    return here.union(*(_named_in(part) for part in parts.values()))
