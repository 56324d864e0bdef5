"""The golden records: what they are of, where they are, and what a program of one says to its model.

For each case there is its record in the schema of the day it was added (`NAME.1.msgpack`), what
each upgrade makes of that (`NAME.2.msgpack`, …), and the requests of a prediction, which never
change (`NAME.requests.json`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dspex_bridge.adapters.adapters import ADAPTERS
from dspex_bridge.programs.builder import Builder
from dspex_bridge.programs.live import LiveProgram
from dspex_bridge.programs.records import Spec, read_record
from dspex_bridge.signatures.signatures import check_inputs
from dspex_protocol import decode_value, encode_value
from dspex_protocol.records import read

from .programs import RICH_INPUTS, RICH_SIGNATURE, rich_state
from .recording import requests_of

RECORDS: Final = Path(__file__).parents[1] / "golden" / "records"

_PLAIN: Final[dict[str, Any]] = {"signature": "question -> answer"}
_RICH: Final[dict[str, Any]] = {"signature": RICH_SIGNATURE}
_REASONING: Final = {"rationale_field_type": "list[str]"}

CASES: Final[dict[str, tuple[dict[str, Any], dict[str, object] | None, Mapping[str, object]]]] = {
    "predict-plain": ({"module": "Predict", **_PLAIN}, None, {"question": "Why?"}),
    "chain-of-thought-plain": ({"module": "ChainOfThought", **_PLAIN}, None, {"question": "Why?"}),
    "predict-with-everything": (
        {"module": "Predict", **_RICH, "options": {"config": {"temperature": 0.5, "stop": ["x"]}}},
        rich_state("self"),
        RICH_INPUTS,
    ),
    "chain-of-thought-with-everything": (
        {"module": "ChainOfThought", **_RICH, "options": {"config": {"max_tokens": 9}, **_REASONING}},
        rich_state("predict", reasoning=["one", "two"]),
        RICH_INPUTS,
    ),
}
"""Name to spec, state and inputs."""


def over_the_wire(value: object) -> Any:
    """A value as its receiver has it."""
    return decode_value(encode_value(value))


def build(name: str) -> LiveProgram:
    """The program of a case, made today."""
    spec, state, _ = CASES[name]
    return Builder().build(read(Spec, over_the_wire(spec), "spec"), over_the_wire(state))


def load(record: bytes) -> LiveProgram:
    """The program of a record."""
    return Builder().load(read_record(decode_value(record)))


def requests_text(name: str, program: LiveProgram) -> str:
    """What a prediction of a case says to its model, with each adapter."""
    inputs = check_inputs(program.signature, over_the_wire(CASES[name][2]))
    requests = {adapter: json.loads(requests_of(program.module, inputs, adapter)) for adapter in ADAPTERS}
    return json.dumps(requests, ensure_ascii=False, indent=1) + "\n"
