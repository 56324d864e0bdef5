"""Names are text: any script, never a path, no control characters."""

from __future__ import annotations

import pytest

from dspex_pool.library import Reference, check_program, check_tag, reference_of
from dspex_pool.library.names import check_prefix
from dspex_protocol import CallerError

ODD_NAMES = [
    "../x",
    "a/b",
    ".",
    "..",
    "~",
    "*",
    "a b",
    " ",
    "%00",
    "\\",
    "'; DROP TABLE program; --",
    "Frage",
    "質問",
    "\u202egnp.exe",
    "\u200b",
    "🦀",
    "é",
    "e\u0301",
    "\u0080",
    "x" * 128,
    "é" * 64,
]
NO_NAMES: list[object] = [
    "",
    "a\0",
    "\x1f",
    "a\x1f0000000001",
    "\n",
    "\x7f",
    "\t",
    "x" * 129,
    "é" * 65,
    "\udc80",
    None,
    1,
    b"x",
    [],
    True,
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_is_text(name: str) -> None:
    """What would be special elsewhere is not here; nothing is normalized."""
    assert name == check_program(name)
    assert Reference(name) == reference_of({"program": name})


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_is_refused(name: object) -> None:
    """The error says where it stood."""
    with pytest.raises(CallerError) as caught:
        check_program(name, "meta.program")
    assert "invalid_argument" == caught.value.code
    assert "meta.program" == caught.value.details["field"]
    assert str(caught.value).isprintable()


def test_a_tag_is_shorter() -> None:
    """At most 64 bytes."""
    assert "x" * 64 == check_tag("x" * 64)
    with pytest.raises(CallerError) as caught:
        check_tag("x" * 65)
    assert "tag" == caught.value.details["field"]


def test_a_prefix_may_be_empty() -> None:
    """It is that of all names."""
    assert "" == check_prefix("")
    with pytest.raises(CallerError):
        check_prefix("a\0")


def test_a_version_goes_by_number_or_by_tag() -> None:
    """Without either it is the newest."""
    assert Reference("p", 3, None) == reference_of({"program": "p", "version": 3})
    assert Reference("p", None, "live") == reference_of({"program": "p", "tag": "live"})
    with pytest.raises(CallerError) as caught:
        reference_of({"program": "p", "version": 3, "tag": "live"})
    assert "meta.tag" == caught.value.details["field"]


@pytest.mark.parametrize("version", [0, -1, 1.0, "1", True, 2**63])
def test_what_is_no_version_is_refused(version: object) -> None:
    """By name."""
    with pytest.raises(CallerError) as caught:
        reference_of({"program": "p", "version": version})  # type: ignore[dict-item]  # whatever came
    assert "meta.version" == caught.value.details["field"]
