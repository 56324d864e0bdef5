"""P8, hostile bytes are refused with one error: decoders that crash, guess or differ are found."""

from __future__ import annotations

import random

import pytest
from tests.fuzz import oracle
from tests.fuzz.corpus import seeds
from tests.fuzz.mutation import mutate

from dspex_protocol import FrameDecoder, Oversized, decode_value


def crashes(payload: bytes) -> object:
    """Reads past the end."""
    return decode_value(payload) if payload[-1:] != b"\x80" else payload[len(payload)]


def guesses(payload: bytes) -> object:
    """Passes over what comes after the value."""
    return decode_value(payload.rstrip(b"\xc0") or b"\xc0")


class Resynchronizing(FrameDecoder):
    """Begins anew in the middle of a frame that comes in pieces."""

    def feed(self, data: bytes) -> list[bytes | Oversized]:
        if self._missing > 100:
            self._missing = 0
        return super().feed(data)


def found(runs: int = 3000) -> bool:
    """Whether a run of bent seeds, such as the fuzzer's, breaks a check."""
    chance, corpus = random.Random(8), seeds()
    for _ in range(runs):
        try:
            oracle.check(mutate(chance.choice(corpus), b"", chance))
        except Exception:
            return True
    return False


def test_nothing_is_found_where_nothing_is_planted() -> None:
    """Or the tests below would show nothing."""
    assert not found()


@pytest.mark.parametrize(
    ("name", "defect"),
    [("decode_value", crashes), ("decode_value", guesses), ("FrameDecoder", Resynchronizing)],
    ids=["crashes", "guesses", "resynchronizes"],
)
def test_a_broken_decoder_is_found(name: str, defect: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within as many inputs as are tried in a moment."""
    monkeypatch.setattr(oracle, name, defect)
    assert found()
