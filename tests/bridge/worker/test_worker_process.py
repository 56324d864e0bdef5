"""What belongs to a worker's process: its wire, its fail-points, its bond to the supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys

import pytest

from dspex_bridge.worker import failpoints
from dspex_bridge.worker.wire import Wire
from dspex_protocol import FrameDecoder, Oversized, encode_frame
from dspex_protocol.limits import MAX_FRAME_BYTES


def run(code: str, stdin: int = subprocess.DEVNULL, **extra: str) -> subprocess.CompletedProcess[str]:
    """A Python process with the bridge on its path."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.run(
        [sys.executable, "-c", code],
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": path, **extra},
    )


class Ends:
    """A worker's wire and the supervisor's end of it."""

    def __init__(self) -> None:
        self.supervisor, worker = socket.socketpair()
        self.supervisor.settimeout(30)
        self.descriptor = worker.detach()
        os.set_blocking(self.descriptor, False)
        self.batches: list[list[bytes | Oversized]] = []
        self.came, self.ended = asyncio.Event(), asyncio.Event()
        self.wire = Wire(self.descriptor, asyncio.get_running_loop(), self._take, self.ended.set)
        self.wire.start()

    def _take(self, bodies: list[bytes | Oversized]) -> None:
        if not bodies:
            return  # a frame is not complete yet
        self.batches.append(bodies)
        for body in bodies:
            assert isinstance(body, bytes)
            if len(body) < 100:
                self.wire.send(encode_frame(body * 2))
        self.came.set()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.descriptor)
        os.close(self.descriptor)
        self.supervisor.close()


async def test_what_is_sent_while_frames_are_handled_goes_out_with_them() -> None:
    """One read, one batch, one write."""
    ends = Ends()
    ends.supervisor.sendall(encode_frame(b"a") + encode_frame(b"b"))
    await asyncio.wait_for(ends.came.wait(), 30)
    assert [[b"a", b"b"]] == ends.batches
    assert [b"aa", b"bb"] == FrameDecoder().feed(ends.supervisor.recv(100))
    ends.close()


async def test_what_is_sent_at_other_times_goes_out_in_the_same_round() -> None:
    """Nobody has to flush."""
    ends = Ends()
    ends.wire.send(encode_frame(b"x"))
    ends.wire.send(encode_frame(b"y"))
    await asyncio.sleep(0)
    assert [b"x", b"y"] == FrameDecoder().feed(ends.supervisor.recv(100))
    ends.close()


async def test_a_supervisor_that_reads_slowly_gets_everything() -> None:
    """More than the socket holds waits, in order."""
    ends = Ends()
    frames = b"".join(encode_frame(bytes((n,)) * 9_000) for n in range(200))
    ends.wire.send(frames)
    ends.wire.flush()
    assert ends.wire.waiting_bytes > 0

    def read_all() -> bytes:
        data = b""
        while len(data) < len(frames):
            data += ends.supervisor.recv(65_536)
        return data

    assert frames == await asyncio.to_thread(read_all)
    assert 0 == ends.wire.waiting_bytes
    ends.close()


async def test_a_frame_at_the_clients_limit_that_has_grown_on_the_way_is_taken() -> None:
    """The supervisor puts a longer id into it."""
    ends = Ends()
    frame = encode_frame(b"ok" * ((MAX_FRAME_BYTES + 20) // 2))
    sending = asyncio.create_task(asyncio.to_thread(ends.supervisor.sendall, frame))
    await asyncio.wait_for(ends.came.wait(), 10)
    await sending
    assert [[frame[4:]]] == ends.batches
    ends.close()


async def test_the_end_of_the_wire_is_told() -> None:
    """A worker without a supervisor has nothing to do."""
    ends = Ends()
    ends.supervisor.close()
    await asyncio.wait_for(ends.ended.wait(), 30)
    ends.close()


def test_nothing_that_is_printed_reaches_the_wire() -> None:
    """Not from Python, not from C, not from a child; and stdin is empty."""
    code = (
        "import os, sys\n"
        "from dspex_bridge.worker.wire import take_wire\n"
        "wire = take_wire(0)\n"
        "print('python', flush=True); os.write(1, b'c'); os.system('echo child')\n"
        "assert sys.stdin.read() == '' and not os.get_inheritable(wire)\n"
        "os.write(wire, b'frame')\n"
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = run(code, theirs.fileno())
        theirs.close()
        assert (0, "") == (done.returncode, done.stdout)
        assert all(word in done.stderr for word in ("python", "c", "child"))
        assert b"frame" == ours.recv(100)


ADOPT = """
import os
from dspex_bridge.worker.zygote import adopt
adopt({parent})
print(os.getpgrp() == os.getpid())
"""


def test_a_worker_leads_a_group_of_its_own() -> None:
    """So that it is killed with what it starts; and it goes first when memory runs out."""
    done = run(ADOPT.format(parent=os.getpid()) + "print(open('/proc/self/oom_score_adj').read())")
    assert ["True", "500"] == done.stdout.split()


def test_a_worker_that_is_not_adopted_ends() -> None:
    """Its supervisor died before it could be its child; nobody would end it later."""
    done = run(ADOPT.format(parent=1))
    assert (1, "") == (done.returncode, done.stdout)


def test_a_worker_dies_with_its_supervisor() -> None:
    """Even in a loop that holds the interpreter; the pipe's end tells."""
    code = (
        "import os, signal, sys\n"
        "supervisor = os.getpid()\n"
        "ready, told = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    from dspex_bridge.worker.zygote import adopt\n"
        "    adopt(supervisor)\n"
        "    os.write(told, b'.')\n"
        "    while True: pass\n"
        "os.read(ready, 1)\n"
        "os.kill(supervisor, signal.SIGKILL)\n"
    )
    # `run` also waits for the worker, which holds its stdout.
    assert -signal.SIGKILL == run(code).returncode


@pytest.mark.parametrize(("action", "code"), [("kill", -signal.SIGKILL), ("exit", 3)])
def test_a_fail_point_acts_at_its_nth_passing(action: str, code: int) -> None:
    """Not before, and no other one."""
    passes = (
        "from dspex_bridge.worker.failpoints import armed, passed\n"
        "for n in range(3):\n"
        "    passed('predict.done')\n"
        "    print(n, armed('predict.begin'), flush=True)\n"
        "    passed('predict.begin')\n"
    )
    done = run(passes, DSPEX_FAILPOINT=f"predict.begin:2:{action}")
    assert (code, ["0 False", "1 True"]) == (done.returncode, done.stdout.splitlines())


@pytest.mark.parametrize("text", ["no.such:1:kill", "predict.begin:1:explode", "predict.begin"])
def test_a_fail_point_that_does_not_exist_is_refused(text: str) -> None:
    """A test that arms nothing would prove nothing."""
    done = run("import dspex_bridge.worker.failpoints", DSPEX_FAILPOINT=text)
    assert 1 == done.returncode
    assert "ValueError" in done.stderr


def test_without_the_variable_nothing_is_armed() -> None:
    """In this process, for one."""
    assert not any(failpoints.armed(name) for name in failpoints.NAMES)
    for name in failpoints.NAMES:
        failpoints.passed(name)
