"""A loop that answers no more ends its process; one that was only stopped goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from dspex_pool.watchdog import EXIT_CODE, Patience


def looks(*elapsed_s: float, answered: bool = False) -> list[bool]:
    """What looks with these times between them say."""
    patience = Patience(limit_s=5.0, look_s=1.0)
    return [patience.is_over(one, answered=answered) for one in elapsed_s]


def test_silence_for_the_limit_is_too_long() -> None:
    """Five looks of a second each."""
    assert [False] * 4 + [True] == looks(*[1.0] * 5)


def test_answers_keep_it_alive() -> None:
    """However many looks there are."""
    assert not any(looks(*[1.0] * 100, answered=True))


def test_one_answer_starts_the_count_anew() -> None:
    """What was before does not count."""
    patience = Patience(limit_s=5.0, look_s=1.0)
    answers = [False] * 4 + [True] + [False] * 5
    assert [False] * 9 + [True] == [patience.is_over(1.0, answered=one) for one in answers]


def test_time_for_which_the_process_was_stopped_does_not_count() -> None:
    """An hour between two looks is one look, and the loop has its chance to answer."""
    assert [False] * 4 + [True] == looks(3600.0, 1.0, 3600.0, 1.0, 1.0)


WATCHED = """
import asyncio, re, sys, time
from dspex_pool.watchdog import Watchdog

async def main():
    watchdog = Watchdog(asyncio.get_running_loop(), 0.5)
    watchdog.start()
    await asyncio.sleep(0.05)
    print("begun", flush=True)
    {does}
    watchdog.stop()

asyncio.run(main())
print("went on")
"""


def watched(does: str) -> subprocess.Popen[str]:
    """A process whose loop is watched and does something; it has begun."""
    path = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHED.format(does=does)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout is not None
    assert "begun\n" == process.stdout.readline()
    return process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "code"),
    [("time.sleep(60)", EXIT_CODE), ("re.match(r'(a+)+$', 'a' * 64 + 'b')", -signal.SIGPROF)],
    ids=["system_call", "c_code"],
)
def test_a_blocked_loop_ends_its_process(does: str, code: int) -> None:
    """With a stack on stderr that shows where, also where no other thread gets to run."""
    process = watched(does)
    _, words = process.communicate(timeout=30)
    assert code == process.returncode
    assert 'File "<string>", line 10 in main' in words


@pytest.mark.slow
def test_a_busy_loop_that_answers_goes_on() -> None:
    """Rounds that take long, but not too long, and more CPU time than the limit."""
    process = watched(
        "for _ in range(12):\n"
        "        until = time.process_time() + 0.1\n"
        "        while time.process_time() < until: pass\n"
        "        await asyncio.sleep(0)"
    )
    assert ("went on\n", "") == process.communicate(timeout=30)


@pytest.mark.slow
def test_a_stopped_process_goes_on() -> None:
    """Stopped for several times the limit, it is well when it is continued."""
    process = watched("await asyncio.to_thread(sys.stdin.read, 1); await asyncio.sleep(0.5)")
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(1.5)
    os.kill(process.pid, signal.SIGCONT)
    assert ("went on\n", "") == process.communicate(timeout=30)
