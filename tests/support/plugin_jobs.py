"""A plug-in with a kind of job that costs nothing: its answers are made up, and counted in a file."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from dspex_bridge.jobs.answers import Answer
from dspex_bridge.jobs.budget import Cost
from dspex_bridge.jobs.job import Job
from dspex_bridge.jobs.kind import Kind, NeededRows, Outcome, Save
from dspex_bridge.programs.records import Spec
from dspex_bridge.refusals import refusal
from dspex_bridge.rows import Worker
from dspex_protocol import error
from dspex_protocol.records import Doc, Length, Range

TEXT = "{step}"
"""Of a request: another version of a library might build another one."""
STANDS_STILL = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Toil:
    """So many steps, each of so many requests at once."""

    steps: Annotated[int, Range(1, 10_000)]
    at_once: Annotated[int, Range(1, 64)] = 1
    ms: Annotated[int, Range(0, 60_000), Doc("that a request takes")] = 0
    ledger: Annotated[str, Length(0, 4096), Doc("file with a line for each request that was really made")] = (
        ""
    )
    in_threads: bool = False
    tokens: Annotated[int, Range(0), Doc("that a request costs")] = 10
    function: Annotated[str, Doc("of the host, called once in each step")] = ""
    die_at: Annotated[int, Range(0), Doc("step at which the process ends; 0: never")] = 0
    die_in_attempts: Annotated[list[int], Doc("only in those; none: in all")] = field(
        default_factory=list[int]
    )
    stand_still: bool = False
    spawns: Annotated[bool, Doc("whether it starts a daemon in a session of its own")] = False
    save_as: str | None = None
    rows: Annotated[str | None, Doc("a dataset whose rows are counted")] = None
    broken: Annotated[str, Length(0, 4096), Doc("a file: while it is there, requests of step 2 fail")] = ""
    swallows: Annotated[bool, Doc("whether a refused request is taken for a bad one")] = False


async def toil(worker: Worker, job: Job, what: Toil) -> Outcome:
    """Add up what the answers say, which says whether any was another one."""
    digest = hashlib.sha256()
    if what.spawns:
        subprocess.Popen(["sleep", "3600"], start_new_session=True, stdin=subprocess.DEVNULL)
    rows = 0 if what.rows is None else len(await job.rows(what.rows))
    for step in range(1, what.steps + 1):
        if step == what.die_at and job.attempt in (what.die_in_attempts or [job.attempt]):
            os.kill(os.getpid(), signal.SIGSEGV)
        for answer in await asyncio.gather(
            *(_ask(worker, job, what, step, at) for at in range(what.at_once))
        ):
            digest.update(str(answer).encode())
        if what.function:
            digest.update(str(await worker.functions.acall(what.function, {"step": step})).encode())
        await job.event("step", step=step, digest=digest.hexdigest()[:8], asked=step * what.at_once)
        await job.best(step, {"spec": {"step": step}, "state": {}})
        job.progress(phase="toil", done=step, total=what.steps)
    if what.stand_still and STANDS_STILL:
        await asyncio.Event().wait()
    save = None
    if what.save_as is not None:
        spec = Spec(module="Predict", signature="question -> answer")
        record = worker.programs.builder.build(spec, None, []).record()
        save = Save(
            record=record, program=what.save_as, optimizer="toil", scores={"toil": 1.0}, tags=("made",)
        )
    return Outcome(result={"digest": digest.hexdigest(), "rows": rows}, save=save)


async def _ask(worker: Worker, job: Job, what: Toil, step: int, at: int) -> object:
    text = TEXT.format(step=step)  # at_once equal ones: which is which, their numbers say
    key = hashlib.sha256(text.encode()).digest()

    async def live() -> Answer:
        answer = _answer(what, text)  # it is made, whether its answer comes or not
        await asyncio.sleep(what.ms / 1000)
        return answer

    try:
        if not what.in_threads:
            return await job.answers.ask("lm", key, live)
        threaded = asyncio.get_running_loop().run_in_executor(
            worker.threads, job.answers.ask_in_thread, "lm", key, lambda: _answer(what, text)
        )
        return await threaded
    except Exception:
        if not what.swallows:
            raise
        return "bad"


def _answer(what: Toil, text: str) -> Answer:
    if what.broken and text == "2" and Path(what.broken).exists():
        raise error("function_failed", "it is broken")
    if what.ledger:
        with open(what.ledger, "a") as ledger:
            ledger.write(text + "\n")
    cost = Cost(lm_calls=1, tokens_in=what.tokens, cost_usd=0.001)
    return Answer(value=f"answer to {text}", cost=cost)


def _check(worker: Worker, what: Toil) -> None:
    if what.function and what.function not in worker.functions.names:
        raise refusal("request.function", "a function that the host offers", "another")


def _needs(what: Toil) -> list[NeededRows]:
    return [] if what.rows is None else [NeededRows(path="request", dataset=what.rows)]


KINDS = [Kind(name="toil", request=Toil, run=toil, check=_check, needs=_needs, doc="Asks and adds up.")]
