"""Whoever is killed, host, supervisor or guardian: a second later no process is left."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dspex_pool.client import Client
from dspex_protocol import CALL, DSPexError, encode, encode_value
from dspex_protocol.frame import HEADER_BYTES
from tests.support.servers import SUPPORT, count, info, server_environment
from tests.support.survivors import alive_after, describe, end_marked, marked, new_mark

HOST_KILLS = count("host_kills", 100)
BEAM_KILLS = count("beam_kills", 12)
SUPERVISOR_KILLS = count("supervisor_kills", 100)
AT_ONCE = 2
LEAVING_S = 1.0

# What a server is at when it loses its host. Most are killed while they still import.
WORK: list[list[str]] = [
    [],
    [],
    [],
    ["misbehave.spawn_detached", "misbehave.spin_in_c"],
    [],
    [],
    [],
    ["misbehave.spawn", "misbehave.loop", "misbehave.spin_in_c"],
    [],
    ["misbehave.spawn_detached", "misbehave.stop"],
]


@contextmanager
def started(arguments: list[str], mark: str) -> Iterator[subprocess.Popen[bytes]]:
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


def _all_started(commands: list[list[str]], marks: list[str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    if not commands:
        yield []
        return
    with started(commands[0], marks[0]) as host, contextmanager(_all_started)(commands[1:], marks[1:]) as others:
        yield [host, *others]


@pytest.mark.slow
def test_a_killed_python_host_leaves_nothing() -> None:
    """SIGKILL of a host, its server at rest, importing, stuck in C, or with daemons."""
    left = [left_by(python_host, range(n, min(n + AT_ONCE, HOST_KILLS))) for n in range(0, HOST_KILLS, AT_ONCE)]
    assert [] == [one for some in left for one in some]


@pytest.mark.slow
def test_a_killed_beam_leaves_nothing() -> None:
    """The same with a BEAM and its Port."""
    left = [left_by(beam_host, range(n, min(n + AT_ONCE, BEAM_KILLS))) for n in range(0, BEAM_KILLS, AT_ONCE)]
    assert [] == [one for some in left for one in some]
