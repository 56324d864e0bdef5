"""The case about language models over HTTP: the CPU of a call with our engine, and with DSPy's own client."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from statistics import median
from typing import Any

import dspy

from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.lms import LanguageModels
from dspex_protocol import LMConfig

from .cases import Figures, ratio
from .plain import SIGNATURE

ROUNDS = 5
CALLS = 480
AT_ONCE = 16
MESSAGES = [{"role": "user", "content": "why"}]


async def lm_engines() -> Figures:
    """Both ask one `dspex sim-lm`, in turn; only this process's time counts, and not the server's."""
    lms = LanguageModels(HostFunctions())
    cpu: dict[str, list[float]] = {}
    async with _endpoint() as base:
        ours = LMConfig(model="openai/own", api_base=base)
        lms.configure({"ours": ours, "dspys": replace(ours, engine="dspy")}, {})
        with dspy.context(disable_history=True, trace=None):
            for number in range(ROUNDS + 1):
                for name in ("ours", "dspys"):
                    for kind, took in (await _measured(lms.get(name))).items():
                        if number:  # the first round warms up
                            cpu.setdefault(f"{name} {kind}", []).append(took)
        await lms.get("dspys").aclose()
        await lms.aclose()
    figures = {f"{key.replace(' ', '_')}_ms": median(times) * 1000 for key, times in cpu.items()}
    kinds = ("predict", "request", "in_thread")
    return figures | {f"{kind}_ratio": ratio(cpu[f"ours {kind}"], cpu[f"dspys {kind}"]) for kind in kinds}


async def _measured(lm: dspy.LM) -> dict[str, float]:
    """CPU seconds of a prediction, of its request alone, and of a prediction in a thread."""
    predict: Any = dspy.Predict(SIGNATURE)
    asking: Any = lm

    def in_thread() -> None:
        for _ in range(CALLS // 4):
            predict(question="why")

    with dspy.context(lm=lm):
        return {
            "predict": await _per_call(lambda: predict.acall(question="why")),
            "request": await _per_call(lambda: asking.acall(messages=MESSAGES)),
            "in_thread": await _cpu_of(asyncio.to_thread(in_thread)) / (CALLS // 4),
        }


async def _per_call(call: Callable[[], Awaitable[object]]) -> float:
    async def several() -> None:
        for _ in range(CALLS // AT_ONCE):
            await call()

    return await _cpu_of(asyncio.gather(*(several() for _ in range(AT_ONCE)))) / CALLS


async def _cpu_of(work: Awaitable[object]) -> float:
    began_s = time.process_time()
    await work
    return time.process_time() - began_s


@asynccontextmanager
async def _endpoint() -> AsyncGenerator[str]:
    """A `dspex sim-lm` of its own, which ends with its stdin."""
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dspex_bridge", "sim-lm", "--until-eof"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        yield str(json.loads(await server.stdout.readline())["api_base"])
    finally:
        server.stdin.close()
        await server.wait()
