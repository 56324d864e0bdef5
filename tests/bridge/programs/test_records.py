"""Records: their schema, and what is said of those that cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_bridge.programs.builder import Builder
from dspex_bridge.programs.records import read_record
from dspex_bridge.programs.upgrades import SCHEMA, STEPS, upgraded
from dspex_protocol import DSPexError

FIRST: dict[str, Any] = {
    "spec": {"module": "Predict", "signature": "q -> a", "options": {}},
    "state": {
        "self": {
            "signature": {
                "instructions": "Say.",
                "fields": [{"prefix": "Q:", "description": ""}, {"prefix": "A:", "description": ""}],
            },
            "demos": [],
            "train": [],
            "traces": [],
            "lm": None,
        }
    },
    "dspy": "3.4.1",
    "schema": 1,
}
"""Of schema 1."""


def test_there_is_a_step_from_every_schema() -> None:
    """Up to the one that is written."""
    assert list(range(1, SCHEMA)) == sorted(STEPS)


def test_a_step_leaves_what_it_reads_as_it_is() -> None:
    """It may be read again."""
    before = repr(FIRST)
    upgraded(FIRST)
    assert before == repr(FIRST)


def test_settings_of_decisions_find_their_new_name() -> None:
    """In schema 1 they were called `fields`, as DSPy does."""
    own = {**FIRST["state"]["self"], "fields": {"a": {"threshold": 0.5}}}
    after = upgraded({**FIRST, "state": {"self": own}})
    assert {"a": {"threshold": 0.5}} == after["state"]["self"]["decisions"]
    assert "Say." == after["state"]["self"]["instructions"]


def test_a_language_model_in_an_old_record_is_dropped() -> None:
    """With its address and its key."""
    own = {**FIRST["state"]["self"], "lm": {"model": "openai/x", "api_base": "http://evil.test"}}
    record = read_record({**FIRST, "state": {"self": own}})
    assert "evil" not in repr(Builder().load(record).record())


@pytest.mark.parametrize("schema", [SCHEMA + 1, 2**60])
def test_a_newer_schema_is_refused_by_its_own_code(schema: int) -> None:
    """Saying which is known here."""
    with pytest.raises(DSPexError) as refused:
        upgraded({**FIRST, "schema": schema})
    assert "record_too_new" == refused.value.code
    assert {"field": "record.schema", "schema": schema, "known": SCHEMA} == refused.value.details


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (None, "record"),
        ([], "record"),
        ({}, "record.schema"),
        ({**FIRST, "schema": 0}, "record.schema"),
        ({**FIRST, "schema": "1"}, "record.schema"),
        ({**FIRST, "schema": True}, "record.schema"),
        ({"schema": 1}, "record"),
        ({**FIRST, "state": []}, "record"),
        ({**FIRST, "state": {"self": 3}}, "record"),
        ({**FIRST, "state": {"self": {"signature": None, "demos": [], "train": []}}}, "record"),
        ({**FIRST, "schema": SCHEMA, "state": 3}, "record.state"),
        ({**FIRST, "schema": SCHEMA, "extra": 3}, "record.extra"),
        ({**FIRST, "schema": SCHEMA, "spec": {"module": ""}}, "record.spec.module"),
        ({**FIRST, "schema": SCHEMA, "dspy": None}, "record.dspy"),
    ],
)
def test_what_is_no_record_is_refused_by_its_part(record: object, field: str) -> None:
    """Of whatever schema it says to be."""
    with pytest.raises(DSPexError) as refused:
        read_record(record)
    assert ("invalid_argument", field) == (refused.value.code, refused.value.details["field"])


def test_a_record_of_the_first_schema_becomes_a_program() -> None:
    """As one of today."""
    state: Any = Builder().load(read_record(FIRST)).record()["state"]
    assert "Say." == state["self"]["instructions"]
