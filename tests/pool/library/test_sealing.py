"""A sealed record is what was sealed, where it was sealed; or it is broken."""

from __future__ import annotations

import pytest

from dspex_pool.library.sealing import Broken, Sealed, seal, unseal
from dspex_pool.store import Key
from dspex_protocol import encode_value

KEY = Key("thing", "one")
RECORD = seal(KEY, 1, b"body")


def test_a_record_comes_back() -> None:
    """With its schema."""
    assert Sealed(1, b"body") == unseal(KEY, RECORD)
    assert Sealed(7, b"") == unseal(KEY, seal(KEY, 7, b""))


def test_every_other_byte_breaks_it() -> None:
    """Each bit of it is under the checksum, or is the checksum, or holds them together."""
    for at in range(len(RECORD)):
        for bit in range(8):
            damaged = bytearray(RECORD)
            damaged[at] ^= 1 << bit
            with pytest.raises(Broken):
                unseal(KEY, bytes(damaged))


@pytest.mark.parametrize("length", range(len(RECORD)))
def test_a_part_is_broken(length: int) -> None:
    """However long."""
    with pytest.raises(Broken):
        unseal(KEY, RECORD[:length])


@pytest.mark.parametrize("key", [Key("thing", "two"), Key("thin", "gone"), Key("other", "one")])
def test_a_record_of_another_place_is_broken(key: Key) -> None:
    """Be it sound in itself."""
    with pytest.raises(Broken):
        unseal(key, RECORD)


@pytest.mark.parametrize(
    "value", [None, 1, [], {}, {"schema": 1}, {"schema": True, "sha256": b"", "body": b""}, {"a": {"b": 1}}]
)
def test_any_other_value_is_broken(value: object) -> None:
    """Whatever it is."""
    with pytest.raises(Broken):
        unseal(KEY, encode_value(value))
