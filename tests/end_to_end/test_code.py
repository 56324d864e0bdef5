"""Code that a model writes, in the workers of a server: it ends with its call, and with its worker."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from tests.support.servers import SUPPORT, has_ready, outcome_code, serving, wait_for, worker_pids
from tests.support.survivors import alive_after

from dspex_protocol import DSPexError

PROGRAM: Final = {"module": "ProgramOfThought", "signature": "question -> answer: int"}
MODEL: Final = {"default": {"model": "host/model"}}
ENDLESS: Final = "while True:\n    pass"

pytestmark = pytest.mark.slow


def writes(code: str) -> dict[str, Callable[..., Any]]:
    """A host whose model writes that code, and then answers with what came of it."""

    async def model(model: str, messages: list[dict[str, str]], config: dict[str, object]) -> str:
        if "generated_code" in messages[0]["content"].partition("final_generated_code")[0]:
            return say(reasoning="r", generated_code=f"```python\n{code}\n```")
        given = messages[-1]["content"].partition("[[ ## code_output ## ]]")[2]
        return say(
            reasoning="r", answer="".join(letter for letter in given.split("[[")[0] if letter.isdigit())
        )

    return {"model": model}


def say(**fields: str) -> str:
    return "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in {**fields, "completed": ""}.items())


def interpreters(worker: int) -> set[int]:
    """Every process below a worker."""
    return {child.pid for child in psutil.Process(worker).children(recursive=True)}


async def test_code_runs_and_ends_with_its_worker() -> None:
    """A worker that is killed takes its interpreters with it, those in waiting too."""
    async with serving("--workers", "1", functions=writes("SUBMIT({'answer': 6 * 7})"), lms=MODEL) as client:
        assert {"can_run": True, "sandbox": "bubblewrap"} == await client.call("code.check", {})
        assert 42 == (await client.predict(PROGRAM, {"question": "?"}))["answer"]
        (worker,) = await worker_pids(client)
        running = interpreters(worker)
        assert running
        os.kill(worker, signal.SIGKILL)
        await wait_for(client, lambda now: now["worker_deaths"] == 1 and has_ready(1)(now))
        assert [] == alive_after(5.0, sorted(running))
        assert 42 == (await client.predict(PROGRAM, {"question": "?"}))["answer"]


async def test_code_that_does_not_end_ends_at_the_deadline() -> None:
    """With the call's own error; the worker lives, and what ran is gone."""
    functions = writes("SUBMIT({'answer': 1})") | {"endless": writes(ENDLESS)["model"]}
    lms = {"default": {"model": "host/model"}, "endless": {"model": "host/endless"}}
    async with serving("--workers", "1", functions=functions, lms=lms, limit_s=120) as client:
        await client.predict(PROGRAM, {"question": "?"})
        (worker,) = await worker_pids(client)
        await until_idle(worker)  # then the next call's process is ready
        running = interpreters(worker)
        asked = {"spec": PROGRAM, "inputs": {"question": "?"}, "lm": "endless"}
        assert "deadline" == await outcome_code(client, "program.predict", asked, deadline_ms=3_000)
        snapshot = await wait_for(client, has_ready(1))
        assert (0, worker) == (snapshot["worker_deaths"], snapshot["workers"][0]["pid"])
        assert running
        assert [] == alive_after(5.0, sorted(running))


async def until_idle(worker: int) -> None:
    """Until nothing computes below a worker; the caller's `serving` bounds the time."""
    spent: dict[int, float] = {}
    while True:
        before, spent = spent, {pid: _cpu_s(pid) for pid in interpreters(worker)}
        if spent and spent == before:
            return
        await asyncio.sleep(0.5)


def _cpu_s(pid: int) -> float:
    """What a process has spent, in tenths of a second."""
    try:
        return round(sum(psutil.Process(pid).cpu_times()[:2]), 1)
    except psutil.NoSuchProcess:
        return 0.0


@pytest.fixture
def without_deno(tmp_path: Path) -> dict[str, str]:
    """An environment in which Deno is not to be found."""
    (tmp_path / "deno.py").write_text("def find_deno_bin():\n    raise FileNotFoundError\n")
    paths = (str(tmp_path), str(SUPPORT), os.environ.get("PYTHONPATH", ""))
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PATH": "/usr/bin:/bin"}


async def test_without_a_sandbox_programs_are_made_and_not_run(without_deno: dict[str, str]) -> None:
    """Another server may have one; this one says what to do."""
    functions = writes("SUBMIT({'answer': 1})")
    async with serving("--workers", "1", environment=without_deno, functions=functions, lms=MODEL) as client:
        await client.call("program.create", {"spec": PROGRAM}, program="thinker")
        told: Any = await client.call("code.check", {})
        with pytest.raises(DSPexError) as refused:
            await client.predict("thinker", {"question": "?"})
    assert (False, None, "Deno is not installed") == (told["can_run"], told["sandbox"], told["lacking"])
    assert "not_permitted" == refused.value.code
    assert "Deno is not installed" == refused.value.details["lacking"]


async def test_the_host_may_take_the_risk(without_deno: dict[str, str]) -> None:
    """With `unsafe_interpreter` the code runs as a process of the server's user, and ends as well."""
    flags = ("--workers", "1", "--unsafe-interpreter", "true")
    functions = writes("import os\nSUBMIT({'answer': os.getpid()})")
    async with serving(*flags, environment=without_deno, functions=functions, lms=MODEL) as client:
        assert {"can_run": True, "sandbox": None} == await client.call("code.check", {})
        pid = (await client.predict(PROGRAM, {"question": "?"}))["answer"]
        assert isinstance(pid, int)
        assert [] == alive_after(5.0, [pid])
