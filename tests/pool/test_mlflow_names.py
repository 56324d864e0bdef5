"""Names as MLflow takes them: sound, different for different ones, and to be read back."""

from __future__ import annotations

import posixpath
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dspex_pool.cli.mlflow_names import MAX_CHARACTERS, file_in_mlflow, name_in_mlflow, text_in_mlflow

NAMES = st.text(min_size=1, max_size=128) | st.text("_x0.F5/a", min_size=1, max_size=20)


def read_back(written: str) -> str:
    """The name that was written so."""
    return re.sub(r"_x([0-9A-F]{4,6})_", lambda found: chr(int(found[1], 16)), written)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("f1", "f1"),
        ("train/loss: 1-2_3.4", "train/loss: 1-2_3.4"),
        ("f1 %", "f1 _x0025_"),
        ("größe", "gr_x00F6__x00DF_e"),
        ("\N{SNOWMAN}", "_x2603_"),
        ("_x0025_", "_x005F_x0025_"),
        ("_x1", "_x1"),
        ("..", "_x002E__x002E_"),
        ("/a", "_x002F_a"),
        ("a//b.c", "a_x002F__x002F_b_x002E_c"),
        ("a/../b", "a_x002F__x002E__x002E__x002F_b"),
    ],
)
def test_a_name_is_written_as_mlflow_takes_it(name: str, written: str) -> None:
    """What it takes stays as it is."""
    assert written == name_in_mlflow(name)
    assert name == read_back(written)


@given(NAMES)
@example("_x005F_x0025_")
@example("__x0025_")
@example("\U0010ffff" * 128)
def test_every_name_is_taken_and_comes_back(name: str) -> None:
    """By MLflow's own rules for names, and as a file of one folder."""
    written, file = name_in_mlflow(name), file_in_mlflow(name)
    assert re.fullmatch(r"[/\w.\- :]+", written, re.ASCII)
    assert re.fullmatch(r"[\w\-][\w.\-]*", file, re.ASCII)
    assert posixpath.normpath(written) == written
    assert not written.startswith(("..", "/"))
    for one in (written, file):
        assert len(one) <= MAX_CHARACTERS
        assert len(one) == MAX_CHARACTERS or name == read_back(one)


def test_names_that_are_cut_are_told_apart() -> None:
    """By a digest."""
    assert 2 == len({name_in_mlflow("é" * 100 + end) for end in "ab"})


def test_values_are_texts() -> None:
    """As JSON, but for texts."""
    assert ["a", "1", "0.5", "true", "null"] == [text_in_mlflow(value) for value in ("a", 1, 0.5, True, None)]
