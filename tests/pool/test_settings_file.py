"""A settings file: TOML, typed, below flags and environment, and each mistake told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from dspex_pool.config import Config
from dspex_pool.settings import effective_settings, read_config
from dspex_protocol import DSPexError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a settings file may be written."""
    return tmp_path / "dspex.toml"


def read_file(file: Path, text: str) -> Config:
    file.write_text(text)
    return read_config({}, {"config_file": str(file)})


def refusal(file: Path, text: str) -> DSPexError:
    with pytest.raises(DSPexError) as caught:
        read_file(file, text)
    assert "invalid_argument" == caught.value.code
    return caught.value


def test_a_file_sets_settings_of_each_type(file: Path) -> None:
    """Integer, number (an integer will do), boolean, text."""
    text = 'workers = 7\ngrace_s = 1\nbatch_share = 0.5\nzygote = false\nlm = "sim/a"\n'
    assert Config(workers=7, grace_s=1.0, batch_share=0.5, zygote=False, lm="sim/a") == read_file(file, text)


def test_an_empty_file_sets_nothing(file: Path) -> None:
    """Comments are no settings either."""
    assert Config() == read_file(file, "# workers = 7\n")


def test_flag_environment_file_default_in_that_order(file: Path) -> None:
    """Each is overruled by the one before it, and says where it came from."""
    file.write_text("workers = 3\nmax_queue = 30\ngrace_s = 3.0\n")
    environment = {"DSPEX_CONFIG_FILE": str(file), "DSPEX_WORKERS": "2", "DSPEX_MAX_QUEUE": "20"}
    rows = {row["name"]: row for row in effective_settings(environment, {"workers": "1"})}
    told = {name: (rows[name]["value"], rows[name]["source"]) for name in ("workers", "max_queue", "grace_s")}
    assert {"workers": (1, "flag"), "max_queue": (20, "environment"), "grace_s": (3.0, "file")} == told
    assert ("default", None) == (rows["drain_s"]["source"], rows["drain_s"]["source_file"])


def test_the_flag_names_the_file_before_the_variable_does(file: Path) -> None:
    """The variable's file is not even looked for."""
    file.write_text("workers = 3\n")
    environment = {"DSPEX_CONFIG_FILE": str(file) + ".missing"}
    assert 3 == read_config(environment, {"config_file": str(file)}).workers


@pytest.mark.parametrize(
    ("text", "key", "expected", "got"),
    [
        ('workers = "4"', "workers", "an integer from 1 to 256", "string '4'"),
        ("workers = 0", "workers", "an integer from 1 to 256", "0"),
        ("workers = true", "workers", "an integer from 1 to 256", "true"),
        ("zygote = 1", "zygote", "a boolean", "1"),
        ("min_workers = 2.0", "min_workers", "an integer from 0 to 256", "2.0"),
        ("grace_s = nan", "grace_s", "a number from 0 to 600", "nan"),
        ("lm = 2026-01-31", "lm", "a string", "date"),
        ("[workers]\nleast = 1", "workers", "an integer from 1 to 256", "map"),
    ],
)
def test_a_value_of_the_wrong_type_is_told(file: Path, text: str, key: str, expected: str, got: str) -> None:
    """File, key, expected, got; texts are not taken for numbers."""
    failure = refusal(file, text)
    assert (f"{key} in {file}", expected) == (failure.details["field"], failure.details["expected"])
    assert got in str(failure.details["got"]).lower()


def test_an_unknown_key_is_told_with_the_nearest(file: Path) -> None:
    """Dashes are for flags."""
    failure = refusal(file, "max-queue = 1")
    assert f"max-queue in {file}: there is no such setting; did you mean max_queue?" == failure.message


def test_a_file_that_names_a_file_is_refused(file: Path) -> None:
    """One file, so that `which one counts` is never a question."""
    assert f"config_file in {file}" == refusal(file, 'config_file = "other.toml"').details["field"]


@pytest.mark.parametrize("content", [b"workers = ", b"workers = 1\nworkers = 2", b'lm = "\xff"'])
def test_what_is_no_toml_is_told_with_the_file(file: Path, content: bytes) -> None:
    """Cut short, a key twice, no UTF-8."""
    file.write_bytes(content)
    with pytest.raises(DSPexError) as caught:
        read_config({}, {"config_file": str(file)})
    assert caught.value.message.startswith(f"{file}: this is no TOML: ")


@pytest.mark.parametrize(
    ("environment", "flags", "blamed"),
    [
        ({"DSPEX_CONFIG_FILE": "missing.toml"}, {}, "DSPEX_CONFIG_FILE"),
        ({}, {"config_file": "missing.toml"}, "--config-file"),
    ],
)
def test_a_file_that_is_not_there_is_refused(
    environment: dict[str, str], flags: dict[str, str], blamed: str
) -> None:
    """A server without the settings that somebody wrote would be another server."""
    with pytest.raises(DSPexError) as caught:
        read_config(environment, flags)
    assert (blamed, "string 'missing.toml'") == (caught.value.details["field"], caught.value.details["got"])
    assert "No such file" in caught.value.message
