"""Predictions: which language model each predictor asks, and what a stateless call leaves behind."""

from __future__ import annotations

from typing import Any, Final

import pytest
from tests.support.hops import Hop, worker_here

LMS: Final[dict[str, Any]] = {
    "default": {"model": "sim/one", "options": {"seed": 1}},
    "other": {"model": "sim/two", "options": {"seed": 2}},
}
SPEC: Final = {"module": "Predict", "signature": "question -> answer"}
MINE: Final[dict[str, Any]] = {"program": "p", "version": 1}


async def create(hop: Hop, lm: str | None) -> None:
    """A program whose predictor names a model, or none."""
    state = None if lm is None else {"self": {"lm": lm}}
    await hop.call("program.load", await hop.call("program.build", {"spec": SPEC, "state": state}), **MINE)


async def answer(hop: Hop, **more: Any) -> str:
    prediction = await hop.call("program.predict", {"inputs": {"question": "x"}, **more}, **MINE)
    return str(prediction.value["fields"]["answer"])


async def test_a_predictor_asks_the_model_that_it_names() -> None:
    """Also where the call names another: that is for predictors that name none."""
    async with worker_here(LMS) as (hop, _):
        await create(hop, None)
        default, other = await answer(hop), await answer(hop, lm="other")
        await create(hop, "other")
        assert default != other
        assert [other, other] == [await answer(hop), await answer(hop, lm="default")]


async def test_it_asks_the_model_of_that_name_as_it_is_configured_now() -> None:
    """The name is in the program, and nothing else of it."""
    async with worker_here(LMS) as (hop, _):
        await create(hop, None)
        default = await answer(hop)
        await create(hop, "other")
        await answer(hop)
        await hop.call("worker.configure", {"lms": {"other": LMS["default"]}})
        assert default == await answer(hop)


async def test_a_name_that_nobody_configured_is_told_by_the_predictor() -> None:
    """When it is needed: the program may be older than the configuration."""
    async with worker_here(LMS) as (hop, _):
        await create(hop, "gone")
        refused = await hop.failure("program.predict", {"inputs": {"question": "x"}}, **MINE)
        assert ("unknown_lm", "state.self.lm") == (refused.code, refused.details["field"])


@pytest.mark.parametrize("lm", [None, "default"])
async def test_a_program_keeps_its_model_between_versions_and_calls(lm: str | None) -> None:
    """What calls set on the shared module does not get into the record of the next version."""
    async with worker_here(LMS) as (hop, _):
        await create(hop, lm)
        await answer(hop, lm="other")
        record = await hop.call("program.revise", {"state": {"self": {"instructions": "New."}}}, **MINE)
        assert lm == record["state"]["self"].get("lm")


async def test_changing_a_program_that_is_not_here_is_refused() -> None:
    """The supervisor loads it first."""
    async with worker_here(LMS) as (hop, _):
        for method in ("program.revise", "program.dump"):
            assert "unknown_program" == (await hop.failure(method, {}, **MINE)).code
            assert "invalid_argument" == (await hop.failure(method, {})).code


async def test_a_program_goes_out_as_dspys_json_and_comes_back() -> None:
    """Over the wire, as it came."""
    async with worker_here(LMS) as (hop, _):
        demos = [{"question": "x", "answer": "y"}]
        record = await hop.call("program.build", {"spec": SPEC, "state": {"self": {"demos": demos}}})
        await hop.call("program.load", record, **MINE)
        document = (await hop.call("program.dump", None, **MINE))["document"]
        assert record == await hop.call("program.undump", {"document": document, "spec": SPEC})
