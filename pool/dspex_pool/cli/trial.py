"""A real server tried for a moment: does it start, fork, answer, predict, and leave nothing?"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO, Final

from dspex_pool.cli.machine import Check
from dspex_pool.client import Client
from dspex_pool.processes import children
from dspex_protocol import DSPexError

# DSPy's first import from a cold disk takes up to 6 s.
READY_TIMEOUT_MS: Final = 20_000
ECHOES: Final = 50
# Of its own whatever the environment says: one worker, and nobody else's socket.
TRIAL_FLAGS: Final = (
    *("--workers", "1", "--min-workers", "1", "--listen", "stdio"),
    *("--log-level", "info"),
)
SIGNATURE: Final = "question -> answer"
LM: Final = {"doctor": {"model": "sim/doctor"}}
_LINE: Final = re.compile(r"(?P<at>\S+)Z \w+ dspex\.(?P<event>\w+)(?P<fields>.*)")


@dataclass(slots=True)
class Trial:
    """What was measured, as far as it came.

    Attributes:
        hello_ms: From exec to the answer to hello.
        ready_ms: From exec to the first call that a worker answered.
        echo_ms: Median of one call to a worker and back.
        predict_ms: One prediction by an offline model.
        spawning: `zygote` or `exec`.
        left_behind: Processes that outlived the server.
        failure: Why it ended early.
        log: The server's stderr.
    """

    hello_ms: float | None = None
    ready_ms: float | None = None
    echo_ms: float | None = None
    predict_ms: float | None = None
    spawning: str = ""
    left_behind: list[int] | None = None
    failure: str = ""
    log: str = ""
    events: dict[str, tuple[datetime, str]] = field(default_factory=dict[str, tuple[datetime, str]])


async def try_server(flags: tuple[str, ...] = ()) -> Trial:
    """Start a server with one worker, use it, end it."""
    trial = Trial()
    with tempfile.TemporaryFile() as log:
        try:
            await _use_server(trial, log, (*TRIAL_FLAGS, *flags))
        except DSPexError as failure:
            trial.failure = str(failure)
        except (OSError, TimeoutError) as reason:
            trial.failure = f"the server did not answer: {reason or 'time is over'}"
        log.seek(0)
        trial.log = log.read().decode(errors="replace")
    trial.events = dict(_events(trial.log))
    return trial


async def _use_server(trial: Trial, log: BinaryIO, flags: tuple[str, ...]) -> None:
    began_s = time.monotonic()
    family: list[int] = []
    try:
        async with Client.start(flags=flags, lms=LM, stderr=log.fileno()) as client:
            trial.hello_ms = _ms_since(began_s)
            try:
                await client.call("system.echo", None, deadline_ms=READY_TIMEOUT_MS)
                trial.ready_ms = _ms_since(began_s)
                await _measure(trial, client)
            finally:
                family += _descendants(client.server_pid)
    finally:
        if family:
            trial.left_behind = [pid for pid in family if _exists(pid)]


async def _measure(trial: Trial, client: Client) -> None:
    times: list[float] = []
    for _ in range(ECHOES):
        began_s = time.monotonic()
        await client.call("system.echo", {"hello": 1})
        times.append(_ms_since(began_s))
    trial.echo_ms = sorted(times)[ECHOES // 2]
    began_s = time.monotonic()
    spec = {"module": "Predict", "signature": SIGNATURE}
    await client.predict(spec, {"question": "Does it work?"}, lm="doctor", deadline_ms=READY_TIMEOUT_MS)
    trial.predict_ms = _ms_since(began_s)
    match await client.call("system.info", {}):
        case {"spawning": str(spawning)}:
            trial.spawning = spawning
        case _:
            pass


def _ms_since(began_s: float) -> float:
    return (time.monotonic() - began_s) * 1000


def _descendants(pid: int) -> Iterator[int]:
    yield pid
    for child in children(pid):
        yield from _descendants(child)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _events(log: str) -> Iterator[tuple[str, tuple[datetime, str]]]:
    """The first line of each event in the server's log: when, and its fields."""
    seen: set[str] = set()
    for line in log.splitlines():
        parts = _LINE.fullmatch(line)
        if parts is not None and parts["event"] not in seen:
            seen.add(parts["event"])
            yield parts["event"], (datetime.fromisoformat(parts["at"]), parts["fields"].strip())


# What it means


def judge(trial: Trial) -> Iterator[Check]:
    """The checks that a trial stands for; those that it did not come to are left out."""
    if trial.hello_ms is not None:
        yield Check(
            name="server", level="ok", found=f"answered hello {trial.hello_ms:.0f} ms after its start"
        )
    if trial.ready_ms is not None:
        yield from _judge_spawning(trial)
    if trial.echo_ms is not None:
        yield Check(
            name="echo", level="ok", found=f"a call to a worker and back takes {trial.echo_ms:.2f} ms"
        )
    if trial.predict_ms is not None:
        found = f"an offline model answered through DSPy in {trial.predict_ms:.0f} ms"
        yield Check(name="prediction", level="ok", found=found)
    if trial.failure:
        yield _judge_failure(trial)
    if trial.left_behind is not None:
        yield _judge_aftermath(trial.left_behind)


def _judge_spawning(trial: Trial) -> Iterator[Check]:
    zygote, worker = trial.events.get("zygote_ready"), trial.events.get("worker_ready")
    if zygote is not None and trial.spawning != "exec":
        import_ms = re.search(r"import_ms=(\d+)", zygote[1])
        found = f"imported DSPy in {import_ms[1] if import_ms else '?'} ms and is fit to fork"
        yield Check(name="zygote", level="ok", found=found)
        if worker is not None:
            fork_ms = (worker[0] - zygote[0]).total_seconds() * 1000
            yield Check(
                name="fork", level="ok", found=f"a worker was ready {fork_ms:.0f} ms after its fork began"
            )
        return
    reason = trial.events.get("zygote_unfit", (None, "it is turned off by DSPEX_ZYGOTE"))[1]
    yield Check(
        name="zygote",
        level="warn",
        found=f"workers are started from nothing, {trial.ready_ms or 0:.0f} ms for the first ({reason})",
        advice="It works, but replacing a worker takes that long; the usual cause are plug-ins with threads.",
    )


def _judge_failure(trial: Trial) -> Check:
    lines = [line for line in trial.log.splitlines() if line.strip()]
    # What a worker wrote itself says more than the server's lines about it.
    words = ([line for line in lines if _LINE.fullmatch(line) is None] or lines)[-8:]
    found = "\n".join([trial.failure, *(f"    {line}" for line in words)])
    advice = (
        "The last lines say why, most often a package that cannot be imported;"
        " reinstall dspex into a fresh virtual environment."
    )
    return Check(
        name="server" if trial.hello_ms is None else "worker", level="fail", found=found, advice=advice
    )


def _judge_aftermath(left_behind: list[int]) -> Check:
    if left_behind:
        found = f"processes outlived the server: {', '.join(map(str, left_behind))}"
        return Check(name="aftermath", level="fail", found=found, advice="End them, and please report this.")
    return Check(name="aftermath", level="ok", found="the server ended and left no process behind")
