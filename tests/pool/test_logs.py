"""The log: one line for each event, and never a wait for whoever reads it."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator

import pytest

from dspex_pool.logs import MAX_LINE_BYTES, MAX_WAITING_BYTES, MAX_WAITING_LINES, Log

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def read_line(descriptor: int) -> str:
    """The next line, however long it takes to come."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(descriptor, 1)
    return line.decode()


def test_a_line_has_time_level_event_and_fields(pipe: Pipe) -> None:
    """As an operator's tools want to split it."""
    Log("info", pipe[1]).info("worker_ready", worker=3, reason="it is new")
    line = read_line(pipe[0])
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(stamp + r" info dspex\.worker_ready worker=3 reason='it is new'\n", line)


def test_lines_below_the_level_are_left_out(pipe: Pipe) -> None:
    """The first line that comes is the first at the level."""
    log = Log("warning", pipe[1])
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert " warning dspex.c\n" in read_line(pipe[0])
    assert " error dspex.d\n" in read_line(pipe[0])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb", r"a\x0ab"),
        ("a\rb", r"a\x0db"),
        ("\x00\x7f\x9b", r"\x00\x7f\x9b"),
        ("naïve 東京", "'naïve 東京'"),
    ],
)
def test_what_could_steer_a_terminal_is_escaped(pipe: Pipe, value: str, expected: str) -> None:
    """No field can forge a line, move the cursor or clear the screen; letters stay."""
    Log("info", pipe[1]).info("event", field=value)
    assert read_line(pipe[0]).endswith(f" field={expected}\n")


def test_a_reader_that_does_not_read_never_blocks_the_caller(pipe: Pipe) -> None:
    """Far more than a pipe holds is logged by a thread that ends; what was dropped is counted."""
    log = Log("info", pipe[1])
    lines = MAX_WAITING_LINES * 3

    def write() -> None:
        for number in range(lines):
            log.info("event", number=number, filling="x" * 500)

    caller = threading.Thread(target=write, daemon=True)
    caller.start()
    caller.join(timeout=20)
    assert not caller.is_alive()
    seen, line = 0, read_line(pipe[0])
    while "dspex.log dropped=" not in line:
        seen += 1
        assert seen < lines  # nothing was dropped, so everything was kept in memory
        line = read_line(pipe[0])
    assert lines == seen + int(line.partition("dropped=")[2].split()[0])


def test_what_waits_is_bounded_in_bytes(pipe: Pipe) -> None:
    """A worker's stderr comes in large pieces: few of them fill the memory. When they are read, more fit."""
    log = Log("info", pipe[1])
    piece = b"x" * 65_535 + b"\n"
    os.write(pipe[1], piece)  # as much as a pipe holds
    pieces = MAX_WAITING_BYTES // len(piece)
    for _ in range(pieces + 3):
        log.raw(piece)
    seen = [read_line(pipe[0]) for _ in range(1 + pieces + 1)]
    assert "dspex.log dropped=3 lines\n" == seen[-1]
    log.raw(b"more\n")
    assert "more\n" == read_line(pipe[0])


def test_a_long_line_is_cut(pipe: Pipe) -> None:
    """A field with a megabyte in it costs no megabyte of log, and the next line is whole."""
    log = Log("info", pipe[1])
    log.info("event", field="東" * 1_000_000)
    log.info("next")
    assert MAX_LINE_BYTES - 4 < len(read_line(pipe[0]).encode()) <= MAX_LINE_BYTES
    assert read_line(pipe[0]).endswith(" dspex.next\n")


def test_a_stderr_that_is_gone_ends_no_logging(pipe: Pipe) -> None:
    """There is nobody to tell; the caller goes on, and lines come again when somebody reads."""
    read_end, log_end = os.pipe()
    os.close(read_end)
    log = Log("info", log_end)
    log.info("lost")
    while log._lines:  # until the line is being written to nobody
        os.sched_yield()
    os.dup2(pipe[1], log_end)
    log.info("seen")
    while " dspex.seen\n" not in read_line(pipe[0]):
        pass
    os.close(log_end)


def test_an_unknown_level_is_refused() -> None:
    """A misspelt level must not silence the log."""
    with pytest.raises(KeyError):
        Log("loud")
