"""The wire is taken before anything can write to it: shown in a child process."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from dspex_pool.taking import is_terminal_or_missing

TAKE = """
import ctypes, os, subprocess, sys
from dspex_pool.taking import take_stdio
wire_in, wire_out = take_stdio()
"""


def run(script: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a script that has taken its stdio."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", TAKE + script],
        input=given,
        capture_output=True,
        timeout=30,
        check=True,
        env=environment,
    )


def test_only_the_taken_descriptor_reaches_the_wire() -> None:
    """print, C's stdio, a write to fd 1 and a child's output all come out on stderr."""
    ended = run(
        "print('from print', flush=True)\n"
        "ctypes.CDLL(None).puts(b'from C'); ctypes.CDLL(None).fflush(None)\n"
        "os.write(1, b'from fd 1\\n')\n"
        "subprocess.run([sys.executable, '-c', 'print(\"from a child\")'])\n"
        "os.write(wire_out, b'frame')\n"
    )
    assert b"frame" == ended.stdout
    assert [b"from print", b"from C", b"from fd 1", b"from a child"] == ended.stderr.splitlines()


def test_input_is_read_from_the_taken_descriptor_only() -> None:
    """`input()` and a child that reads stdin find its end, and eat nothing of the wire."""
    ended = run(
        "assert sys.stdin.read() == ''\n"
        "subprocess.run(['cat'], check=True)\n"
        "os.write(wire_out, os.read(wire_in, 100))\n",
        given=b"a frame",
    )
    assert (b"a frame", b"") == (ended.stdout, ended.stderr)


def test_children_do_not_inherit_the_wire() -> None:
    """A grandchild that outlives us must not hold the client's pipes open."""
    ended = run(
        "code = f'''import os\\nfor fd in ({wire_in}, {wire_out}):\\n"
        "    try: os.fstat(fd); print('open', fd)\\n    except OSError: print('closed')'''\n"
        "subprocess.run([sys.executable, '-c', code], close_fds=False, check=True)\n"
    )
    assert [b"closed", b"closed"] == ended.stderr.splitlines()


def test_a_terminal_and_a_closed_descriptor_are_no_wire(tmp_path: Path) -> None:
    """A person at a terminal gets a word instead of binary; pipes and files are wires."""
    ours, theirs = pty.openpty()
    read_end, write_end = os.pipe()
    file = os.open(tmp_path / "frames", os.O_CREAT | os.O_RDONLY)
    told = [is_terminal_or_missing(descriptor) for descriptor in (theirs, read_end, write_end, file)]
    for descriptor in (ours, theirs, read_end, write_end, file):
        os.close(descriptor)
    assert [True, False, False, False] == told
    assert is_terminal_or_missing(theirs)
