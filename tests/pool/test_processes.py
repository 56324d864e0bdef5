"""Descendants are found and killed, however they hid; and a child's stderr is read, bounded."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from dspex_pool.processes import children, kill_group
from dspex_pool.stderr_tail import SHOWN_BYTES_PER_S, TAIL_BYTES, StderrTail

# A parent that is a subreaper, with a descendant of each kind; it prints what was left.
DESCENDANTS = """
import os, subprocess, sys, time
from dspex_pool.processes import become_subreaper, children, kill_children, kill_descendants
become_subreaper()
sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
subprocess.Popen(sleeper)
subprocess.Popen(sleeper, start_new_session=True)
away = "if os.fork(): os._exit(0)\\n"
hider = f"import os, time\\n{away}os.setsid()\\n{away}time.sleep(60)"
subprocess.Popen([sys.executable, "-c", hider]).wait()
spared = subprocess.Popen(sleeper)
while True:
    if kill_children({spared.pid}) == 0:
        break
    time.sleep(0.001)
print(children(os.getpid()) == [spared.pid], kill_descendants(5), children(os.getpid()))
"""


def run(code: str) -> str:
    """What a Python process prints."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env=environment(),
    ).stdout.strip()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_no_descendant_hides() -> None:
    """A child, one in a session of its own, a double fork with a new session; a spared one stays."""
    assert "True True []" == run(DESCENDANTS)


# A subreaper with a worker that has forked a helper twice, and an orphan of another group.
ADOPTED = """
import os, subprocess, sys
from dspex_pool.processes import become_subreaper, children, kill_children, kill_descendants
become_subreaper()
helper = "import subprocess; subprocess.Popen(['sleep', '60'])"
run_it = f"subprocess.run([sys.executable, '-c', \\"{helper}\\"])"
code = f"import subprocess, sys; {run_it}; print(flush=True); input()"
worker = subprocess.Popen([sys.executable, "-c", code], process_group=0, stdin=-1, stdout=-1)
worker.stdout.readline()
orphan = subprocess.Popen(["sleep", "60"], process_group=0)
(helper,) = set(children(os.getpid())) - {worker.pid, orphan.pid}
while kill_children({worker.pid}, {worker.pid}):
    pass
print(set(children(os.getpid())) == {worker.pid, helper}, kill_descendants(5))
"""


def test_a_helper_in_the_group_of_a_spared_process_stays() -> None:
    """It is ours only because its own parent ended; an orphan of another group goes."""
    assert "True True" == run(ADOPTED)


def test_children_are_those_that_are_there() -> None:
    """Zombies included, until somebody reaps them."""
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert child.pid in children(os.getpid())
    child.wait()
    assert child.pid not in children(os.getpid())


def test_a_group_is_killed_with_its_leader() -> None:
    """And killing what is gone is no error."""
    code = (
        "import subprocess, sys\n"
        "member = 'print(flush=True); import time; time.sleep(60)'\n"
        "subprocess.Popen([sys.executable, '-c', member]).wait()\n"
    )
    leader = subprocess.Popen([sys.executable, "-c", code], process_group=0, stdout=subprocess.PIPE)
    assert leader.stdout is not None
    leader.stdout.readline()
    kill_group(leader.pid)
    assert -signal.SIGKILL == leader.wait(5)
    assert b"" == leader.stdout.read()  # the last that held it is gone
    leader.stdout.close()
    kill_group(leader.pid)


# A guarded process: says its supervisor's pid and a grandchild's, then does as it is told.
GUARDED = """
import os, subprocess, sys, time
from dspex_pool.guardian import stand_guard
wire_in, wire_out = os.dup(0), os.dup(1)
guardian = os.getpid()
stand_guard((wire_in, wire_out))
hidden = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
os.write(wire_out, f"{guardian} {os.getpid()} {hidden.pid}\\n".encode())
{then}
"""


class Guarded:
    """A guardian with its supervisor and a grandchild."""

    def __init__(self, then: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", GUARDED.replace("{then}", then)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )
        assert self.process.stdout is not None
        self.guardian, self.supervisor, self.hidden = map(int, self.process.stdout.readline().split())

    def close(self) -> int:
        """Wait for the guardian's end; nothing of it may be left."""
        code = self.process.wait(10)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        assert [] == [pid for pid in (self.supervisor, self.hidden) if runs(pid)]
        return code


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as line:
            return line.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Wait for what happens in another process, which nothing tells us of."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def test_the_guardian_ends_as_its_supervisor_does() -> None:
    """With its exit code, and after cleaning up."""
    assert 7 == Guarded("os._exit(7)").close()


def test_a_killed_supervisor_leaves_nothing() -> None:
    """Its grandchild in another session included."""
    guarded = Guarded("time.sleep(60)")
    os.kill(guarded.supervisor, signal.SIGKILL)
    assert 0 != guarded.close()


@pytest.mark.parametrize("stopped", [False, True])
def test_a_client_that_is_gone_ends_a_supervisor_that_does_not_notice(stopped: bool) -> None:
    """Also one that is stopped."""
    guarded = Guarded("time.sleep(60)")
    if stopped:
        os.kill(guarded.supervisor, signal.SIGSTOP)
    assert guarded.process.stdin is not None
    guarded.process.stdin.close()
    assert 0 != guarded.close()


@pytest.mark.parametrize("stopped", [False, True])
def test_a_killed_guardian_takes_its_supervisor_along(stopped: bool) -> None:
    """The thread that watches for it cleans up, in a stopped supervisor as well."""
    guarded = Guarded("time.sleep(60)")
    if stopped:
        os.kill(guarded.supervisor, signal.SIGSTOP)
    os.kill(guarded.guardian, signal.SIGKILL)
    until(lambda: not runs(guarded.supervisor) and not runs(guarded.hidden))
    assert -signal.SIGKILL == guarded.close()


def test_signals_reach_the_supervisor() -> None:
    """It decides what a SIGTERM means."""
    then = (
        "import signal; signal.signal(signal.SIGTERM, lambda *_: os._exit(5))\n"
        "os.write(wire_out, b'.\\n'); time.sleep(60)"
    )
    guarded = Guarded(then)
    assert guarded.process.stdout is not None
    guarded.process.stdout.readline()
    os.kill(guarded.guardian, signal.SIGTERM)
    assert 5 == guarded.close()


class Tail:
    """A tail with the writing end of its pipe."""

    def __init__(self) -> None:
        read_end, self.write_end = os.pipe()
        self.shown: list[bytes] = []
        self.tail = StderrTail(asyncio.get_running_loop(), read_end, self.shown.append)

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.write_end, data[:60_000]) :]
            self.tail.read()


async def test_the_end_of_stderr_is_remembered() -> None:
    """4 KiB of it, whatever came before and however it was cut."""
    tail = Tail()
    tail.write(b"x" * 10_000 + "é the end\n".encode())
    assert tail.tail.text().endswith("é the end")
    assert len(tail.tail.text().encode()) <= TAIL_BYTES
    os.close(tail.write_end)
    assert not tail.tail.read()


async def test_a_flood_on_stderr_is_read_and_not_shown() -> None:
    """So that its writer never blocks, and the log is not drowned."""
    tail = Tail()
    tail.write(b"y" * 1_000_000)
    assert SHOWN_BYTES_PER_S == sum(map(len, tail.shown))
    os.close(tail.write_end)
    tail.tail.close()
    tail.tail.close()


async def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    """A C library may write anything."""
    tail = Tail()
    tail.write(b"\xff\xfe fatal")
    assert "\ufffd\ufffd fatal" == tail.tail.text()
    os.close(tail.write_end)
    tail.tail.close()
