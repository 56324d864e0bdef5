"""`stdio` and `unix:PATH`: what is read of them, and what is refused."""

from __future__ import annotations

import pytest

from dspex_pool.addresses import MAX_PATH_BYTES, Places, read_places, read_socket
from dspex_pool.settings import read_config
from dspex_protocol import DSPexError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stdio", Places(stdio=True, socket=None)),
        ("unix:/run/pool", Places(stdio=False, socket="/run/pool")),
        ("stdio,unix:pool", Places(stdio=True, socket="pool")),
        (" unix:pool , stdio ", Places(stdio=True, socket="pool")),
    ],
)
def test_places_are_read(text: str, expected: Places) -> None:
    """Either or both, in any order; a path may be relative."""
    assert expected == read_places(text, "listen")


@pytest.mark.parametrize(
    "text",
    ["", ",", "tcp:1234", "stdio,stdio", "unix:a,unix:b", "unix:", "stdio,", "UNIX:a", "unix:a\0b"],
)
def test_other_places_are_refused_by_the_name_they_came_by(text: str) -> None:
    """A server that listens nowhere, or at one of two, is none that somebody asked for."""
    with pytest.raises(DSPexError) as refusal:
        read_config({}, {"listen": text})
    assert ("invalid_argument", "--listen") == (refusal.value.code, refusal.value.details["field"])


def test_a_path_is_as_long_as_the_kernel_takes_in_bytes() -> None:
    """One more, or a character of two bytes, and it is refused with the limit."""
    longest = "x" * MAX_PATH_BYTES
    assert longest == read_socket(f"unix:{longest}", "address")
    for path in (longest + "x", longest[:-1] + "é"):
        with pytest.raises(DSPexError) as refusal:
            read_socket(f"unix:{path}", "address")
        assert "at most 107 bytes" in refusal.value.message
