"""Whoever is killed, host, supervisor or guardian: a second later no process is left."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.servers import (
    MISBEHAVE,
    SUPPORT,
    count,
    info,
    server_environment,
    serving,
    wait_for,
    worker_pids,
)
from tests.support.survivors import alive_after, describe, end_marked, marked, new_mark

from dspex_pool.client import Client
from dspex_protocol import CALL, DSPexError, encode, encode_value
from dspex_protocol.frame import HEADER_BYTES

HOST_KILLS = count("host_kills", 6)
BEAM_KILLS = count("beam_kills", 6)
SUPERVISOR_KILLS = count("supervisor_kills", 6)
GUARDIAN_KILLS = count("guardian_kills", 6)
AT_ONCE = 2
LEAVING_S = 1.0

# What a server is at when it loses its host. Most are killed while they still import; the first
# six are the least that a run should have, with each of the others in it.
WORK: list[list[str]] = [
    [],
    ["misbehave.spawn_detached", "misbehave.spin_in_c"],
    [],
    ["misbehave.spawn", "misbehave.loop", "misbehave.spin_in_c"],
    [],
    ["misbehave.spawn_detached", "misbehave.stop"],
    [],
    [],
    [],
    [],
]


@contextmanager
def started(arguments: list[str], mark: str) -> Generator[subprocess.Popen[bytes]]:
    """A host that has said `ready`; gone afterwards, and all of its server with it."""
    environment = os.environ | server_environment(mark)
    root = Path(__file__).parents[2]
    host = subprocess.Popen(
        arguments, env=environment, cwd=root, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert host.stdout is not None
    try:
        yield host
    finally:
        end_marked(mark)
        host.stdout.close()
        host.wait(10)


def wait_ready(host: subprocess.Popen[bytes]) -> None:
    """Read its one line; a host that ends instead has said so on stderr."""
    assert host.stdout is not None
    assert b"ready\n" == host.stdout.readline()


def python_host(work: list[str]) -> list[str]:
    """The command line of a host in Python."""
    return [sys.executable, "-m", "tests.support.host_program", *work]


def beam_host(work: list[str]) -> list[str]:
    """The command line of a host in Elixir."""
    elixir = shutil.which("elixir")
    assert elixir is not None, "Elixir is not installed"
    hello = {"protocol": "dspex", "versions": [1], "client": "beam_host/1"}
    answered = ["system.hello", *(method for method in work if "spawn" in method)]
    endless = [method for method in work if method not in answered]
    bodies = [
        encode(CALL, number, method, {}, encode_value(hello if number == 1 else {}))[HEADER_BYTES:].hex()
        for number, method in enumerate([*answered, *endless], 1)
    ]
    return [elixir, str(SUPPORT / "beam_host.exs"), sys.executable, str(len(answered)), *bodies]


def left_by(command: Callable[[list[str]], list[str]], numbers: range) -> list[str]:
    """Start a host for each number at once, SIGKILL each, and look what a second later is alive."""
    marks = [new_mark() for _ in numbers]
    left: list[str] = []
    with contextmanager(_all_started)([command(WORK[n % len(WORK)]) for n in numbers], marks) as hosts:
        for host, mark in zip(hosts, marks, strict=True):
            wait_ready(host)
            family = marked(mark)
            assert {host.pid} < set(family)
            host.kill()
            # By mark as well: a child that was born in the meantime is none that we know.
            left += [describe(pid) for pid in alive_after(LEAVING_S, family) or marked(mark)]
    return left


def _all_started(commands: list[list[str]], marks: list[str]) -> Generator[list[subprocess.Popen[bytes]]]:
    if not commands:
        yield []
        return
    with (
        started(commands[0], marks[0]) as host,
        contextmanager(_all_started)(commands[1:], marks[1:]) as others,
    ):
        yield [host, *others]


@pytest.mark.slow
def test_a_killed_python_host_leaves_nothing() -> None:
    """SIGKILL of a host, its server at rest, importing, stuck in C, or with daemons."""
    left = [
        left_by(python_host, range(n, min(n + AT_ONCE, HOST_KILLS))) for n in range(0, HOST_KILLS, AT_ONCE)
    ]
    assert [] == [one for some in left for one in some]


@pytest.mark.slow
def test_a_killed_beam_leaves_nothing() -> None:
    """The same with a BEAM and its Port."""
    left = [left_by(beam_host, range(n, min(n + AT_ONCE, BEAM_KILLS))) for n in range(0, BEAM_KILLS, AT_ONCE)]
    assert [] == [one for some in left for one in some]


async def guarded_server(
    mark: str, work: list[str], plugins: str = MISBEHAVE
) -> tuple[Client, asyncio.subprocess.Process]:
    """A server whose client does not wait for its end; its guardian."""
    server_in, our_out = os.pipe()
    our_in, server_out = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dspex_pool", "serve"),
        stdin=server_in,
        stdout=server_out,
        env=os.environ | server_environment(mark, {"DSPEX_PLUGINS": plugins}),
    )
    os.close(server_in)
    os.close(server_out)
    client = Client(our_in, our_out, asyncio.get_running_loop())
    await client.hello(functions={}, lms={}, secrets={}, notes=[])
    for method in work:
        if "spawn" in method:
            await client.call(method, {})
    return client, process


async def kill_inside(number: int, victim: str) -> list[str]:
    """Kill a supervisor or a guardian at its work; what is left, and what its client was told."""
    mark, work = new_mark(), WORK[number % len(WORK)]
    client, process = await guarded_server(mark, work)
    try:
        pid = process.pid if victim == "guardian" else (await info(client))["pid"]
        pending = [asyncio.ensure_future(client.call(m, {})) for m in [*work, "misbehave.sleep_in_thread"]]
        family = marked(mark)
        assert {pid, process.pid} <= set(family)
        os.kill(pid, signal.SIGKILL)
        ended = await asyncio.gather(*pending, return_exceptions=True)
        told = [f"{one!r}" for one in ended if not is_lost(one)]
        left = await asyncio.to_thread(alive_after, LEAVING_S, family)
        return [describe(pid) for pid in left or marked(mark)] + told
    finally:
        end_marked(mark)
        await client.aclose()
        await process.wait()


def is_lost(outcome: object) -> bool:
    """Whether a call ended as it must when its server is gone, or was done before."""
    return isinstance(outcome, int) or (isinstance(outcome, DSPexError) and outcome.code == "connection_lost")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "kills"), [("supervisor", SUPERVISOR_KILLS), ("guardian", GUARDIAN_KILLS)]
)
async def test_a_killed_server_leaves_nothing(victim: str, kills: int) -> None:
    """SIGKILL of one of the two: each open call is failed once, and nothing stays."""
    found: list[str] = []
    for first in range(0, kills, AT_ONCE):
        async with asyncio.timeout(60):
            numbers = range(first, min(first + AT_ONCE, kills))
            for left in await asyncio.gather(*(kill_inside(number, victim) for number in numbers)):
                found += left
    assert [] == found


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["host", "supervisor", "guardian"])
@pytest.mark.parametrize("is_booting", [True, False])
async def test_a_running_job_leaves_with_its_server(victim: str, is_booting: bool) -> None:
    """Its worker is in no slot, and goes all the same: while it imports, and with a daemon of its own."""
    mark = new_mark()
    client, process = await guarded_server(mark, [], "plugin_jobs")
    try:
        supervisor = (await info(client))["pid"]
        request = {"steps": 1, "stand_still": True, "spawns": True}
        await client.call("job.submit", {"kind": "toil", "request": request})
        await wait_for(client, lambda told: bool(told["jobs"] and told["jobs"][0]["pid"]))
        if not is_booting:
            (job,) = (await info(client))["jobs"]
            await follow_until(client, job["job"], "step")
        while (await info(client))["jobs"][0]["pid"] not in (family := marked(mark)):
            await asyncio.sleep(0.01)  # the kernel shows its environment a moment after it began
        if victim == "host":
            await client.aclose()
        else:
            os.kill(supervisor if victim == "supervisor" else process.pid, signal.SIGKILL)
        left = await asyncio.to_thread(alive_after, LEAVING_S, family)
        assert [] == [describe(pid) for pid in left or marked(mark)]
    finally:
        end_marked(mark)
        await client.aclose()
        await process.wait()


async def follow_until(client: Client, job: str, type_: str) -> None:
    """Wait for an event of a job."""
    stream = client.stream_call("job.follow", {"job": job})
    async for item in stream:
        if isinstance(item, dict) and item.get("event", {}).get("type") == type_:
            return


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["host", "supervisor", "guardian"])
async def test_the_clerk_leaves_with_its_server(victim: str) -> None:
    """It is in no slot either; stopped, it cannot leave by itself."""
    mark = new_mark()
    client, process = await guarded_server(mark, [])
    try:
        pending = asyncio.ensure_future(client.call("evaluation.rows", {"evaluation": "nobody's"}))
        told = await wait_for(client, lambda told: told["clerk"] is not None)
        await asyncio.gather(pending, return_exceptions=True)
        clerk = told["clerk"]["pid"]
        os.kill(clerk, signal.SIGSTOP)
        family = marked(mark)
        assert clerk in family
        if victim == "host":
            await client.aclose()
        else:
            os.kill(told["pid"] if victim == "supervisor" else process.pid, signal.SIGKILL)
        left = await asyncio.to_thread(alive_after, LEAVING_S, family)
        assert [] == [describe(pid) for pid in left or marked(mark)]
    finally:
        end_marked(mark)
        await client.aclose()
        await process.wait()


@pytest.mark.slow
async def test_a_stopped_supervisor_leaves_with_its_host() -> None:
    """A supervisor under SIGSTOP can do nothing; its guardian ends it all the same."""
    mark = new_mark()
    client, process = await guarded_server(mark, ["misbehave.spawn_detached"])
    try:
        supervisor = (await info(client))["pid"]
        family = marked(mark)
        os.kill(supervisor, signal.SIGSTOP)
        await client.aclose()
        # Half a second of this is the time that a supervisor has to leave by itself.
        assert [] == await asyncio.to_thread(alive_after, LEAVING_S, family)
    finally:
        end_marked(mark)
        await process.wait()


@pytest.mark.slow
async def test_a_stopped_supervisor_leaves_with_its_guardian() -> None:
    """The guardian's death wakes a stopped supervisor, which then ends everything."""
    mark = new_mark()
    client, process = await guarded_server(mark, ["misbehave.spawn_detached"])
    try:
        supervisor = (await info(client))["pid"]
        family = marked(mark)
        os.kill(supervisor, signal.SIGSTOP)
        os.kill(process.pid, signal.SIGKILL)
        assert [] == await asyncio.to_thread(alive_after, LEAVING_S, family)
    finally:
        end_marked(mark)
        await client.aclose()
        await process.wait()


@pytest.mark.slow
async def test_a_dead_worker_leaves_no_grandchild() -> None:
    """What a worker had started goes with it, daemons in sessions of their own too."""
    async with serving() as client:
        children = [await client.call(f"misbehave.{how}", {}) for how in ("spawn", "spawn_detached") * 4]
        for pid in await worker_pids(client):
            os.kill(pid, signal.SIGKILL)
        pids = [pid for pid in children if isinstance(pid, int)]
        assert 8 == len(pids)
        assert [] == await asyncio.to_thread(alive_after, LEAVING_S, pids)
        assert 1 == await client.call("system.echo", 1)
