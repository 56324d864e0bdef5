"""Sessions at rest: what was written once is read for ever, and nothing else is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

from dspex_pool.library.sealing import seal
from dspex_pool.session_records import SCHEMA, STEPS, SessionRecord, key_of, read_record, write
from dspex_protocol import DSPexError, encode_value

FOLDER: Final = Path(__file__).parents[1] / "golden" / "sessions"
SESSION: Final = "Gespräch/1"
RECORD: Final = SessionRecord(
    program="Übersicht/2",
    version=7,
    turn=3,
    ttl_s=86_400.5,
    checkpoint=encode_value({"history": [{"question": "Wer?", "answer": "Ada"}], "state": None, "schema": 1}),
    created_ms=1_700_000_000_000,
    life="0123456789abcdef",
)


def files() -> list[Path]:
    """One for each schema; `python -m tests.pool.test_session_records` writes that of today."""
    return sorted(FOLDER.glob("session.*.msgpack"))


def failure_of(body: bytes, session: str = SESSION) -> DSPexError:
    with pytest.raises(DSPexError) as caught:
        read_record(session, body)
    return caught.value


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_a_session_of_any_schema_is_read(path: Path) -> None:
    """As it was meant."""
    assert RECORD == read_record(SESSION, path.read_bytes())


def test_there_is_one_of_each_schema() -> None:
    """And a step from each to the next."""
    assert list(range(1, SCHEMA + 1)) == [int(path.name.split(".")[1]) for path in files()]
    assert list(range(1, SCHEMA)) == sorted(STEPS)


def test_what_is_written_today_is_todays_schema() -> None:
    """Byte for byte: a change of form needs a new schema, a step and a golden record."""
    assert files()[-1].read_bytes() == write(SESSION, RECORD)


@pytest.mark.parametrize("at", range(0, len(write(SESSION, RECORD)), 7))
def test_a_flipped_bit_is_found(at: int) -> None:
    """Wherever it is; and so is a record that stands under another id, and half of one."""
    whole = write(SESSION, RECORD)
    bent = whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]
    assert ("store_damaged", SESSION) == (failure_of(bent).code, failure_of(bent).details["session"])
    assert "store_damaged" == failure_of(whole, "another").code
    assert "store_damaged" == failure_of(whole[:at]).code


def test_a_sound_session_of_a_newer_schema_is_left_alone() -> None:
    """It is refused, and not taken for damage."""
    newer = failure_of(seal(key_of(SESSION), SCHEMA + 1, b"of a form that is yet to be"))
    assert ("record_too_new", SCHEMA + 1, SCHEMA) == (
        newer.code,
        newer.details["schema"],
        newer.details["known"],
    )


def test_a_sound_record_of_something_else_is_damage() -> None:
    """A field of another type, or one too few."""
    odd = seal(key_of(SESSION), SCHEMA, encode_value({"program": 7}))
    assert "store_damaged" == failure_of(odd).code


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"session.{SCHEMA}.msgpack").open("xb").write(write(SESSION, RECORD))
    sys.exit(0)
