"""`dspex top`: how a view is laid out, and what happens between two of them."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tests.support.snapshots import snapshot

from dspex_pool.cli import top
from dspex_pool.cli.exits import BAD_ARGUMENTS, NO_SERVER
from dspex_pool.cli.panels import share_lines, shorten, view
from dspex_pool.cli.tables import tenants
from dspex_pool.client import Client
from dspex_protocol import DSPexError, error


def drawn(
    shown: dict[str, Any], width: int = 80, height: int | None = None, notice: str = "", **console: Any
) -> str:
    paper = io.StringIO()
    Console(file=paper, width=width, highlight=False, **console).print(view(shown, width, height, notice))
    return paper.getvalue()


def lines_of(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


# How it looks


def test_eighty_columns_show_everything() -> None:
    """No figure is cut, and no line is wrapped."""
    expected = """\
dspex/0.1.0  pid 4700  up 3h12m  uvloop  zygote
workers 3 ready, 1 starting, target 4 of 1 to 8
calls/s 812.3  waiting 34  payloads 11.8 MB  replied 1.2M  failed 15

lane        running waiting oldest  ms    count   p50   p90   p99   max
interactive      12       0   1234  all   41.2k 100.0 200.0 900.0 70.0k
batch            12      34   1234  queue 41.2k  1.00  2.00  9.00 70.0k
control          12       0   1234

worker slot   pid state    calls served   age    MB own MB progs retiring
     1    0  4710 busy         3     10 5m00s 100.0    2.0     1 -
     2    1  4711 draining     3  12.3k 5m00s 100.0    2.0     1 memory
     3    2  4712 ready        3   1.2M 5m00s 100.0    2.0     1 -

tenant   weight running waiting  client name           by      pid calls
tenant-0      1       3       4       1 dspex-python/1 stdio     -    12
tenant-1      2       3       4       2 dspex-python/1 unix   5002    12

troubles  restarts 2  quarantined 1  retry tokens 99
recycled  calls 17  age 3
errors    overloaded 12  timeout 3
"""
    assert expected.splitlines() == lines_of(drawn(snapshot(workers=3, tenants=2), 80, 40))


def test_jobs_are_shown_where_there_are_some() -> None:
    """With what they wait for, and what has come of others; where none run their line may still be there."""
    text = lines_of(drawn(snapshot(workers=1, tenants=1, clients=1, jobs=3), 120))
    assert [
        "job                           kind     state    try at             done  best calls   usd    up",
        "job-01a21a80837e-000000000001 optimize running    1 trials        12/40 0.812  1234  1.21 2h01m",
        "job-01a21a80837e-000000000002 optimize waiting    2 for app.judge     7 0.500  2468  2.41 2h01m",
        "job-01a21a80837e-000000000003 optimize starting   3 -                 - 0.500  3702  3.62 2h01m",
        "",
    ] == text[text.index(next(line for line in text if line.startswith("job "))) :][:5]
    assert "jobs      open 3  answers kept 300" in text
    assert "jobs      done 2" in lines_of(drawn(snapshot(job_counts={"open": 0, "done": 2}), 80))
    assert not any(line.startswith("job") for line in lines_of(drawn(snapshot(), 80)))


def test_eighty_columns_show_jobs() -> None:
    """Their ids give way to figures."""
    text = lines_of(drawn(snapshot(jobs=1, workers=1), 80, 30))
    (line,) = [line for line in text if "optimize" in line]
    assert "12/40 0.812  1234  1.21 2h01m" in line
    assert line.startswith("job-01a")


def test_long_names_give_way_to_figures() -> None:
    """The widest figures that are likely, and names that nobody can read to their end anyway."""
    shown = snapshot(workers=1, tenants=1, clients=1)
    shown["tenants"][0] = {"tenant": "t" * 100, "weight": 100, "running": 123_456, "waiting": 123_456}
    shown["clients"][0] |= {"name": "n" * 100, "transport": "stdio", "peer_pid": 4_194_303}
    shown["workers"][0] |= {"pid": 4_194_303, "state": "draining", "retiring": "scaled_down"}
    shown["workers"][0] |= {"calls": 512, "served": 999_999, "age_s": 86_399, "programs": 4096}
    shown["workers"][0] |= {"memory_bytes": 999 << 20, "own_bytes": 999 << 20}
    text = drawn(shown, 80, 24)
    assert "4194303 draining   512  1000k 23h59m 999.0  999.0  4096 scaled_down" in text
    assert "ttt…    100    123k    123k" in text
    assert "nnn… stdio 4194303    12" in text


def test_a_wide_terminal_shows_the_tenants_of_clients() -> None:
    """Which do not fit into 80 columns."""
    assert "client-1" not in drawn(snapshot(), 80)
    assert "client-1" in drawn(snapshot(), 120)


@settings(max_examples=40)
@given(
    st.integers(1, 200),
    st.integers(1, 60),
    st.integers(0, 40),
    st.integers(0, 60),
    st.integers(0, 20),
    st.integers(0, 9),
)
def test_a_view_fits_any_terminal(
    width: int, height: int, workers: int, tenants: int, clients: int, jobs: int
) -> None:
    """Never wider, and from 18 lines on never higher, or 22 with jobs."""
    shown = snapshot(workers=workers, tenants=tenants, clients=clients, jobs=jobs)
    lines = drawn(shown, width, height).splitlines()
    assert max(len(line) for line in lines) <= width
    assert len(lines) <= max(height, 22 if jobs else 18)


def test_what_has_no_room_is_counted() -> None:
    """The busiest tenants are shown, as the server sorts them."""
    rows = shorten(tenants(snapshot(tenants=6)), 3).rows
    assert ["tenant-0", "tenant-1", "+4 more"] == [row[0] for row in rows]


@pytest.mark.parametrize(
    ("wanted", "room", "lines"),
    [
        ((3, 4), 8, (3, 4)),
        ((9, 2), 8, (6, 2)),
        ((2, 9), 8, (2, 6)),
        ((9, 9), 8, (4, 4)),
        ((9, 9), 9, (5, 4)),
        ((0, 9), 4, (1, 4)),
        ((9, 9), -3, (1, 1)),
    ],
)
def test_two_tables_share_the_lines(wanted: tuple[int, int], room: int, lines: tuple[int, int]) -> None:
    """Neither takes the other's half, and each may have what the other leaves."""
    assert lines == share_lines(*wanted, room)


def test_once_shows_everything_however_much_it_is() -> None:
    """There is no screen to fit."""
    text = drawn(snapshot(workers=100, tenants=50, errors={f"code-{n}": 1 for n in range(30)}), 80)
    assert [] == [word for word in ("4809", "tenant-49", "code-29") if word not in text]


def test_names_cannot_steer_the_terminal() -> None:
    """Neither by escape codes nor by rich's own markup."""
    evil = "\x1b]0;owned\x07[bold red]\n\u202e:boom:"
    shown = snapshot(errors={evil: 1}, recycles={evil: 1}, server=evil, loop=evil, spawning=evil)
    shown["tenants"][0]["tenant"] = shown["clients"][0]["name"] = shown["workers"][0]["retiring"] = evil
    shown["workers"][0]["state"] = shown["clients"][0]["transport"] = evil
    shown["lanes"][evil] = shown["latencies"][evil] = {}
    job = dict.fromkeys(("job", "kind", "state"), evil)
    shown["jobs"] = [{**job, "progress": {"phase": evil}}, {**job, "progress": {"waiting_for": evil}}]
    text = drawn(shown, 400)
    assert all(line.isprintable() for line in text.splitlines())
    assert text.count("\\x1b]0;owned\\x07[bold red]\\n\\x202e:boom:") == 12 + 8


def test_a_notice_stands_before_everything() -> None:
    """Old figures must not be taken for new ones."""
    assert lines_of(drawn(snapshot(), notice="no answer for 3 s"))[0].startswith(" no answer for 3 s ")
    assert lines_of(drawn(snapshot(draining=True)))[0].startswith(" draining ")


def test_an_older_server_can_be_shown() -> None:
    """With dashes for what it does not tell."""
    assert "dspex/0.0.9  pid -  up -" == lines_of(drawn({"server": "dspex/0.0.9"}, 80, 24))[0]


# From one view to the next


class ScriptedServer:
    """Stands for a client: answers questions one by one; None is one that it never answers."""

    def __init__(self, *answers: dict[str, object] | DSPexError | None) -> None:
        self._answers = list(answers)
        self.notes: list[tuple[str, object]] = []

    async def call(self, method: str, payload: object) -> object:
        assert ("system.info", {}) == (method, payload)
        match self._answers.pop(0):
            case None:
                return await asyncio.Event().wait()
            case DSPexError() as failure:
                raise failure
            case shown:
                return shown


class Notebook:
    """A view that keeps what it is shown and told."""

    def __init__(self) -> None:
        self.pages: list[object] = []
        self.told = asyncio.Event()

    def show(self, snapshot: dict[str, object]) -> None:
        self.pages.append(snapshot["n"])

    def tell(self, notice: str) -> None:
        self.pages.append(notice)
        self.told.set()


async def follow(view: Notebook, *answers: dict[str, object] | DSPexError | None) -> str:
    with pytest.raises(DSPexError) as caught:
        await top.follow(cast("Client", ScriptedServer(*answers)), view, 0)
    return caught.value.code


async def test_snapshots_are_shown_until_the_server_is_gone() -> None:
    """One after the other."""
    view = Notebook()
    lost = error("connection_lost", "the server has ended the connection")
    assert "connection_lost" == await follow(view, {"n": 1}, {"n": 2}, lost)
    assert [1, 2] == view.pages


async def test_a_draining_server_has_the_last_word() -> None:
    """It refuses to answer, and hangs up then."""
    view = Notebook()
    draining, lost = error("draining", "no new calls"), error("connection_lost", "gone")
    assert "connection_lost" == await follow(view, {"n": 1}, draining, draining, lost)
    assert [1, *["draining"] * 2] == view.pages


async def test_silence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures on the screen get old, and the person must know."""
    monkeypatch.setattr(top, "SILENCE_S", 0.001)
    view = Notebook()
    following = asyncio.ensure_future(follow(view, {"n": 1}, None))
    await view.told.wait()
    following.cancel()
    assert [1, "no answer for 0 s"] == view.pages


def test_the_servers_last_word_is_told() -> None:
    """It says more than that the connection has ended."""
    client = ScriptedServer()
    lost = error("connection_lost", "the server has ended the connection")
    assert "the server has ended the connection" == top._last_word(cast("Client", client), lost)
    client.notes = [("system.closing", {"code": "draining", "message": "told to\x1b"}), ("log.line", {})]
    assert "the server hung up: draining: told to\\x1b" == top._last_word(cast("Client", client), lost)


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """As the server said it."""
    shown = snapshot()
    top.JsonLines().show(shown)
    top.JsonLines().tell("no answer")
    (line,) = capsys.readouterr().out.splitlines()
    assert shown == json.loads(line)


def test_pages_are_plain_where_they_are_no_terminals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment says about colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    top.Pages().show(snapshot())
    lines = capsys.readouterr().out.splitlines()
    assert all(line.isprintable() and line == line.rstrip() for line in lines)
    assert "tenant-5" in "\n".join(lines)


# The command line


def test_without_rich_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And goes on without it where it draws nothing."""

    def find_nothing(name: str) -> None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", find_nothing)
    assert BAD_ARGUMENTS == top.run(["--once", "--connect", "unix:/nowhere"])
    assert "pip install 'dspex[top]'" in capsys.readouterr().err
    assert NO_SERVER == top.run(["--json", "--connect", "unix:/nowhere"])


def test_rich_is_loaded_by_what_draws_only() -> None:
    """The commands start without it, so that they do where it is not installed."""
    names = ", ".join(f"dspex_pool.cli.{name}" for name in ("top", "ps", "recycle", "drain"))
    program = f"import sys, {names}; print('rich' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert b"False\n" == said.stdout


@pytest.mark.parametrize(
    "words", [["--interval-s", "0"], ["--interval-s", "nan"], ["--interval-s", "x"], ["y"]]
)
def test_bad_words_are_refused(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """By name, before a server is asked."""
    assert BAD_ARGUMENTS == top.run([*words, "--connect", "unix:/nowhere"])
    assert words[0] in capsys.readouterr().err
