"""A server that runs, seen and steered from the shell: `dspex top`, `ps`, `recycle` and `drain`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.servers import PREDICT, has_ready, outcome_code, wait_for, worker_pids
from tests.support.sharing import Shared, sharing
from tests.support.terminal import in_terminal

from dspex_pool.cli.exits import CALL_FAILED, INTERRUPTED, NO_SERVER, NOBODY_READS, OK
from dspex_pool.client import Client

pytestmark = pytest.mark.slow

EVIL = "\x1b[2J\x1b]0;owned\x07"
SHOWN = b"\\x1b[2J\\x1b]0;"
LEAVE_SCREEN = b"\x1b[?1049l"
CLEAR = b"\x1b[2J"
ANSWER = "[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a socket may be."""
    return tmp_path / "pool"


@contextlib.asynccontextmanager
async def two_workers(path: Path) -> AsyncGenerator[Shared]:
    """A server with two workers, both ready."""
    async with sharing(path, "--workers", "2") as shared:
        async with Client.connect(shared.address) as client:
            await wait_for(client, has_ready(2))
        yield shared


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


async def start(shared: Shared, *words: str) -> asyncio.subprocess.Process:
    """Start a command."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dspex_pool", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(shared),
    )


async def dspex(shared: Shared, *words: str) -> Done:
    """Run a command to its end."""
    return await end_of(await start(shared, *words))


async def end_of(process: asyncio.subprocess.Process) -> Done:
    """What a command has said, when it has ended."""
    out, err = await process.communicate()
    assert process.returncode is not None
    return Done(code=process.returncode, out=out.decode(), err=err.decode())


def environment(shared: Shared) -> dict[str, str]:
    return {**os.environ, "DSPEX_CONNECT": shared.address}


class Waiting:
    """A host's model that says when it was asked, and answers when it is let."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def answer(self, model: str, messages: object, config: object) -> str:
        self.asked.set()
        await self.may_answer.wait()
        return ANSWER

    def client(self, shared: Shared) -> Any:
        """A client whose model this is."""
        lms = {"waiting": {"model": "host/answer"}}
        return Client.connect(shared.address, functions={"answer": self.answer}, lms=lms)


def ask(client: Client, **meta: Any) -> asyncio.Task[dict[str, object]]:
    """A prediction by the model that waits."""
    return asyncio.ensure_future(client.predict(PREDICT, {"question": "?"}, lm="waiting", **meta))


# Once


async def test_ps_lists_the_workers(path: Path) -> None:
    """As text and as JSON, with the pids that the server tells."""
    async with two_workers(path) as shared:
        async with Client.connect(shared.address) as client:
            pids = await worker_pids(client)
        lines = (await dspex(shared, "ps")).out.splitlines()
        assert pids == {int(line.split()[2]) for line in lines[1:]}
        listed = json.loads((await dspex(shared, "ps", "--json")).out)
        assert pids == {worker["pid"] for worker in listed}


async def test_top_shows_what_runs(path: Path) -> None:
    """Its tenant by a name that cannot steer the terminal."""
    async with two_workers(path) as shared:
        waiting = Waiting()
        async with waiting.client(shared) as client:
            prediction = ask(client, tenant=EVIL)
            await waiting.asked.wait()
            text = await dspex(shared, "top", "--once")
            told = json.loads((await dspex(shared, "top", "--once", "--json")).out)
            waiting.may_answer.set()
            await prediction
        assert all(line.isprintable() for line in text.out.splitlines())
        assert SHOWN.decode() in text.out
        assert (OK, "") == (text.code, text.err)
        assert [EVIL] == [tenant["tenant"] for tenant in told["tenants"] if tenant["running"] == 1]
        assert 1 == told["lanes"]["interactive"]["running"]


# Steering


async def test_recycle_replaces_the_workers_under_calls(path: Path) -> None:
    """One has a call: it is waited for, and the call has its answer."""
    async with two_workers(path) as shared:
        waiting = Waiting()
        async with waiting.client(shared) as client:
            before = await worker_pids(client)
            prediction = ask(client)
            await waiting.asked.wait()
            recycling = asyncio.ensure_future(dspex(shared, "recycle", "--all", "--wait"))
            await wait_for(client, lambda seen: any(one["state"] == "draining" for one in seen["workers"]))
            waiting.may_answer.set()
            assert {"answer": "yes"} == await prediction
            done = await recycling
            assert set() == before & await worker_pids(client)
        assert (OK, "") == (done.code, done.err)
        assert 2 == done.out.count("has gone")


async def test_an_unknown_worker_is_not_recycled(path: Path) -> None:
    """The server says which there are."""
    async with two_workers(path) as shared:
        done = await dspex(shared, "recycle", "99")
        assert CALL_FAILED == done.code
        assert "worker: expected the number of a worker that serves" in done.err


async def test_drain_lets_calls_end(path: Path) -> None:
    """Then the server ends, with exit code 0, and the command says so."""
    async with two_workers(path) as shared:
        waiting = Waiting()
        async with waiting.client(shared) as client:
            prediction = ask(client)
            await waiting.asked.wait()
            draining = asyncio.ensure_future(dspex(shared, "drain"))
            while "draining" != await outcome_code(client, "system.ping"):
                await asyncio.sleep(0.01)
            assert not draining.done()
            waiting.may_answer.set()
            assert {"answer": "yes"} == await prediction
        done = await draining
        assert (OK, "") == (done.code, done.err)
        assert done.out.startswith("draining: 1 open call\ndrained in ")
        assert 0 == await shared.process.wait()
        assert NO_SERVER == (await dspex(shared, "ps")).code


async def test_drain_of_an_idle_server_is_answered(path: Path) -> None:
    """The answer comes before the end."""
    async with two_workers(path) as shared:
        done = await dspex(shared, "drain", "--json")
        assert (OK, "") == (done.code, done.err)
        assert json.loads(done.out)["drained"]
        assert 0 == await shared.process.wait()


# Without a terminal, and in one


async def test_top_ends_when_nobody_reads(path: Path) -> None:
    """Which is no fault of the server's."""
    async with two_workers(path) as shared:
        reader, writer = os.pipe()
        os.close(reader)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dspex_pool", "top", "--json"),
            stdout=writer,
            stderr=asyncio.subprocess.PIPE,
            env=environment(shared),
        )
        os.close(writer)
        assert (b"", NOBODY_READS) == ((await process.communicate())[1], process.returncode)


async def test_top_draws_in_place_and_quits_by_q(path: Path) -> None:
    """Nothing is cleared in between, and the terminal is as it was before."""
    words = ("top", "--interval-s", "0.1")
    async with two_workers(path) as shared, in_terminal(*words, environment=environment(shared)) as terminal:
        at = 0
        for _ in range(3):
            at = await terminal.see(b"troubles", at)
        assert terminal.modes_before != terminal.modes
        terminal.press(b"q")
        assert OK == await terminal.process.wait()
        await terminal.see(LEAVE_SCREEN)
        assert terminal.modes_before == terminal.modes
        assert CLEAR not in terminal.seen[:at]


async def test_top_follows_the_size_of_its_terminal(path: Path) -> None:
    """At once, and not with the next snapshot; Ctrl-C leaves a terminal as it was, too."""
    words = ("top", "--interval-s", "3600")
    async with two_workers(path) as shared, in_terminal(*words, environment=environment(shared)) as terminal:
        at = await terminal.see(b"troubles")
        assert b"client-" not in terminal.seen
        terminal.resize(130, 40)
        await terminal.see(b"client-", at)
        terminal.press(b"\x03")
        assert INTERRUPTED == await terminal.process.wait()
        await terminal.see(LEAVE_SCREEN)
        assert terminal.modes_before == terminal.modes


async def test_top_says_that_the_server_is_gone(path: Path) -> None:
    """On the terminal as it was before, with an exit code of its own."""
    async with two_workers(path) as shared, in_terminal("top", environment=environment(shared)) as terminal:
        await terminal.see(b"troubles")
        await shared.end()
        assert NO_SERVER == await terminal.process.wait()
        await terminal.see(b"dspex top: the server hung up: draining: ")
        assert LEAVE_SCREEN in terminal.seen[: terminal.seen.index(b"the server hung up")]


async def test_top_in_a_pipe_writes_pages_of_text(path: Path) -> None:
    """Until its server is gone."""
    async with two_workers(path) as shared:
        process = await start(shared, "top", "--interval-s", "0.1")
        assert process.stdout is not None
        first = await process.stdout.readuntil(b"\nerrors ")
        await process.stdout.readuntil(b"\nerrors ")
        await shared.end()
        done = await end_of(process)
        assert NO_SERVER == done.code
        assert done.err.startswith("dspex top: the server hung up: draining: ")
        assert all(line.isprintable() for line in (first.decode() + done.out).splitlines())
