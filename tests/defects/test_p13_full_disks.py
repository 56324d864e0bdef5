"""P13, a disk that fills up: what was acknowledged without room, and room that is not used, are found."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final, cast

import pytest
from tests.support.servers import serving
from tests.support.small_disks import small_disk, use_up
from tests.support.state_load import BACK_S, store_versions, versions_by_note

from dspex_pool.client import Client
from dspex_protocol import DSPexError

from .planting import planted

TASKS: Final = 8
DISK_KIB: Final = 1536
WITHOUT_WORKERS: Final = ("--workers", "1", "--min-workers", "0")
NOTE: Final = "x" * 2000

ACKNOWLEDGES_ANYWAY: Final = """
    from dspex_pool.store import Full
    from dspex_pool.store.sqlite import SqliteStore
    commit = SqliteStore.commit
    full = []
    async def hopeful(self, changes, fences=()):
        try:
            return await commit(self, changes, fences)
        except Full:
            full.append(changes)
            if len(full) % 2:
                raise
            return [(getattr(change, "expect", 0) or 0) + 1 for change in changes]
    SqliteStore.commit = hopeful
"""
STAYS_FULL: Final = """
    from dspex_pool.store import Full
    from dspex_pool.store.sqlite import SqliteStore
    commit = SqliteStore.commit
    full = []
    async def resigned(self, changes, fences=()):
        if full:
            raise Full("it was full before")
        try:
            return await commit(self, changes, fences)
        except Full:
            full.append(True)
            raise
    SqliteStore.commit = resigned
"""


async def fill(client: Client, program: str, told: dict[str, int]) -> None:
    """Write versions until there is no room."""
    while True:
        note = f"{len(told)} {NOTE}"
        try:
            made = await client.call("program.rollback", {"note": note}, program=program, version=1)
        except DSPexError as failure:
            assert ("store_full", False, False) == (
                failure.code,
                failure.retryable,
                failure.maybe_executed,
            )
            return
        told[note] = cast("dict[str, int]", made)["version"]


async def is_all_there(client: Client, told: dict[str, dict[str, int]]) -> bool:
    """Whether what was acknowledged is there, and nothing else."""
    wanted = {
        program: {note: [version] for note, version in versions.items()} for program, versions in told.items()
    }
    return wanted == {program: await versions_by_note(client, program) for program in told}


async def found_on_a_full_disk(folder: Path, plant: dict[str, str]) -> list[str]:
    """What is wrong with a server whose disk fills up, and has room again."""
    told: dict[str, dict[str, int]] = {f"p{task}": {} for task in range(TASKS)}
    found: list[str] = []
    with small_disk(folder / "disk", DISK_KIB) as disk:
        await store_versions(disk / "state.db", **dict.fromkeys(told, 1))
        environment = {"DSPEX_STORE": f"sqlite:{disk}/state.db", **plant}
        ballast, rest = disk / "ballast", disk / "rest"
        ballast.write_bytes(bytes(256 * 1024))
        async with serving(*WITHOUT_WORKERS, environment=environment) as client:
            await asyncio.gather(*(fill(client, program, told[program]) for program in told))
            assert sum(map(len, told.values())) > TASKS
            use_up(rest)
            if not await is_all_there(client, told):
                found.append("lost on the full disk")
            rest.unlink()
            ballast.unlink()
            try:
                async with asyncio.timeout(BACK_S / 2 if plant else BACK_S):
                    told["p0"]["again"] = await again(client)
            except TimeoutError:
                found.append("room is not used")
        async with serving(*WITHOUT_WORKERS, environment=environment) as client:
            if not await is_all_there(client, told):
                found.append("lost afterwards")
    return found


async def again(client: Client) -> int:
    """A version more, as soon as there is room for it."""
    while True:
        try:
            made = await client.call("program.rollback", {"note": "again"}, program="p0", version=1)
        except DSPexError as failure:
            assert "store_full" == failure.code
            await asyncio.sleep(0.05)
        else:
            return cast("dict[str, int]", made)["version"]


@pytest.mark.slow
async def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """Reads go on, what was acknowledged is there, and room is used when it comes."""
    assert [] == await found_on_a_full_disk(tmp_path, {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "what"),
    [(ACKNOWLEDGES_ANYWAY, "lost on the full disk"), (STAYS_FULL, "room is not used")],
    ids=["acknowledges anyway", "stays full"],
)
async def test_a_store_that_is_not_told_of_it_is_found(tmp_path: Path, lines: str, what: str) -> None:
    """The planted defects."""
    assert what in await found_on_a_full_disk(tmp_path, planted(tmp_path, "serve", lines))
