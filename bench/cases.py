"""The cases: each starts what it needs, measures, ends it, and returns its figures."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median
from typing import TypeAlias

from dspex_pool.client import Client
from dspex_protocol import encode_value

from .http_load import HTTPLoad, free_port
from .load import Load
from .plain import SIGNATURE

Figures: TypeAlias = dict[str, float]

SIM = {"default": {"model": "sim/bench"}}
SPEC = {"module": "Predict", "signature": SIGNATURE}
ECHO = encode_value({"text": "x" * 50})


def question(number: int) -> bytes:
    """The payload of one prediction."""
    return encode_value({"inputs": {"question": f"why {number}"}})


async def startup() -> Figures:
    """From exec to the answer to hello, and to the first worker."""
    hello, first = list[float](), list[float]()
    for _ in range(3):
        began_s = time.perf_counter()
        async with Client.start(lms=SIM) as client:
            hello.append(time.perf_counter() - began_s)
            await client.call("system.echo", None)
            first.append(time.perf_counter() - began_s)
    return {"hello_ms": median(hello) * 1000, "first_echo_ms": median(first) * 1000}


async def echo() -> Figures:
    """The bridge by itself: nothing happens in the worker."""
    async with Client.start(lms=SIM, flags=("--workers", "1")) as client:
        await client.call("system.echo", None)
        single = Load(client, "system.echo", {}, lambda _: ECHO, 4000, 1)
        await single.run()
        rates = list[float]()
        for _ in range(3):
            piped = Load(client, "system.echo", {}, lambda _: ECHO, 30_000, 128)
            await piped.run()
            rates.append(piped.per_s)
    return {
        "p50_ms": single.percentile_ms(50),
        "p99_ms": single.percentile_ms(99),
        "pipelined_per_s": median(rates),
    }


async def predict_against_plain() -> Figures:
    """2 workers against 2 DSPy processes on the same cores, in turn."""
    bridge, ours, sync, dspys = list[float](), list[float](), list[float](), list[float]()
    async with Client.start(lms=SIM) as client:
        await client.call("program.create", {"spec": SPEC}, program="qa")
        for _ in range(5):
            load = Load(client, "program.predict", {"program": "qa"}, question, 6000, 64)
            await load.run()
            bridge.append(load.per_s)
            ours.append(await _plain_pair(3000, 32, "ours"))
            sync.append(await _plain_pair(3000, 0, "ours"))
            dspys.append(await _plain_pair(2000, 32, "dspy"))
    return {
        "bridge_per_s": median(bridge),
        "plain_async_per_s": median(ours),
        "plain_sync_per_s": median(sync),
        "plain_dspys_lm_per_s": median(dspys),
        "ratio_to_async": ratio(bridge, ours),
        "ratio_to_sync": ratio(bridge, sync),
        "ratio_to_dspys_lm": ratio(bridge, dspys),
    }


def ratio(ones: list[float], others: list[float]) -> float:
    """The median of the rounds' ratios: a machine that is slow for a while slows both sides."""
    return median(one / other for one, other in zip(ones, others, strict=True))


async def _plain_pair(count: int, outstanding: int, kind: str) -> float:
    """Calls per second of two processes together."""
    start_at = str(time.monotonic() + 4.0)
    argv = [sys.executable, "-m", "bench.plain", str(count), str(outstanding), kind, start_at]
    pair = [await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE) for _ in range(2)]
    outputs = [(await process.communicate())[0] for process in pair]
    return sum(float(json.loads(output)["per_s"]) for output in outputs)


async def against_web() -> Figures:
    """The same program behind FastAPI and uvicorn, 2 workers each, in turn.

    Once with our class of LM in the web workers too, once with DSPy's own.
    """
    bridge, bridge_p99 = list[float](), list[float]()
    web: dict[str, list[float]] = {"ours": [], "dspy": []}
    web_p99: dict[str, list[float]] = {"ours": [], "dspy": []}
    async with Client.start(lms=SIM) as client, _web_server("ours") as ours, _web_server("dspy") as dspys:
        await client.call("program.create", {"spec": SPEC}, program="qa")
        for _ in range(4):
            load = Load(client, "program.predict", {"program": "qa"}, question, 6000, 64)
            await load.run()
            bridge.append(load.per_s)
            bridge_p99.append(load.percentile_ms(99))
            for kind, port in (("ours", ours), ("dspy", dspys)):
                http = HTTPLoad(port, 3000, 64)
                await http.run()
                web[kind].append(http.per_s)
                web_p99[kind].append(http.percentile_ms(99))
    return {
        "bridge_per_s": median(bridge),
        "web_per_s": median(web["ours"]),
        "web_dspys_lm_per_s": median(web["dspy"]),
        "ratio": ratio(bridge, web["ours"]),
        "ratio_to_dspys_lm": ratio(bridge, web["dspy"]),
        "bridge_p99_ms": median(bridge_p99),
        "web_p99_ms": median(web_p99["ours"]),
        "web_dspys_lm_p99_ms": median(web_p99["dspy"]),
    }


@asynccontextmanager
async def _web_server(kind: str) -> AsyncGenerator[int, None]:
    """Two uvicorn workers on a loopback port."""
    port = free_port()
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "bench.web:app", "--workers", "2"),
        *("--port", str(port), "--log-level", "error", "--no-access-log"),
        env=os.environ | {"BENCH_LM": kind},
        start_new_session=True,
    )
    try:
        await HTTPLoad.wait_for(port)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        await server.wait()


async def waiting_for_models() -> Figures:
    """An LM of 200 ms: how many calls a second two workers hold."""
    lms = {"default": {"model": "sim/slow", "options": {"latency_ms": 200}}}
    async with Client.start(lms=lms, flags=("--calls-per-worker", "256")) as client:
        await client.call("program.create", {"spec": SPEC}, program="qa")
        await Load(client, "program.predict", {"program": "qa"}, question, 200, 100).run()
        load = Load(client, "program.predict", {"program": "qa"}, question, 5000, 250)
        await load.run()
    return {"per_s": load.per_s, "p50_ms": load.percentile_ms(50), "p99_ms": load.percentile_ms(99)}


async def replacement() -> Figures:
    """From the SIGKILL of the only worker to the reply of a call that waits for the next."""
    times = list[float]()
    async with Client.start(lms=SIM, flags=("--workers", "1", "--log-level", "error")) as client:
        await client.call("system.echo", None)
        for _ in range(50):
            info = await client.call("system.info", {})
            assert isinstance(info, dict)
            os.kill(info["workers"][0]["pid"], signal.SIGKILL)  # pyright: ignore[reportUnknownArgumentType]
            began_s = time.perf_counter()
            await client.call("system.echo", None)
            times.append(time.perf_counter() - began_s)
    times.sort()
    return {"p50_ms": median(times) * 1000, "max_ms": times[-1] * 1000}


CASES: dict[str, Callable[[], Awaitable[Figures]]] = {
    "startup": startup,
    "echo": echo,
    "predict_against_plain": predict_against_plain,
    "against_web": against_web,
    "waiting_for_models": waiting_for_models,
    "replacement": replacement,
}
