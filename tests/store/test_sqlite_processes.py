"""Several processes with one file: nothing is lost between them, and nobody hears of locks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import IO, cast

import pytest
from tests.support.servers import SUPPORT, count
from tests.support.stores import append, body_of, comes_back, outcome, put, using

from dspex_pool.store import Fence, Fenced, Held, Key
from dspex_pool.store.sqlite import SqliteStore


class Incrementers:
    """Processes that add to one number."""

    def __init__(self, path: Path, processes: int, times: int) -> None:
        command = [sys.executable, str(SUPPORT / "store_incrementer.py"), str(path), str(times)]
        self.all = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]

    def start(self) -> None:
        """At the same moment, as near as may be."""
        for one in self.all:
            assert "ready\n" == cast("IO[str]", one.stdout).readline()
        for one in self.all:
            stdin = cast("IO[str]", one.stdin)
            stdin.write("\n")
            stdin.flush()

    def results(self) -> list[dict[str, float]]:
        return [json.loads(one.communicate(timeout=120.0)[0]) for one in self.all]


@contextlib.contextmanager
def incrementers(path: Path, processes: int, times: int) -> Generator[Incrementers]:
    """Some, which are gone afterwards."""
    them = Incrementers(path, processes, times)
    try:
        yield them
    finally:
        for one in them.all:
            one.kill()
            one.communicate()


@pytest.mark.slow
async def test_processes_share_a_file(tmp_path: Path) -> None:
    """They make it at the same moment, and every one of their increments counts."""
    path = tmp_path / "made" / "state.db"
    processes, times = 8, count("store_increments", 50)
    with incrementers(path, processes, times) as them:
        them.start()
        results = await asyncio.to_thread(them.results)
    async with using(SqliteStore(path, timeout_s=30.0)) as store:
        (record,) = await store.get([Key("number", "n")])
        assert record is not None
        assert (b"%d" % (processes * times), processes * times) == (record.body, record.revision)
    print(f"\nslowest of {processes} x {times}: {max(one['slowest_s'] for one in results):.3f} s")


async def test_a_file_is_made_once(tmp_path: Path) -> None:
    """Whoever comes while it is being made waits for it, and takes it for nobody else's."""
    for round_ in range(20):
        stores = [SqliteStore(tmp_path / str(round_) / "state.db", timeout_s=30.0) for _ in range(8)]
        await asyncio.gather(*(store.open() for store in stores))
        numbers = await asyncio.gather(*(store.commit([append()]) for store in stores))
        assert [[number] for number in range(1, 9)] == sorted(numbers)
        await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.slow
async def test_a_process_that_is_killed_in_between(tmp_path: Path) -> None:
    """It leaves no lock behind; the others go on."""
    path = tmp_path / "state.db"
    with incrementers(path, 3, 400) as them:
        them.start()
        async with using(SqliteStore(path, timeout_s=30.0)) as store:

            async def halfway() -> None:
                (record,) = await store.get([Key("number", "n")])
                assert record is not None
                while int(record.body) < 200:
                    (record,) = await store.get([Key("number", "n")])
                    assert record is not None

            await comes_back(lambda: _appears(store))
            await halfway()
            them.all[0].send_signal(signal.SIGKILL)
            killed = them.all.pop(0)
            killed.communicate()
            await asyncio.to_thread(them.results)
            (record,) = await store.get([Key("number", "n")])
            assert record is not None
            assert 800 <= int(record.body) == record.revision <= 1200
            assert [1] == await store.commit([put()])


async def _appears(store: SqliteStore) -> None:
    while (await store.get([Key("number", "n")])) == [None]:
        await asyncio.sleep(0.001)


async def test_leases_hold_between_stores(tmp_path: Path) -> None:
    """They are in the file, and so are their times."""
    one, two = (SqliteStore(tmp_path / "state.db", timeout_s=30.0) for _ in range(2))
    async with using(one), using(two):
        lease = await one.lease("s", "one", 60.0)
        assert Held is await outcome(two.lease("s", "two", 60.0))
        await one.release(lease)
        await two.lease("s", "two", 60.0)
        assert Fenced is await outcome(one.commit([put()], [Fence("s", lease.epoch)]))
        assert None is await body_of(two)
