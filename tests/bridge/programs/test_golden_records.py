"""Records of every schema that there has been: each is read today, and says what it always said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.support.golden import CASES, RECORDS, build, load, over_the_wire, requests_text

from dspex_bridge.programs.upgrades import SCHEMA, STEPS
from dspex_protocol import decode_value, encode_value

FILES = sorted(RECORDS.glob("*.msgpack"))
STEPPED = [path for path in FILES if not path.name.endswith(f".{SCHEMA}.msgpack")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_record_says_what_it_always_said(path: Path) -> None:
    """With each adapter, to the letter."""
    name = path.name.partition(".")[0]
    expected = (RECORDS / f"{name}.requests.json").read_text()
    assert expected == requests_text(name, load(path.read_bytes()))


@pytest.mark.parametrize("path", STEPPED, ids=lambda path: path.name)
def test_an_upgrade_gives_the_record_of_the_next_schema(path: Path) -> None:
    """To the byte."""
    name, schema, _ = path.name.split(".")
    step = int(schema)
    before = decode_value(path.read_bytes())
    assert isinstance(before, dict)
    after = {**STEPS[step](before), "schema": step + 1}
    assert (RECORDS / f"{name}.{step + 1}.msgpack").read_bytes() == encode_value(after)


@pytest.mark.parametrize("name", CASES)
def test_a_record_of_today_is_the_newest_of_its_case(name: str) -> None:
    """A change of what is stored needs a new schema."""
    stored = over_the_wire(decode_value((RECORDS / f"{name}.{SCHEMA}.msgpack").read_bytes()))
    assert stored == over_the_wire({**build(name).record(), "dspy": stored["dspy"]})


def test_every_case_has_a_record_of_each_schema_since_it_came() -> None:
    """Without gaps, up to this one; and every step has something to show."""
    assert {re.sub(r"\..*", "", path.name) for path in FILES} == set(CASES)
    for name in CASES:
        schemas = sorted(int(path.name.split(".")[1]) for path in FILES if path.name.startswith(f"{name}."))
        assert list(range(schemas[0], SCHEMA + 1)) == schemas
    assert set(STEPS) == {int(path.name.split(".")[1]) for path in STEPPED}


def test_a_program_survives_any_number_of_moves() -> None:
    """Record, program, record: the same bytes."""
    for name in CASES:
        record = encode_value(build(name).record())
        assert record == encode_value(load(record).record())
