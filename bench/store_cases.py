"""The cases about what is stored: what a write costs, and a new version of a program in use."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import cast

from dspex_pool.client import Client
from dspex_pool.store import Key, Put, Store
from dspex_pool.store.sqlite import SqliteStore

from .cases import SIM, Figures, ratio

RECORD_BYTES = 20_000
WRITES = 400
TOGETHER = 16
CHAT = {"module": "Predict", "signature": "question, history: history -> answer"}
SPEC = {"module": "Predict", "signature": "question -> answer"}
DEMOS = [{"question": f"Question {n} " + "why " * 40, "answer": "Because " * 20} for n in range(4)]


async def stored_write() -> Figures:
    """A record of 20 kB, compared and swapped in a file of SQLite: one after another, and sixteen at once."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, full in (("normal", False), ("full", True)):
            store = SqliteStore(Path(folder) / f"{name}.db", full=full)
            await store.open()
            taken_s = await _swap(store, "one", WRITES)
            began_s = perf_counter()
            await asyncio.gather(*(_swap(store, f"of {n}", WRITES // 4) for n in range(TOGETHER)))
            per_s = TOGETHER * (WRITES // 4) / (perf_counter() - began_s)
            await store.close()
            figures[f"{name}_p50_ms"] = median(taken_s) * 1000
            figures[f"{name}_p99_ms"] = quantiles(taken_s, n=100)[98] * 1000
            figures[f"{name}_{TOGETHER}_at_once_per_s"] = per_s
    return figures


async def _swap(store: Store, name: str, count: int) -> list[float]:
    """Write one record again and again, each time from the revision before; seconds of each."""
    key, revision, taken_s = Key("bench", name), 0, list[float]()
    for _ in range(count):
        began_s = perf_counter()
        (revision,) = await store.commit([Put(key=key, body=os.urandom(RECORD_BYTES), expect=revision)])
        taken_s.append(perf_counter() - began_s)
    return taken_s


async def new_version() -> Figures:
    """A program with demos is updated; then the first prediction on it, against later ones, in turn."""
    updates, firsts, laters = list[float](), list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        flags = ("--workers", "1", "--store", f"sqlite:{folder}/state.db")
        async with Client.start(lms=SIM, flags=flags) as client:
            await client.call("program.create", {"spec": SPEC}, program="qa")
            for number in range(100):
                state = {"self": {"instructions": f"Version {number}.", "demos": DEMOS}}
                updates.append(await _timed(client.call("program.update", {"state": state}, program="qa")))
                firsts.append(await _timed(client.predict("qa", {"question": "why"})))
                laters.append(await _timed(client.predict("qa", {"question": "why"})))
    return {
        "update_p50_ms": median(updates) * 1000,
        "first_on_it_p50_ms": median(firsts) * 1000,
        "later_p50_ms": median(laters) * 1000,
        "switch_p50_ms": median(first - later for first, later in zip(firsts, laters, strict=True)) * 1000,
    }


async def _timed(work: Awaitable[object]) -> float:
    began_s = perf_counter()
    await work
    return perf_counter() - began_s


async def turns() -> Figures:
    """Turns of a session, each stored before it is answered, against the same predictions without one."""
    in_session, without = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        flags = ("--workers", "1", "--store", f"sqlite:{folder}/state.db")
        async with Client.start(lms=SIM, flags=flags) as client:
            await client.call("program.create", {"spec": CHAT}, program="chat")
            for _ in range(20):
                opened = cast("dict[str, str]", await client.call("session.open", {}, program="chat"))
                for _ in range(5):
                    turn = client.predict(None, {"question": "why"}, session=opened["session"])
                    in_session.append(await _timed(turn))
                    without.append(await _timed(client.predict(SPEC, {"question": "why"})))
    return {
        "turn_p50_ms": median(in_session) * 1000,
        "without_p50_ms": median(without) * 1000,
        "ratio": ratio(in_session, without),
    }


CASES: dict[str, Callable[[], Awaitable[Figures]]] = {
    "stored_write": stored_write,
    "new_version": new_version,
    "turns": turns,
}
