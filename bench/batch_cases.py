"""The case about batches: the rows of one `batch.run`, against as many predictions under way at once."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from statistics import median

from dspex_pool.client import Client

from .cases import SIM, SPEC, Figures, question, ratio
from .load import Load

ROWS = 4000
PARALLELISM = 64
ROUNDS = 5


async def batch() -> Figures:
    """The same rows both ways in turn, on one server: what the supervisor's part of the work costs."""
    rows = [{"question": f"why {number}"} for number in range(ROWS)]
    together, apart, streamed = list[float](), list[float](), list[float]()
    async with Client.start(lms=SIM, flags=("--workers", "2", "--log-level", "error")) as client:
        await client.call("program.create", {"spec": SPEC}, program="qa")
        payload = {"inputs": rows, "parallelism": PARALLELISM}
        await client.call("batch.run", payload, program="qa")
        for _ in range(ROUNDS):
            began_s = time.perf_counter()
            await client.call("batch.run", payload, program="qa")
            together.append(ROWS / (time.perf_counter() - began_s))
            began_s = time.perf_counter()
            stream = client.stream_call("batch.run", payload, program="qa", credit=PARALLELISM)
            async for _row in stream:
                pass
            await stream.result()
            streamed.append(ROWS / (time.perf_counter() - began_s))
            load = Load(client, "program.predict", {"program": "qa"}, question, ROWS, PARALLELISM)
            await load.run()
            apart.append(ROWS / load.elapsed_s)
    return {
        "rows_per_s": median(together),
        "streamed_rows_per_s": median(streamed),
        "predictions_per_s": median(apart),
        "ratio": ratio(together, apart),
        "streamed_ratio": ratio(streamed, apart),
    }


CASES: dict[str, Callable[[], Awaitable[Figures]]] = {"batch": batch}
