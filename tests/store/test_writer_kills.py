"""A writer of a SQLite store is killed at random moments: nothing lost, torn or made twice.

`DSPEX_TEST_WRITER_KILLS=2000` looks further; the figures are printed with `pytest -s`.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.servers import SUPPORT, count
from tests.support.store_writer import TASKS, changes_of

from dspex_pool.store import Conflict, Put
from dspex_pool.store.sqlite import SqliteStore

KILLS_PER_FILE = 50
"""Then a new one: files are made under fire too, and a check of all of it stays short."""

MOST_S = 0.01
"""A writer lives this long at most, counted from its fork or from when it has opened the file.

Longer, step by step, where a busy machine lets most of them write nothing in that time.
"""

WRITING = 0.7
"""The part of the writers that is killed while writing; the others may still be opening."""


class Killer:
    """The process that forks writers and kills them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(SUPPORT / "store_writer.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def kill_one(self, path: Path, round_: int, moments: random.Random, most_s: float) -> Counter[int]:
        """How many writes of each task of a writer were acknowledged before it was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {
            "path": str(path),
            "round": round_,
            "is_open": moments.random() < WRITING,
            "after_s": moments.random() * most_s,
            "checkpoint_bytes": moments.choice((64 * 1024, 4 * 1024 * 1024)),
        }
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        acknowledged: Counter[int] = Counter()
        while (line := self._process.stdout.readline()) != b"gone\n":
            task, number = map(int, line.split())
            assert acknowledged[task] == number
            acknowledged[task] += 1
        return acknowledged

    def close(self) -> None:
        self._process.communicate(timeout=30.0)
        assert 0 == self._process.returncode


@pytest.fixture
def killer() -> Iterator[Killer]:
    one = Killer()
    yield one
    one.close()


def written(path: Path, round_: int) -> dict[int, int]:
    """How many writes of each task are there. Each is whole, and there once."""
    with closing(sqlite3.connect(path)) as connection:
        assert [("ok",)] == connection.execute("PRAGMA quick_check").fetchall()
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            return dict.fromkeys(range(TASKS), 0)
        logs = {
            task: connection.execute(
                "SELECT number, body FROM entries WHERE journal = ? ORDER BY number",
                (f"log/{round_}/{task}",),
            ).fetchall()
            for task in range(TASKS)
        }
        records = {
            (collection, id_): (revision, body)
            for collection, id_, revision, body in connection.execute(
                "SELECT collection, id, revision, body FROM records WHERE id BETWEEN ? AND ?",
                (f"{round_}/", f"{round_}0"),
            )
        }
    expected: dict[tuple[str, str], tuple[int, bytes]] = {}
    for task, log in logs.items():
        ids = [f"{round_}/{task}/{number}" for number in range(len(log))]
        assert [(number, id_.encode()) for number, id_ in enumerate(ids, 1)] == log
        for number in range(len(log)):
            puts = [change for change in changes_of(round_, task, number) if isinstance(change, Put)]
            expected.update({(change.key.collection, change.key.id): (1, change.body) for change in puts})
    assert expected == records
    return {task: len(log) for task, log in logs.items()}


async def retry_unknown(path: Path, round_: int, acknowledged: Counter[int], there: dict[int, int]) -> int:
    """Make the writes again of which nobody knows; how many had been made."""
    store = SqliteStore(path, timeout_s=60.0)
    await store.open()
    made = 0
    for task in range(TASKS):
        try:
            await store.commit(changes_of(round_, task, acknowledged[task]))
        except Conflict as conflict:
            assert "write" == conflict.key[0]
            assert there[task] == acknowledged[task] + 1
            made += 1
        else:
            assert there[task] == acknowledged[task]
    await store.close()
    return made


@pytest.mark.slow
def test_nothing_is_lost_torn_or_made_twice(killer: Killer, tmp_path: Path) -> None:
    """Whatever was acknowledged is there, each write is whole, and a repeat of one is made once."""
    kills, moments = count("writer_kills", 20), random.Random(7)
    acknowledged = made_unknown = 0
    begin_s, most_s = time.monotonic(), MOST_S
    for round_ in range(kills):
        path = tmp_path / str(round_ // KILLS_PER_FILE) / "state.db"
        most_s *= 1.0 if acknowledged >= 2 * round_ else 1.2
        told = killer.kill_one(path, round_, moments, most_s)
        if not path.exists():
            assert 0 == told.total()
            continue
        there = written(path, round_)
        assert {} == {
            task: (told[task], found)
            for task, found in there.items()
            if found not in {told[task], told[task] + 1}
        }
        made_unknown += asyncio.run(retry_unknown(path, round_, told, there))
        assert {task: told[task] + 1 for task in range(TASKS)} == written(path, round_)
        acknowledged += told.total()
    took_s = time.monotonic() - begin_s
    print(
        f"\n{kills} kills in {took_s:.1f} s: {acknowledged} writes acknowledged, 0 lost, 0 torn;"
        f" {made_unknown} made and not acknowledged, 0 of them made twice"
    )
    assert acknowledged > kills  # else they were all killed too early
