"""Processes come to be, and whoever asked for one hears of it, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import subprocess
import sys

import pytest
from tests.support.fakes import RecordingLog

from dspex_pool.ports import Process
from dspex_pool.spawning import MAX_ZYGOTE_FAILURES, ChildProcess, Spawner, exit_reason
from dspex_pool.stderr_tail import StderrTail
from dspex_protocol import CALL, NIL, NOTE, REPLY, encode
from dspex_protocol.frame import HEADER_BYTES


class Asked:
    """Somebody who wants a process."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.started: list[int] = []

    def take(self, process: Process, wire: int) -> None:
        self.started.append(process.pid)
        os.close(wire)
        process.kill()

    def fail(self, reason: str) -> None:
        self.failures.append(reason)


class Counted(Spawner):
    """A spawner that starts no zygote of its own, but says when it would."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop(), RecordingLog(), use_zygote=True, environment={})
        self.wanted = asyncio.Event()

    def _start_zygote(self) -> None:
        self.wanted.set()


def spawner_with_zygote() -> tuple[Counted, socket.socket]:
    """A spawner whose zygote is the test, on the other end of the control socket."""
    spawner = Counted()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.settimeout(30)
    spawner._control = ours
    theirs.send(encode(NOTE, 0, "zygote.ready", {}, NIL)[HEADER_BYTES:])
    spawner._hear_zygote()
    return spawner, theirs


async def test_a_process_that_is_wanted_after_the_zygotes_last_word_waits() -> None:
    """Its control is closed and its death not yet seen: the next zygote serves the request."""
    spawner, zygote = spawner_with_zygote()
    zygote.close()
    spawner._hear_zygote()
    asked = Asked()
    spawner.spawn(asked.take, asked.fail)
    assert ([], [], 1) == (asked.started, asked.failures, len(spawner._requests))
    spawner.close()


async def test_a_dead_zygote_takes_no_request_with_it() -> None:
    """What was asked of it and not answered is asked again, on new descriptors."""
    spawner, zygote = spawner_with_zygote()
    asked = Asked()
    spawner.spawn(asked.take, asked.fail)
    forking = [spawner.is_forking]
    zygote.close()
    spawner._hear_zygote()
    forking.append(spawner.is_forking)
    assert [True, False] == forking
    assert 1 == len(spawner._requests)
    spawner.close()


async def test_the_zygote_is_asked_with_two_descriptors() -> None:
    """The wire and the stderr of the worker; its answer ends the request."""
    spawner, zygote = spawner_with_zygote()
    asked = Asked()
    spawner.spawn(asked.take, asked.fail)
    data, descriptors, _, _ = socket.recv_fds(zygote, 8192, 4)
    assert (0x95, CALL, 2) == (data[0], data[1], len(descriptors))
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    zygote.send(encode(REPLY, 1, None, {"pid": child.pid}, NIL)[HEADER_BYTES:])
    spawner._hear_zygote()
    assert ([child.pid], []) == (asked.started, asked.failures)
    spawner.close()
    zygote.close()
    for descriptor in descriptors:
        os.close(descriptor)
    child.wait()
    await asyncio.sleep(0)


async def test_a_zygote_that_does_not_answer_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped or stuck, it is killed; what was asked of it waits for the next one."""
    monkeypatch.setattr("dspex_pool.spawning.FORK_TIMEOUT_S", 0.01)
    spawner, control = spawner_with_zygote()
    spawner._zygote, _ = child("import os; os.kill(os.getpid(), 19)")
    spawner._zygote.on_exit = spawner._zygote_died
    asked = Asked()
    spawner.spawn(asked.take, asked.fail)
    assert spawner.is_forking
    await asyncio.wait_for(spawner.wanted.wait(), 10)
    assert (False, 1, []) == (spawner.is_forking, len(spawner._requests), asked.failures)
    spawner.close()
    control.close()


async def test_a_zygote_that_has_no_room_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its socket is full: the request goes out when it has read."""
    monkeypatch.setattr("dspex_pool.spawning.SEND_AGAIN_S", 0.001)
    spawner, zygote = spawner_with_zygote()
    assert spawner._control is not None
    control = spawner._control
    with contextlib.suppress(BlockingIOError):
        while True:
            control.send(b"filling")
    asked = Asked()
    spawner.spawn(asked.take, asked.fail)
    assert {} == spawner._in_flight
    while select.select([zygote], [], [], 0)[0]:
        assert b"filling" == zygote.recv(8192)
    async with asyncio.timeout(30):
        while not spawner.is_forking:
            await asyncio.sleep(0.001)
    _, descriptors, _, _ = socket.recv_fds(zygote, 8192, 4)
    assert 2 == len(descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    spawner.close()
    zygote.close()


async def test_zygotes_that_died_are_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile workers start from nothing; when one gets ready, it forks again."""
    monkeypatch.setattr("dspex_pool.spawning.ZYGOTE_AGAIN_S", 0.001)
    spawner = Counted()
    for _ in range(MAX_ZYGOTE_FAILURES):
        spawner._zygote_died("exit code 1")
    modes = [spawner.mode]
    for _ in range(2):  # the next one dies as well
        await asyncio.wait_for(spawner.wanted.wait(), 30)
        spawner.wanted.clear()
        spawner._zygote_died("exit code 1")
    spawner._control, zygote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    zygote.send(encode(NOTE, 0, "zygote.ready", {}, NIL)[HEADER_BYTES:])
    spawner._hear_zygote()
    assert ["exec", "zygote"] == [*modes, spawner.mode]
    spawner.close()
    zygote.close()


async def test_what_was_asked_of_a_zygote_that_became_unfit_is_started_from_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It had been ready, so another is tried later; its answers to nothing do no harm."""
    monkeypatch.setattr("dspex_pool.spawning.BRIDGE", ("/nowhere/python",))
    monkeypatch.setattr("dspex_pool.spawning.ZYGOTE_AGAIN_S", 0.001)
    spawner, zygote = spawner_with_zygote()
    asked = Asked()
    spawner.spawn(asked.take, asked.fail)
    zygote.send(encode(NOTE, 0, "zygote.unfit", {"reason": "it has 2 threads"}, NIL)[HEADER_BYTES:])
    spawner._hear_zygote()
    assert (False, "exec") == (spawner.is_forking, spawner.mode)
    assert ["a process could not be started: No such file or directory"] == asked.failures
    spawner._zygote_died("exit code 0")
    await asyncio.wait_for(spawner.wanted.wait(), 30)
    spawner.close()
    zygote.close()


async def test_an_answer_to_nothing_is_ignored() -> None:
    """It must not end the hearing of the zygote."""
    spawner, zygote = spawner_with_zygote()
    zygote.send(encode(REPLY, 99, None, {"pid": 1}, NIL)[HEADER_BYTES:])
    spawner._hear_zygote()
    assert {} == spawner._requests
    spawner.close()
    zygote.close()


async def test_what_cannot_be_started_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves no descriptor behind."""
    monkeypatch.setattr("dspex_pool.spawning.BRIDGE", ("/nowhere/python",))
    spawner = Spawner(asyncio.get_running_loop(), RecordingLog(), use_zygote=False, environment={})
    asked, before = Asked(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        spawner.spawn(asked.take, asked.fail)
    assert ["a process could not be started: No such file or directory"] * 3 == asked.failures
    assert before == len(os.listdir("/proc/self/fd"))


def child(code: str) -> tuple[ChildProcess, asyncio.Future[str]]:
    """A Python process, watched; the future gets the reason of its end."""
    loop = asyncio.get_running_loop()
    read_end, write_end = os.pipe()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", code],
        dict(os.environ),
        file_actions=[(os.POSIX_SPAWN_DUP2, write_end, 2)],
        setpgroup=0,
    )
    os.close(write_end)
    process = ChildProcess(pid, loop, StderrTail(loop, read_end, lambda data: None))
    ended: asyncio.Future[str] = loop.create_future()
    process.on_exit = ended.set_result
    return process, ended


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("pass", "exit code 0"),
        ("raise SystemExit(7)", "exit code 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    ],
)
async def test_a_child_says_how_it_ended(code: str, reason: str) -> None:
    """Exit code or signal, in words."""
    _, ended = child(code)
    assert reason == await asyncio.wait_for(ended, 10)


async def test_a_killed_child_is_reaped_and_killing_it_again_is_harmless() -> None:
    """Its pid may be another process by then."""
    process, ended = child("import time; time.sleep(60)")
    process.kill()
    assert "SIGKILL" == await asyncio.wait_for(ended, 10)
    process.kill()
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)


async def test_the_last_words_of_a_child_are_kept() -> None:
    """They may be read after its end."""
    process, ended = child("import sys; sys.stderr.write('no such module')")
    await asyncio.wait_for(ended, 10)
    assert "no such module" == process.last_words()


class Flood(StderrTail):
    """The stderr of a dead child, to which something that it left behind writes on and on."""

    def __init__(self) -> None:
        self.reads = 0

    def read(self) -> bool:
        self.reads += 1
        assert self.reads < 1000, "the loop hangs"
        return True

    def text(self) -> str:
        return "flood"

    def close(self) -> None:
        pass


async def test_a_flood_by_what_a_child_left_behind_does_not_hold_the_loop() -> None:
    """Its end is told all the same."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[str] = loop.create_future()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], dict(os.environ), setpgroup=0)
    ChildProcess(pid, loop, Flood()).on_exit = ended.set_result
    assert "exit code 0" == await asyncio.wait_for(ended, 10)


def test_an_unknown_signal_is_told_by_its_number() -> None:
    """There are more numbers than names."""
    assert "signal 99" == exit_reason(-99)
