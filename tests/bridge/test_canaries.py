"""Credentials: forty of them, given in every way, and none comes out of a worker."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.canaries import CONFIGS, ENVIRONMENT, LM_STATE, MARK, SECRETS, count, language_models
from tests.support.hops import Hop, worker_process
from tests.support.indiscreet import indiscreet_provider

from dspex_protocol import DSPexError

SPEC: dict[str, Any] = {"module": "Predict", "signature": "question, history: history -> answer"}
ASKED: dict[str, Any] = {"inputs": {"question": "x"}}
EMPTY: dict[str, Any] = {"history": [], "state": None, "schema": 1}
MINE: dict[str, Any] = {"program": "p", "version": 1}


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with indiscreet_provider() as address:
        yield address


async def everything(hop: Hop, models: dict[str, Any]) -> list[str]:
    """Let each credential get to each place where it could stay; gives the codes of what was refused."""
    codes: list[str] = []

    async def attempt(method: str, value: object = None, **meta: Any) -> Any:
        try:
            return await hop.call(method, value, **meta)
        except DSPexError as refused:
            codes.append(refused.code)
            return None

    record = await hop.call("program.build", {"spec": SPEC})
    for name in models:
        await hop.call("program.load", record, **MINE)
        await hop.call("session.load", EMPTY, session="s", turn=0, **MINE)
        await attempt("program.predict", {**ASKED, "lm": name}, session="s", turn=0, **MINE)
    for config in CONFIGS:
        for options in ({"config": config}, config):
            await attempt("program.build", {"spec": {**SPEC, "options": options}})
            await attempt("program.predict", {**ASKED, "spec": {**SPEC, "options": options}})
        await attempt("program.predict", {**ASKED, "config": config}, session="s", turn=0, **MINE)
    await attempt("program.build", {"spec": SPEC, "state": {"self": {"lm": f"sk-{MARK}-0123456789"}}})
    document = json.loads((await hop.call("program.dump", None, **MINE))["document"])
    text = json.dumps({**document, "lm": LM_STATE})
    await attempt("program.load", await attempt("program.undump", {"document": text, "spec": SPEC}), **MINE)
    own = {**document, "traces": [LM_STATE], "lm": LM_STATE}
    await attempt("program.load", {**record, "state": {"self": own}, "schema": 1}, **MINE)
    await attempt("program.revise", {"state": {"self": {"instructions": "New."}}}, **MINE)
    await attempt("program.dump", None, **MINE)
    await attempt("session.load", EMPTY, session="s", turn=0, **MINE)
    await attempt("program.predict", ASKED, session="s", turn=0, **MINE)
    await attempt("system.describe")
    await attempt("lm.list")
    return codes


@pytest.mark.slow
async def test_no_credential_comes_out_of_a_worker(provider: str) -> None:
    """In no record, checkpoint, document, frame, line of stderr or error, whatever the provider quotes."""
    models = language_models(provider)
    environment = {**ENVIRONMENT, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONWARNINGS": "ignore"}
    async with worker_process(models, environment=environment, secrets=SECRETS) as (hop, process):
        codes = await everything(hop, models)
        assert process.stderr is not None
        process.kill()
        stderr = process.stderr.read()
    assert b"session.checkpoint" in hop.raw
    assert MARK.encode() not in hop.raw
    assert MARK.encode() not in stderr
    assert "lm_auth" in codes
    assert {"internal", "program_failed"}.isdisjoint(codes)


def test_there_are_forty() -> None:
    """And more."""
    assert count() >= 40
    assert not any(MARK in value for value in os.environ.values())
