"""`dspex config`: every setting in force, and where it came from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dspex_pool.cli.config import run
from dspex_pool.cli.exits import BAD_ARGUMENTS, OK
from dspex_pool.config import describe_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DSPEX_")]:
        monkeypatch.delenv(name)


def test_json_has_every_setting_with_its_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flag, environment and default are told apart."""
    monkeypatch.setenv("DSPEX_GRACE_S", "1")
    assert OK == run(["--json", "--workers", "4"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert [row["name"] for row in describe_settings()] == list(rows)
    assert (4, "flag", "--workers") == tuple(
        rows["workers"][key] for key in ("value", "source", "source_name")
    )
    assert (1.0, "environment") == (rows["grace_s"]["value"], rows["grace_s"]["source"])
    assert "default" == rows["max_queue"]["source"]


def test_people_read_value_source_reason_and_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two lines a setting."""
    monkeypatch.setenv("DSPEX_WORKERS", "5")
    assert OK == run([])
    lines = capsys.readouterr().out.splitlines()
    assert 2 * len(describe_settings()) == len(lines)
    assert "workers = 5  (from DSPEX_WORKERS)" == lines[0]
    assert lines[1].endswith("an integer from 1 to 256 (workers); --workers, DSPEX_WORKERS")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--workers", "0"], "--workers: expected an integer from 1 to 256"),
        (["--wrokers", "2"], "--wrokers: there is no such flag"),
        (["--workers"], "--workers: expected a value"),
    ],
)
def test_a_flag_that_cannot_be_is_named(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    """Exit code 2."""
    assert BAD_ARGUMENTS == run(arguments)
    assert told in capsys.readouterr().err


def test_a_setting_of_a_file_is_shown_with_its_key_and_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """For people in one phrase, for machines apart."""
    file = tmp_path / "dspex.toml"
    file.write_text("workers = 4\n")
    assert OK == run(["--config-file", str(file)])
    assert f"workers = 4  (from workers in {file})" == capsys.readouterr().out.splitlines()[0]
    assert OK == run(["--json", f"--config-file={file}"])
    row = json.loads(capsys.readouterr().out)[0]
    assert ("file", "workers", str(file)) == (row["source"], row["source_name"], row["source_file"])


def test_a_misspelt_flag_is_told_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest name; nobody has to read a list."""
    assert BAD_ARGUMENTS == run(["--max-quue", "1"])
    assert "did you mean --max-queue?" in capsys.readouterr().err
