"""The case about what is read of long evaluations: what that costs whoever else asks the server."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import quantiles
from time import perf_counter
from typing import Any, Final, cast

from dspex_pool.client import Client

from .cases import SPEC, Figures

ROWS: Final = 10_000
AT_ONCE: Final = 2_000
WHY: Final = "why " * 30
EXACT: Final = {"metric": "exact_match", "options": {"field": "answer"}}
F1: Final = {"metric": "token_f1", "options": {"field": "answer"}}


async def long_evaluations() -> Figures:
    """Two evaluations of 10,000 rows are read, compared and reported on, while another client pings."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/server"
        flags = ("--workers", "2", "--store", f"sqlite:{folder}/state.db", "--listen", f"stdio,{address}")
        lms: dict[str, object] = {"default": {"model": "sim/quick"}}
        async with Client.start(lms=lms, flags=(*flags, "--log-level", "error")) as client:
            await _prepare(client)
            both = {"evaluations": ["one", "other"]}
            works: dict[str, Callable[[], Awaitable[object]]] = {
                "nothing": lambda: asyncio.sleep(3),
                "html": lambda: _report(client, {"evaluation": "one", "format": "html"}),
                "csv": lambda: _report(client, {"evaluation": "one", "format": "csv"}),
                "comparison_html": lambda: _report(client, {"comparison": both, "format": "html"}),
                "compare": lambda: _again(client, "evaluation.compare", both),
                "failures": lambda: _again(client, "evaluation.failures", {"evaluation": "one"}),
                "paging": lambda: _page(client),
            }
            for name, work in works.items():
                async with _pings(address) as pings:
                    began_s = perf_counter()
                    await work()
                    figures[f"{name}_s"] = perf_counter() - began_s
                figures[f"{name}_ping_p99_ms"] = quantiles(pings, n=100)[98]
                figures[f"{name}_ping_max_ms"] = max(pings)
    return figures


async def _prepare(client: Client) -> None:
    await client.call("program.create", {"spec": SPEC}, program="qa")
    rows = [{"question": f"Question {n} {WHY}", "answer": f"Because {n}"} for n in range(ROWS)]
    for at in range(0, ROWS, AT_ONCE):
        some: dict[str, object] = {"dataset": "questions", "rows": rows[at : at + AT_ONCE]}
        if at:
            await client.call("dataset.append", some)
        else:
            await client.call("dataset.put", {**some, "input_keys": ["question"]})
    for evaluation in ("one", "other"):
        request = {
            "evaluation": evaluation,
            "dataset": {"dataset": "questions"},
            "metrics": {"exact": EXACT, "f1": F1},
        }
        await client.call("evaluation.run", request, program="qa", deadline_ms=600_000)


async def _report(client: Client, wish: dict[str, object]) -> None:
    stream = client.stream_call("report.make", wish, deadline_ms=300_000)
    async for _ in stream:
        pass
    await stream.result()


async def _again(client: Client, method: str, wish: object) -> None:
    """Five times: once is too soon over for a percentile."""
    for _ in range(5):
        await client.call(method, wish)


async def _page(client: Client) -> None:
    """All rows, a hundred at a time."""
    offset: int | None = 0
    while offset is not None:
        wish = {"evaluation": "one", "offset": offset, "limit": 100}
        offset = cast("dict[str, Any]", await client.call("evaluation.rows", wish, deadline_ms=60_000))[
            "next"
        ]


@asynccontextmanager
async def _pings(address: str) -> AsyncGenerator[list[float]]:
    """Pings as long as the body lasts; their milliseconds are there afterwards."""
    taken_ms: list[float] = []
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.pings",
        address,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdout.readline()
    yield taken_ms
    process.stdin.close()
    taken_ms += json.loads(await process.stdout.readline())
    await process.wait()


CASES = {"long_evaluations": long_evaluations}
