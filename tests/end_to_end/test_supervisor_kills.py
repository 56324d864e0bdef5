"""A supervisor that is killed while it writes: nothing acknowledged is lost, torn or done twice.

Writes that need no worker, as fast as they go, and a SIGKILL at a random moment; the next server
gets those again of which nobody knows. `DSPEX_TEST_SUPERVISOR_WRITE_KILLS=2000` is twelve minutes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from tests.support.servers import count, info, serving

from dspex_pool.client import Client
from dspex_protocol import DSPexError

pytestmark = pytest.mark.slow

KILLS = count("supervisor_write_kills", 4)
WRITERS = 8
NO_WORKERS = ("--zygote", "false", "--workers", "1", "--min-workers", "0")
SPEC = {"module": "Predict", "signature": "question -> answer"}


class Writing:
    """What was written in all lives of the server.

    Attributes:
        acknowledged: Version by write.
        unknown: Writes of which nobody knows whether they have happened.
    """

    def __init__(self) -> None:
        self.acknowledged: dict[str, int] = {}
        self.unknown: list[str] = []
        self.resolved = 0
        self._last = 0

    async def write_on(self, client: Client) -> None:
        """Write until the server is gone."""
        while True:
            self._last += 1
            await self.write(client, f"write {self._last}")

    async def write(self, client: Client, write: str) -> None:
        """Bring version 1 back, with a note that no other write has."""
        try:
            made = await client.call(
                "program.rollback", {"note": write}, program="p", version=1, write_id=write
            )
        except DSPexError:
            self.unknown.append(write)
            raise
        self.acknowledged[write] = cast("dict[str, int]", made)["version"]

    async def resolve(self, client: Client) -> None:
        """Write again what may have happened."""
        unknown, self.unknown = self.unknown, []
        for write in unknown:
            await self.write(client, write)
            self.resolved += 1


async def live_and_die(environment: dict[str, str], writing: Writing, random: Random) -> None:
    """One server: what was unknown is settled, then it writes until it is killed."""
    with suppress(DSPexError):
        async with serving(*NO_WORKERS, environment=environment) as client:
            pid = (await info(client))["pid"]
            await writing.resolve(client)
            writers = [asyncio.ensure_future(writing.write_on(client)) for _ in range(WRITERS)]
            await asyncio.sleep(random.uniform(0, 0.08))
            os.kill(pid, signal.SIGKILL)
            await asyncio.gather(*writers, return_exceptions=True)
            raise DSPexError("connection_lost", "it was killed")


async def test_what_was_acknowledged_is_there_once(tmp_path: Path) -> None:
    """After every kill; and what nobody knew of has happened once when it was written again."""
    environment = {"DSPEX_STORE": f"sqlite:{tmp_path}/state.db"}
    async with serving(environment=environment) as client:
        await client.call("program.create", {"spec": SPEC}, program="p")
    writing, random = Writing(), Random(5)
    for _ in range(KILLS):
        await live_and_die(environment, writing, random)
    async with serving(*NO_WORKERS, environment=environment) as client:
        await writing.resolve(client)
        stored = await versions_of(client)
    notes = Counter(row["lineage"]["note"] for row in stored)
    by_note = {row["lineage"]["note"]: row["version"] for row in stored}
    assert {} == {note: times for note, times in notes.items() if times > 1}
    assert writing.acknowledged == {note: by_note.get(note) for note in writing.acknowledged}
    assert list(range(len(stored), 0, -1)) == [row["version"] for row in stored]
    assert len(writing.acknowledged) > KILLS
    assert ("ok",) == sqlite3.connect(tmp_path / "state.db").execute("PRAGMA quick_check").fetchone()


async def versions_of(client: Client) -> list[dict[str, Any]]:
    """All of them, the newest first."""
    rows: list[dict[str, Any]] = []
    before: dict[str, object] = {}
    while True:
        page = cast(
            "dict[str, Any]", await client.call("program.versions", {"limit": 1000, **before}, program="p")
        )
        rows += page["versions"]
        if page["next"] is None:
            return rows
        before = {"before": page["next"]}
