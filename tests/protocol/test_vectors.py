"""The golden vectors: what the bytes in protocol/vectors mean to this codec."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from dspex_protocol import WireError, decode_value, encode_value

from .notation import VECTORS, Vector, read_bytes, read_value, same, vectors

SHAPES = ("value", "body", "stream", "conversation")


def cases(shape: str) -> Any:
    """A parameter for each vector of a shape, under its own name."""
    return pytest.mark.parametrize("vector", [pytest.param(one, id=one["id"]) for one in vectors(shape)])


@cases("value")
def test_value_vector(vector: Vector) -> None:
    """A payload means its value, or is refused with its code."""
    payload = read_bytes(vector)
    if "error" in vector:
        with pytest.raises(WireError) as refusal:
            decode_value(payload)
        assert refusal.value.code in [vector["error"], *vector.get("or", [])]
        return
    assert same(read_value(vector["value"]), decode_value(payload))
    if vector["direction"] == "both":
        assert payload == encode_value(read_value(vector["value"]))


def test_ids_are_unique() -> None:
    """An id names one vector over all files."""
    ids = [vector["id"] for shape in SHAPES for vector in vectors(shape)]
    assert len(ids) == len(set(ids))
    assert len(ids) >= 150


def test_files_are_up_to_date() -> None:
    """The files are what the generator writes."""
    command = [sys.executable, str(VECTORS / "generate.py"), "--check"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "up to date\n" == finished.stdout, finished.stderr
