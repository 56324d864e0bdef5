"""P5, what was stored stays: it is found when something acknowledged is lost, or is made twice.

Workers are killed, and the server itself, over a store in a file. `DSPEX_TEST_SERVER_KILLS=1000` looks
further, some eight minutes with `-o faulthandler_timeout=0`; the figures are printed with `pytest -s`.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from itertools import count as numbers
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.servers import (
    PREDICT,
    count,
    has_ready,
    info,
    outcome_code,
    serving,
    wait_for,
    worker_pids,
)
from tests.support.state_load import store_versions, versions_by_note

from dspex_pool.client import Client
from dspex_pool.library import Library
from dspex_pool.store.sqlite import SqliteStore
from dspex_protocol import DSPexError

from .planting import planted

PROGRAMS = 40
TASKS = 8
MOST_S = 0.15
"""A server that is asked to write lives this long at most: some hundred writes."""
KILLS_PER_FILE = 50
"""Then a new one, so that looking through it stays short."""
WITHOUT_WORKERS = ("--workers", "1", "--min-workers", "0")

FORGETS_SOME = """
    from dspex_pool.store.sqlite import SqliteStore
    commit = SqliteStore.commit
    async def forgetful(self, changes, fences=()):
        if any(b"7." in getattr(change, "body", b"") for change in changes):
            return [(change.expect or 0) + 1 for change in changes]
        return await commit(self, changes, fences)
    SqliteStore.commit = forgetful
"""
KNOWS_NO_WRITE = """
    import secrets
    from dspex_pool.library import writer
    remember = writer.remember
    def misplace(write, operation, answer):
        return remember(write._replace(id=secrets.token_hex(8)), operation, answer)
    writer.remember = misplace
"""


def environment_of(path: Path) -> dict[str, str]:
    return {"DSPEX_STORE": f"sqlite:{path}"}


async def kill(client: Client) -> None:
    """SIGKILL for the server that a client is at."""
    os.kill((await info(client))["pid"], signal.SIGKILL)


# Workers die


async def create(client: Client, program: str) -> str | None:
    """Its id, when storing it was acknowledged. A worker that dies meanwhile may leave it unsaid."""
    code = await outcome_code(client, "program.create", {"spec": PREDICT}, program=program)
    return program if code == "ok" else None


async def lost_under_kills(path: Path) -> list[str]:
    """Which acknowledged programs are not there after all workers were killed, again and again."""
    stored: list[str] = []
    async with serving(environment=environment_of(path)) as client:
        await wait_for(client, has_ready(2))
        for begin in range(0, PROGRAMS, 10):
            creating = [asyncio.ensure_future(create(client, f"p{n}.")) for n in range(begin, begin + 10)]
            for worker in await worker_pids(client):
                with suppress(ProcessLookupError):  # it may just have ended with the last kill
                    os.kill(worker, signal.SIGKILL)
            stored += [one for one in await asyncio.gather(*creating) if one is not None]
            await wait_for(client, has_ready(2))
        assert len(stored) > PROGRAMS / 4
        await kill(client)
    async with serving(*WITHOUT_WORKERS, environment=environment_of(path)) as client:
        codes = [await outcome_code(client, "program.get", {}, program=one) for one in stored]
    return [one for one, code in zip(stored, codes, strict=True) if code != "ok"]


@pytest.mark.slow
async def test_the_death_of_workers_loses_nothing(tmp_path: Path) -> None:
    """Nor does that of their server."""
    assert [] == await lost_under_kills(tmp_path / "state.db")


# The server dies


class Book:
    """What was written, as those know who wrote it: each task writes versions of a program of its own.

    Attributes:
        told: Note of each version that was acknowledged to its number, by program.
        unknown: Writes that had no answer: program and note.
        wrong: Answers to a repeated write that were not the first one's.
    """

    def __init__(self, seed: int) -> None:
        self.told: dict[str, dict[str, int]] = {f"p{task}": {} for task in range(TASKS)}
        self.unknown: list[tuple[str, str]] = []
        self.made_unknown = 0
        self.wrong: list[tuple[str, int, int]] = []
        self._moments = random.Random(seed)
        self._notes = numbers()
        self._kills = self._acknowledged = 0

    async def write_until_killed(self, client: Client) -> None:
        writers = [asyncio.ensure_future(self._write_on(client, program)) for program in self.told]
        await asyncio.sleep(self._moments.random() * MOST_S)
        self._kills += 1
        while self._acknowledged <= 2 * self._kills * TASKS:  # on a machine that is busy with other things
            await asyncio.sleep(0.01)
        await kill(client)
        await asyncio.gather(*writers)

    async def _write_on(self, client: Client, program: str) -> None:
        while True:
            note = f"{next(self._notes)}."
            try:
                self.told[program][note] = await write(client, program, note)
                self._acknowledged += 1
            except DSPexError as failure:
                assert "connection_lost" == failure.code
                self.unknown.append((program, note))
                return

    async def ask_again(self, client: Client) -> None:
        """Make each write again of which nobody knows, and some of which one does."""
        for program, note in self.unknown:
            self.made_unknown += note in await newest_notes(client, program)
            self.told[program][note] = await write(client, program, note)
        self.unknown.clear()
        for program, told in self.told.items():
            for note in list(told)[-3:]:
                again = await write(client, program, note)
                if again != told[note]:
                    self.wrong.append((note, told[note], again))

    async def check(self, client: Client) -> tuple[list[str], list[str]]:
        """What was lost of what was acknowledged, and what was made twice."""
        lost: list[str] = []
        twice = [note for note, _, _ in self.wrong]
        for program, told in self.told.items():
            made = await versions_by_note(client, program)
            lost += [note for note, version in told.items() if version not in made.get(note, [])]
            twice += [note for note, versions in made.items() if len(versions) > 1]
        return lost, twice


async def newest_notes(client: Client, program: str) -> list[str]:
    """Of the newest version, where an unknown write would be."""
    page = cast("dict[str, Any]", await client.call("program.versions", {"limit": 1}, program=program))
    return [row["lineage"]["note"] for row in page["versions"]]


async def write(client: Client, program: str, note: str) -> int:
    """A new version, which no worker is needed for; its number."""
    made = await client.call("program.rollback", {"note": note}, program=program, version=1, write_id=note)
    return cast("dict[str, int]", made)["version"]


async def found_after_kills(folder: Path, kills: int, environment: dict[str, str]) -> Counter[str]:
    """How many writes were lost and how many made twice, when so many servers were killed."""
    found, began_s = Counter(acknowledged=0, unknown=0, lost=0, twice=0), time.monotonic()
    for begin in range(0, kills, KILLS_PER_FILE):
        path = folder / str(begin) / "state.db"
        found += await found_in_file(path, min(KILLS_PER_FILE, kills - begin), begin, environment)
    print(
        f"\n{kills} servers killed in {time.monotonic() - began_s:.1f} s: {found['acknowledged']} writes"
        f" acknowledged, {found['lost']} lost; {found['unknown']} made and not acknowledged;"
        f" {found['twice']} twice"
    )
    assert found["acknowledged"] > kills * TASKS
    return found


async def found_in_file(path: Path, kills: int, seed: int, environment: dict[str, str]) -> Counter[str]:
    book = Book(seed)
    await store_versions(path, **dict.fromkeys(book.told, 1))
    whole = environment_of(path) | environment
    for _ in range(kills):
        async with serving(*WITHOUT_WORKERS, environment=whole) as client:
            await book.ask_again(client)
            await book.write_until_killed(client)
    async with serving(*WITHOUT_WORKERS, environment=whole) as client:
        await book.ask_again(client)
        lost, twice = await book.check(client)
    assert [] == await findings(path)
    acknowledged = sum(map(len, book.told.values()))
    return Counter(acknowledged=acknowledged, unknown=book.made_unknown, lost=len(lost), twice=len(twice))


async def findings(path: Path) -> list[object]:
    """What is torn."""
    store = SqliteStore(path, timeout_s=60.0)
    await store.open()
    library = Library(store, clock=time.monotonic, wall_ms=lambda: 0, new_id=str)
    report = await library.verify()
    await store.close()
    return list(report.findings)


@pytest.mark.slow
async def test_the_death_of_servers_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    """Each write is there once, whether it was answered or is asked for again; and none is torn."""
    found = await found_after_kills(tmp_path, count("server_kills", 4), {})
    assert (0, 0) == (found["lost"], found["twice"])


# Planted


@pytest.mark.slow
async def test_a_store_that_forgets_is_found(tmp_path: Path) -> None:
    """Some commits are acknowledged and not made."""
    plant = planted(tmp_path, "serve", FORGETS_SOME)
    found = await found_after_kills(tmp_path, 2, plant)
    assert found["lost"] > 0


@pytest.mark.slow
async def test_a_store_that_knows_no_write_again_is_found(tmp_path: Path) -> None:
    """What has an id already is made anew."""
    plant = planted(tmp_path, "serve", KNOWS_NO_WRITE)
    found = await found_after_kills(tmp_path, 2, plant)
    assert found["twice"] > 0
