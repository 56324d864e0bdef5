"""Records of every schema that there ever was are read, and mean today what they meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.pool.library.golden import CONTENT, DELETED, DOCUMENT, FOLDER, HEAD, PROGRAM, VERSION, WRITE

from dspex_pool.library import read_document
from dspex_pool.library.records import read_head, read_version, write_head, write_version
from dspex_pool.library.sealing import TooNew, seal
from dspex_pool.library.upgrades import (
    HEAD_SCHEMA,
    HEAD_STEPS,
    VERSION_SCHEMA,
    VERSION_STEPS,
    WRITE_SCHEMA,
    WRITE_STEPS,
    Step,
    upgrade,
)
from dspex_pool.library.writes import first_answer
from dspex_pool.store import Key


def files(kind: str) -> list[Path]:
    return sorted(FOLDER.glob(f"{kind}.*"))


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        ("head", HEAD_SCHEMA),
        ("deleted", HEAD_SCHEMA),
        ("version", VERSION_SCHEMA),
        ("write", WRITE_SCHEMA),
        ("document", 1),
    ],
)
def test_there_is_one_of_each_schema(kind: str, schema: int) -> None:
    """`python -m tests.pool.library.golden` adds one for a new schema."""
    assert list(range(1, schema + 1)) == sorted(int(path.name.split(".")[1]) for path in files(kind))


@pytest.mark.parametrize("path", files("head") + files("deleted"), ids=lambda path: path.name)
def test_a_head_is_read(path: Path) -> None:
    """As it was meant."""
    head = DELETED if path.name.startswith("deleted") else HEAD
    assert head == read_head(head.program, path.read_bytes())


@pytest.mark.parametrize("path", files("version"), ids=lambda path: path.name)
def test_a_version_is_read(path: Path) -> None:
    """Its content to the byte."""
    version = read_version(PROGRAM, 7, path.read_bytes())
    assert VERSION == version
    assert CONTENT == version.content


@pytest.mark.parametrize("path", files("write"), ids=lambda path: path.name)
def test_a_write_is_read(path: Path) -> None:
    """And answered."""
    assert (PROGRAM, 7) == first_answer(WRITE, "add", path.read_bytes())


@pytest.mark.parametrize("path", files("document"), ids=lambda path: path.name)
def test_a_document_is_read(path: Path) -> None:
    """From a file that somebody has kept."""
    assert DOCUMENT == read_document(path.read_text())


def test_what_is_written_today_is_todays_schema() -> None:
    """Byte for byte: a change of form needs a new schema, a step and a golden record."""
    assert (FOLDER / f"head.{HEAD_SCHEMA}.msgpack").read_bytes() == write_head(HEAD)
    assert (FOLDER / f"version.{VERSION_SCHEMA}.msgpack").read_bytes() == write_version(VERSION)


def test_there_is_a_step_from_each_schema_to_the_next() -> None:
    """So that none is left behind."""
    assert list(range(1, HEAD_SCHEMA)) == sorted(HEAD_STEPS)
    assert list(range(1, VERSION_SCHEMA)) == sorted(VERSION_STEPS)
    assert list(range(1, WRITE_SCHEMA)) == sorted(WRITE_STEPS)


def _step(number: int) -> Step:
    return lambda body: {**body, str(number): True}


def test_steps_are_taken_one_after_the_other() -> None:
    """From the record's schema to the newest."""
    steps = {number: _step(number) for number in (1, 2, 3)}
    assert {"2": True, "3": True} == upgrade({}, 2, 4, steps)
    assert {} == upgrade({}, 4, 4, steps)


def test_a_sound_record_of_a_newer_schema_is_known_as_such() -> None:
    """It is refused, and not taken for damage."""
    with pytest.raises(TooNew) as caught:
        read_head("p", seal(Key("program", "p"), HEAD_SCHEMA + 1, b"of a form that is yet to be"))
    assert HEAD_SCHEMA + 1 == caught.value.schema
