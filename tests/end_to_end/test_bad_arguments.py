"""Bad arguments, from client to worker and back: each error names the field, and nothing changes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.servers import PREDICT, info

from dspex_pool.client import Client
from dspex_protocol import DSPexError

SPEC = dict(PREDICT)
INPUTS = {"question": "?"}

# By name: method, payload and meta, then the code and the field that the error must have.
TABLE: dict[str, tuple[str, object, dict[str, Any], str, str | None]] = {
    "unknown method": ("program.prdict", {}, {}, "unknown_method", None),
    "a method of the other hop": ("worker.configure", {}, {}, "unknown_method", None),
    "payload is no map": ("program.predict", 7, {}, "invalid_argument", "payload"),
    "a field is missing": ("program.predict", {"spec": SPEC}, {}, "invalid_argument", "inputs"),
    "a field is misspelt": (
        "program.predict",
        {"spec": SPEC, "inputs": INPUTS, "confg": {}},
        {},
        "invalid_argument",
        "confg",
    ),
    "a field has another type": (
        "program.predict",
        {"spec": SPEC, "inputs": []},
        {},
        "invalid_argument",
        "inputs",
    ),
    "an input has another type": (
        "program.predict",
        {"spec": SPEC, "inputs": {"question": 7}},
        {},
        "invalid_argument",
        "inputs.question",
    ),
    "an input is missing": (
        "program.predict",
        {"spec": SPEC, "inputs": {}},
        {},
        "invalid_argument",
        "inputs.question",
    ),
    "an input is unknown": (
        "program.predict",
        {"spec": SPEC, "inputs": {**INPUTS, "extra": 1}},
        {},
        "invalid_argument",
        "inputs.extra",
    ),
    "unknown module": (
        "program.create",
        {"spec": {**SPEC, "module": "Predct"}},
        {},
        "invalid_argument",
        "spec.module",
    ),
    "malformed signature": (
        "program.create",
        {"spec": {**SPEC, "signature": "question -> answer answer"}},
        {},
        "invalid_argument",
        "spec.signature",
    ),
    "unknown type": (
        "program.create",
        {"spec": {**SPEC, "signature": "question -> answer: os.system"}},
        {},
        "invalid_argument",
        "spec.signature",
    ),
    "unknown program": (
        "program.predict",
        {"inputs": INPUTS},
        {"program": "nobody"},
        "unknown_program",
        None,
    ),
    "unknown version": ("program.get", {}, {"program": "kept", "version": 9}, "unknown_program", None),
    "program exists": ("program.create", {"spec": SPEC}, {"program": "kept"}, "program_exists", None),
    "unknown adapter": (
        "program.predict",
        {"spec": SPEC, "inputs": INPUTS, "adapter": "yaml"},
        {},
        "invalid_argument",
        "adapter",
    ),
    "unknown model": (
        "program.predict",
        {"spec": SPEC, "inputs": INPUTS, "lm": "gpt"},
        {},
        "unknown_lm",
        "lm",
    ),
    "deadline of another type": (
        "system.echo",
        1,
        {"deadline_ms": "soon"},
        "invalid_argument",
        "meta.deadline_ms",
    ),
    "deadline out of range": ("system.echo", 1, {"deadline_ms": 0}, "invalid_argument", "meta.deadline_ms"),
    "priority out of range": ("system.echo", 1, {"priority": 10}, "invalid_argument", "meta.priority"),
    "parent that is not open": ("system.echo", 1, {"parent": 5}, "invalid_argument", "meta.parent"),
    "unknown lane": ("system.echo", 1, {"lane": "fast"}, "invalid_argument", "meta.lane"),
    "hello again": ("system.hello", {}, {}, "handshake_repeated", None),
}


@pytest.mark.slow
async def test_each_names_what_is_wrong(client: Client) -> None:
    """Code, field, what was expected and what came; workers and store stay as they were."""
    await client.call("program.create", {"spec": SPEC}, program="kept")
    before = (await info(client))["workers"], await client.call("program.list", {})
    wrong: list[object] = []
    for name, (method, payload, meta, code, field) in TABLE.items():
        try:
            wrong.append((name, "a result", await client.call(method, payload, **meta)))
        except DSPexError as refusal:
            if (code, field) != (refusal.code, refusal.details.get("field")):
                wrong.append((name, refusal.code, refusal.message, refusal.details))
            if field is not None and not {"expected", "got"} <= set(refusal.details):
                wrong.append((name, refusal.details))
    assert [] == wrong
    after = (await info(client))["workers"], await client.call("program.list", {})
    assert [worker["pid"] for worker in before[0]] == [worker["pid"] for worker in after[0]]
    assert before[1] == after[1]
