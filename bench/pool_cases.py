"""The cases about the pool: what recycling, a flood and a start from nothing cost those who call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median, quantiles
from typing import Any, cast

from dspex_pool.client import Client

from .cases import SIM, SPEC, Figures, question, ratio
from .load import Load, PacedLoad

PACE_PER_S = 500
PACED_CALLS = 2000
RECYCLE_EVERY = {"never": 0, "every_2000": 2000, "every_200": 200}
"""Calls after which a worker is replaced; by default it is 50,000."""


async def recycle() -> Figures:
    """A steady load beside workers that are replaced, against the same where none is, in turn."""
    p50: dict[str, list[float]] = {name: [] for name in RECYCLE_EVERY}
    p99: dict[str, list[float]] = {name: [] for name in RECYCLE_EVERY}
    async with AsyncExitStack() as stack:
        servers = {name: await _recycling(stack, every) for name, every in RECYCLE_EVERY.items()}
        for _ in range(7):
            for name, client in servers.items():
                load = PacedLoad(
                    client, "program.predict", {"program": "qa"}, question, PACED_CALLS, PACE_PER_S
                )
                await load.run()
                p50[name].append(load.percentile_ms(50))
                p99[name].append(load.percentile_ms(99))
        infos = {name: await _info(client) for name, client in servers.items()}
    figures: Figures = {}
    for name in RECYCLE_EVERY:
        figures[f"{name}_p50_ms"] = median(p50[name])
        figures[f"{name}_p99_ms"] = median(p99[name])
        figures[f"{name}_recycles"] = infos[name]["recycles"].get("calls", 0)
        figures[f"{name}_failed"] = infos[name]["failed"]
    figures["p99_ratio_2000"] = ratio(p99["every_2000"], p99["never"])
    figures["p99_ratio_200"] = ratio(p99["every_200"], p99["never"])
    return figures


async def _recycling(stack: AsyncExitStack, every: int) -> Client:
    flags = ("--recycle-after-calls", str(every), "--log-level", "error")
    client = await stack.enter_async_context(Client.start(lms=SIM, flags=flags))
    await client.call("program.create", {"spec": SPEC}, program="qa")
    await Load(client, "program.predict", {"program": "qa"}, question, 500, 16).run()
    return client


async def _info(client: Client) -> dict[str, Any]:
    return cast("dict[str, Any]", await client.call("system.info", {}))


async def _until(client: Client, condition: Callable[[dict[str, Any]], bool]) -> None:
    while True:
        if condition(await _info(client)):
            return
        await asyncio.sleep(0.005)


NORMAL_TENANTS = 9
ABUSIVE_CALLS = 500
FAIR_ROUND_S = 2.0


async def fairness() -> Figures:
    """Nine tenants with one prediction after the other, and a tenth with five hundred at once.

    Alone; with the tenth; and with the tenth where the server cannot tell them apart.
    """
    alone, fair, unfair = list[float](), list[float](), list[float]()
    lms = {
        "default": {"model": "sim/quick", "options": {"latency_ms": 20}},
        "long": {"model": "sim/long", "options": {"latency_ms": 100}},
    }
    async with Client.start(lms=lms, flags=("--calls-per-worker", "16")) as client:
        await client.call("program.create", {"spec": SPEC}, program="qa")
        await _normal_p99_ms(client, lambda number: f"normal-{number}")
        for _ in range(5):
            alone.append(await _normal_p99_ms(client, lambda number: f"normal-{number}"))
            async with _abuse(client, "abusive"):
                fair.append(await _normal_p99_ms(client, lambda number: f"normal-{number}"))
            async with _abuse(client, "everybody"):
                unfair.append(await _normal_p99_ms(client, lambda _: "everybody"))
    return {
        "alone_p99_ms": median(alone),
        "abused_p99_ms": median(fair),
        "one_tenant_p99_ms": median(unfair),
        "ratio": ratio(fair, alone),
        "ratio_one_tenant": ratio(unfair, alone),
    }


async def _normal_p99_ms(client: Client, tenant_of: Callable[[int], str]) -> float:
    latencies_s = list[float]()
    until_s = time.perf_counter() + FAIR_ROUND_S

    async def call_on(tenant: str) -> None:
        while (began_s := time.perf_counter()) < until_s:
            await client.predict("qa", {"question": "why"}, tenant=tenant)
            latencies_s.append(time.perf_counter() - began_s)

    await asyncio.gather(*(call_on(tenant_of(number)) for number in range(NORMAL_TENANTS)))
    return quantiles(latencies_s, n=100)[98] * 1000


@asynccontextmanager
async def _abuse(client: Client, tenant: str) -> AsyncGenerator[None, None]:
    """Somebody who has very many calls open all the time."""

    async def call_on() -> None:
        while True:
            await client.predict("qa", {"question": "why"}, lm="long", tenant=tenant)

    callers = [asyncio.ensure_future(call_on()) for _ in range(ABUSIVE_CALLS)]
    try:
        await _until(client, lambda info: info["waiting"] > ABUSIVE_CALLS // 2)
        yield
    finally:
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        await _until(client, lambda info: info["waiting"] == 0)


MOST_WORKERS = 4


async def scale() -> Figures:
    """From no worker to the first answer, and to as many as there may be under a burst."""
    first, burst = list[float](), list[float]()
    lms = {"default": {"model": "sim/slow", "options": {"latency_ms": 200}}}
    flags = ("--workers", str(MOST_WORKERS), "--min-workers", "0", "--calls-per-worker", "8")
    for _ in range(5):
        async with Client.start(lms=lms, flags=flags) as client:
            await asyncio.sleep(2.0)  # the zygote has imported DSPy
            began_s = time.perf_counter()
            await client.call("system.echo", None)
            first.append(time.perf_counter() - began_s)
            began_s = time.perf_counter()
            spec = {"spec": SPEC, "inputs": {"question": "why"}}
            calls = [asyncio.ensure_future(client.call("program.predict", spec)) for _ in range(256)]
            await _until(client, lambda info: info["scale"]["ready"] == MOST_WORKERS)
            burst.append(time.perf_counter() - began_s)
            await asyncio.gather(*calls)
    return {
        "first_answer_ms": median(first) * 1000,
        "first_answer_max_ms": max(first) * 1000,
        "all_workers_ms": median(burst) * 1000,
    }


CASES: dict[str, Callable[[], Awaitable[Figures]]] = {
    "recycle": recycle,
    "fairness": fairness,
    "scale": scale,
}
