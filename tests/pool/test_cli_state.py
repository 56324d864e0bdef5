"""`dspex state` on a real file of SQLite: what it shows, changes and refuses."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from io import BytesIO, TextIOWrapper
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.support.libraries import WALL_MS, content

from dspex_pool.cli.exits import BAD_ARGUMENTS, CALL_FAILED, NO_SERVER, OK
from dspex_pool.cli.state import run
from dspex_pool.library import Library, Lineage
from dspex_pool.library.records import head_key, version_key
from dspex_pool.store import Delete, Put, Store
from dspex_pool.store.sqlite import SqliteStore
from dspex_protocol import encode_value

ODD = "\x1b[31m\u202ereversed\x9b\x07"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A store with two programs in it, one of three versions."""
    for name in [name for name in os.environ if name.startswith("DSPEX_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "state.db"
    monkeypatch.setenv("DSPEX_STORE", f"sqlite:{path}")
    at_store(path, _stock)
    return path


def at_store(path: Path, work: Callable[[Library, Store], Awaitable[object]]) -> None:
    async def do() -> None:
        store = SqliteStore(path, timeout_s=30.0)
        await store.open()
        clock = asyncio.get_running_loop().time
        ids = count()
        library = Library(store, clock=clock, wall_ms=lambda: WALL_MS, new_id=lambda: str(next(ids)))
        await work(library, store)
        await store.close()

    asyncio.run(do())


async def _stock(library: Library, store: Store) -> None:
    await library.create("qa", content("one"), tags=["first"])
    lineage = Lineage(by="MIPROv2", note="besser", scores={"accuracy": 0.5})
    await library.add("qa", base=1, must_be_newest=True, content=content("two"), lineage=lineage)
    await library.rollback("qa", 1)
    await library.create("summary", content("x" * 300, module="ReAct"), tags=["live"])


def lines(capsys: Capture) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_list_has_a_program_a_line(capsys: Capture) -> None:
    """With its newest version, module and tags."""
    assert OK == run(["list"])
    title, qa, summary = lines(capsys)
    assert ["program", "version", "module", "updated", "tags"] == title.split()
    assert ["qa", "3", "Predict", "2023-11-14", "22:13:20Z", "first=1"] == qa.split()
    assert ["summary", "1", "ReAct", "2023-11-14", "22:13:20Z", "live=1"] == summary.split()


@pytest.mark.parametrize(
    ("options", "programs"),
    [
        ([], ["qa", "summary"]),
        (["--descending"], ["summary", "qa"]),
        (["--limit", "1"], ["qa"]),
        (["--prefix", "s"], ["summary"]),
        (["--tag", "first"], ["qa"]),
        (["--module", "ReAct"], ["summary"]),
        (["--module", "None"], []),
        (["--sort", "updated"], ["qa", "summary"]),
    ],
)
def test_list_is_filtered_and_sorted(capsys: Capture, options: list[str], programs: list[str]) -> None:
    """For machines it is an object a line."""
    assert OK == run(["list", "--json", *options])
    assert programs == [json.loads(line)["program"] for line in lines(capsys)]


def test_show_has_the_versions(capsys: Capture) -> None:
    """The newest first, with where they came from."""
    assert OK == run(["show", "qa"])
    shown = lines(capsys)
    assert "program  qa" == shown[0]
    rows = [line.split() for line in shown[-3:]]
    assert [("3", "rollback", "1"), ("2", "MIPROv2", "1"), ("1", "create", "-")] == [
        (row[0], row[3], row[4]) for row in rows
    ]
    assert rows[0][6] == rows[2][6] != rows[1][6]  # checksums


def test_show_has_one_version_with_its_content(capsys: Capture) -> None:
    """By its number or by its tag."""
    assert OK == run(["show", "qa", "--version", "2"])
    text = capsys.readouterr().out
    assert "version   2 of 3" in text
    assert "scores    accuracy=0.5" in text
    assert '"instructions": "two"' in text
    assert OK == run(["show", "qa", "--tag", "first", "--json"])
    value = json.loads(capsys.readouterr().out)
    assert (1, "one") == (value["version"], value["state"]["self"]["instructions"])


def test_diff_tells_what_differs(capsys: Capture) -> None:
    """Before and after; nothing where nothing does."""
    assert OK == run(["diff", "qa", "1", "2"])
    assert ["changed state.self.instructions", '  - "one"', '  + "two"'] == lines(capsys)
    assert OK == run(["diff", "qa", "1", "3"])
    assert ["no difference"] == lines(capsys)
    assert OK == run(["diff", "qa", "1", "2", "--json"])
    assert {
        "path": "state.self.instructions",
        "change": "changed",
        "before": "one",
        "after": "two",
    } == json.loads(capsys.readouterr().out)


def test_what_goes_out_comes_in(capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    """With all versions and tags, under another id, in another store."""
    assert OK == run(["export", "qa", "--all"])
    document = tmp_path / "qa.json"
    document.write_bytes(capsysbinary.readouterr().out)
    other = f"sqlite:{tmp_path / 'new' / 'other.db'}"
    assert OK == run(["import", str(document), "--program", "copy", "--store", other, "--json"])
    assert {"program": "copy", "version": 3} == json.loads(capsysbinary.readouterr().out)
    assert OK == run(["show", "copy", "--store", other, "--json"])
    shown = json.loads(capsysbinary.readouterr().out)
    assert ({"first": 1}, ["rollback", "MIPROv2", "create"]) == (
        shown["tags"],
        [row["lineage"]["by"] for row in shown["versions"]],
    )


def test_a_document_may_come_on_stdin(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`-` is its name; to a program that is there it adds a version."""
    assert OK == run(["export", "qa", "--version", "2"])
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(capsys.readouterr().out.encode())))
    assert OK == run(["import", "-", "--note", "once more"])
    assert ["qa  version 4"] == lines(capsys)


def test_verify_finds_nothing_broken(capsys: Capture) -> None:
    """And says how much it has looked at."""
    assert OK == run(["verify"])
    assert ["2 programs with 4 versions: nothing is broken"] == lines(capsys)


def test_what_is_broken_is_found_and_put_right(capsys: Capture, file: Path) -> None:
    """The exit code tells whether something is left."""

    async def spoil(library: Library, store: Store) -> None:
        await store.commit([Delete(key=head_key("summary")), Put(key=version_key("qa", 3), body=b"gone")])

    at_store(file, spoil)
    assert CALL_FAILED == run(["verify", "--json"])
    found = json.loads(capsys.readouterr().out)["findings"]
    assert ["version_damaged", "newest_unreadable", "head_missing"] == [one["problem"] for one in found]
    assert CALL_FAILED == run(["show", "qa", "--version", "3"])
    assert "version 2 is sound" in capsys.readouterr().err
    assert OK == run(["repair", "summary"])
    assert CALL_FAILED == run(["repair"])
    assert "qa: version 3 cannot be read (value_trailing) (nothing can be done)" in lines(capsys)
    assert OK == run(["show", "summary"])
    assert OK == run(["verify", "summary"])
    assert OK == run(["export", "qa", "--all", "--sound-only"])


def test_a_program_that_cannot_be_read_is_named(capsys: Capture, file: Path) -> None:
    """Beside the list, which has the others."""

    async def spoil(library: Library, store: Store) -> None:
        await store.commit([Put(key=head_key("qa"), body=b"gone")])

    at_store(file, spoil)
    assert CALL_FAILED == run(["list"])
    told = capsys.readouterr()
    assert ["summary"] == [line.split()[0] for line in told.out.splitlines()[1:]]
    assert "dspex state: program 'qa' cannot be read\n" == told.err


def test_nothing_steers_the_terminal(capsys: Capture, file: Path) -> None:
    """What clients and models wrote is shown without what a terminal acts upon."""

    async def stock(library: Library, store: Store) -> None:
        state = {"self": {"instructions": ODD, ODD: [ODD]}}
        spec = {"module": ODD, "signature": "q -> a"}
        odd = encode_value({"spec": spec, "state": state, "dspy": ODD, "schema": 1})
        lineage = Lineage(by=ODD, note=ODD, scores={ODD: 1.0})
        await library.create("\u202eodd", odd, lineage=lineage, tags=["\u202elive"])
        await library.add("\u202eodd", base=1, must_be_newest=True, content=content(ODD), lineage=lineage)

    at_store(file, stock)
    for arguments in (
        ["list"],
        ["show", "\u202eodd"],
        ["show", "\u202eodd", "--version", "1"],
        ["diff", "\u202eodd", "1", "2"],
        ["export", "\u202eodd", "--all"],
        ["verify"],
    ):
        assert OK == run(arguments)
    run(["show", "\u202enone"])
    run(["show", "\x1b"])
    told = capsys.readouterr()
    assert (told.out + told.err).replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["list", "--store", "memory"], "--store: expected a store that outlives its server"),
        (["list", "--store", "sqlite:/nowhere/state.db"], "--store: expected a file that there is"),
        (["list", "--store", "mysql://u:secret@h"], "--store: expected"),
        (["list", "--limit", "-1"], "--limit: expected"),
        (["list", "--tag", ""], "--tag: expected"),
        (["list", "--prefix", "a\n"], "--prefix: expected"),
        (["show", ""], "PROGRAM: expected"),
        (["show", "\udc80"], "PROGRAM: expected"),
        (["show", "qa", "--version", "0"], "--version: expected"),
        (["diff", "qa", "1", "99999999999"], "TO: expected"),
        (["import", "/nowhere/qa.json"], "FILE: expected a file that can be read"),
        (["import", "a\0"], "FILE: expected"),
        (["import", "-", "--program", "a\n"], "--program: expected"),
    ],
)
def test_a_word_that_cannot_be_is_named(capsys: Capture, arguments: list[str], told: str) -> None:
    """Exit code 2, and no secret of an address."""
    assert BAD_ARGUMENTS == run(arguments)
    error = capsys.readouterr().err
    assert told in error
    assert "secret" not in error


@pytest.mark.parametrize(
    "arguments", [[], ["explode"], ["show"], ["diff", "qa", "1"], ["show", "qa", "--verbose"]]
)
def test_words_that_are_missing_or_unknown_are_refused(capsys: Capture, arguments: list[str]) -> None:
    """As argparse does."""
    assert BAD_ARGUMENTS == run(arguments)
    assert "usage: dspex state" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "none"], "unknown_program"),
        (["show", "qa", "--version", "9"], "unknown_program"),
        (["show", "qa", "--tag", "none"], "unknown_program"),
        (["diff", "qa", "1", "9"], "unknown_program"),
        (["export", "none", "--all"], "unknown_program"),
        (["verify", "none"], "unknown_program"),
    ],
)
def test_what_is_not_there_is_an_error(capsys: Capture, arguments: list[str], code: str) -> None:
    """Exit code 1; for machines on one line."""
    assert CALL_FAILED == run(arguments)
    assert capsys.readouterr().err.startswith(f"{code}: ")
    assert CALL_FAILED == run([*arguments, "--json"])
    assert code == json.loads(capsys.readouterr().err)["error"]["code"]


def test_what_is_no_document_is_an_error(capsys: Capture, tmp_path: Path) -> None:
    """That names the place; nothing is stored."""
    (tmp_path / "bad.json").write_text('{"format": "dspex", "schema": 1}')
    assert CALL_FAILED == run(["import", str(tmp_path / "bad.json")])
    assert "document.checksum" in capsys.readouterr().err


def test_a_file_that_is_no_store_is_told(capsys: Capture, file: Path) -> None:
    """Exit code 3, and no stack trace."""
    file.write_bytes(b"This is no database, and it is longer than a header of one. " * 99)
    for name in ("-wal", "-shm"):
        Path(f"{file}{name}").unlink(missing_ok=True)
    assert NO_SERVER == run(["list"])
    error = capsys.readouterr().err
    assert error.startswith("store_")
    assert "Traceback" not in error


def test_a_store_that_nobody_serves_is_told(capsys: Capture) -> None:
    """Exit code 3, and the password stays out of it."""
    assert NO_SERVER == run(["list", "--store", "redis://user:secret@127.0.0.1:1/0", "--json"])
    error: dict[str, Any] = json.loads(capsys.readouterr().err)["error"]
    assert ("store_unavailable", True) == (error["code"], error["retryable"])
    assert "secret" not in json.dumps(error)


@pytest.mark.slow
def test_it_is_a_command(file: Path) -> None:
    """In a process of its own, while somebody else has the store open."""

    async def meanwhile(library: Library, store: Store) -> None:
        command = (sys.executable, "-m", "dspex_pool", "state", "list", "--json")
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
        )
        assert (OK, "") == (done.returncode, done.stderr)
        assert ["qa", "summary"] == [json.loads(line)["program"] for line in done.stdout.splitlines()]

    at_store(file, meanwhile)
