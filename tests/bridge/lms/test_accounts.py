"""What calls cost: by the host's prices, by DSPy's list, or unknown; and whose figures they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import dspy
import pytest
from aiohttp.test_utils import TestServer
from dspy import lm15
from dspy.clients import base_lm
from dspy.lm15 import Message, Response, TextPart
from dspy.utils.exceptions import LMServerError

from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.accounts import Account, account_of
from dspex_bridge.lms.answering import AnsweringLM
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.lms.usage import Usage, counting
from dspex_bridge.sim import SimModel, SimOptions
from dspex_bridge.sim.server import build_app
from dspex_protocol import LMConfig


class QA(dspy.Signature):  # type: ignore[misc]
    """Answer."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


@pytest.fixture
async def served() -> AsyncIterator[str]:
    """The offline model behind HTTP."""
    async with TestServer(build_app(SimModel(SimOptions()))) as server:
        yield str(server.make_url("/v1"))


_made: list[LanguageModels] = []


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    """No connection outlives its test."""
    yield
    while _made:
        await _made.pop().aclose()


def models(**configs: LMConfig) -> LanguageModels:
    """LMs as a host configured them."""
    made = LanguageModels(HostFunctions(None, asyncio.get_running_loop()))
    made.configure(configs, {"k": "no-key"})
    _made.append(made)
    return made


def listed(address: str) -> LanguageModels:
    """One called `http` that DSPy's price list knows, at another address."""
    config = LMConfig(model="openai/gpt-4o", api_base=address, api_key_secret="k")
    return models(http=config)


async def predict(lm: dspy.LM, question: str = "hi") -> None:
    """One prediction, as a worker makes it."""
    with dspy.context(lm=lm, disable_history=True, trace=None):
        await dspy.Predict(QA).acall(question=question)


PRICED: dict[str, Any] = {"usd_per_million_in": 2.0, "usd_per_million_out": 8.0}


async def test_the_hosts_prices_hold_whichever_way_is_taken(served: str) -> None:
    """The short way, DSPy's engine path and a provider's: tokens at the price of a million."""
    lms = models(
        short=LMConfig(model="sim/x", **PRICED),
        long=LMConfig(model="sim/x", num_retries=1, **PRICED),
        http=LMConfig(model="openai/gpt-4o", api_base=served, api_key_secret="k", **PRICED),
    )
    for name in ("short", "long", "http"):
        with counting() as usage:
            await predict(lms.get(name))
        spent = usage
        assert spent.tokens_out > 0
        expected = (spent.tokens_in * 2.0 + spent.tokens_out * 8.0) / 1_000_000
        assert spent.cost_usd == pytest.approx(expected)
        assert usage.meta()["cost_usd"] == pytest.approx(expected)
        assert spent.unpriced == 0


async def test_dspys_own_price_is_taken_where_the_host_has_none(served: str) -> None:
    """The figure that DSPy puts into its history for the same request."""
    lms = listed(served)
    with counting() as usage:
        await predict(lms.get("http"))
    alone = dspy.LM("openai/gpt-4o", api_base=served, api_key="none", cache=False)
    with dspy.context(lm=alone, disable_history=False):
        await dspy.Predict(QA).acall(question="hi")
    assert alone.history[-1]["cost"] > 0
    assert usage.cost_usd == pytest.approx(alone.history[-1]["cost"])
    assert usage.unpriced == 0


async def test_history_is_not_kept_for_the_price(served: str) -> None:
    """It would hold prompts."""
    lm = listed(served).get("http")
    before = len(base_lm.GLOBAL_HISTORY)
    with counting():
        await predict(lm)
    assert lm.history == []
    assert len(base_lm.GLOBAL_HISTORY) == before


async def test_history_that_a_program_keeps_is_kept(served: str) -> None:
    """Somebody outside of a worker may want it."""
    lm = listed(served).get("http")
    with dspy.context(lm=lm, disable_history=False), counting() as usage:
        await dspy.Predict(QA).acall(question="hi")
    assert lm.history[-1]["cost"] == pytest.approx(usage.cost_usd)


async def test_a_price_that_nobody_knows_is_told_as_such(served: str) -> None:
    """And not as nothing."""
    lms = models(own=LMConfig(model="openai/own", api_base=served), free=LMConfig(model="sim/x"))
    with counting() as usage:
        await predict(lms.get("own"))
    assert "cost_usd" not in usage.meta()
    assert usage.meta()["unpriced"] == 1
    with counting() as usage:
        await predict(lms.get("free"))
    assert not {"cost_usd", "unpriced"} & usage.meta().keys()


async def test_figures_are_kept_apart_by_the_hosts_names() -> None:
    """One LM alone is named in the meta; of several each has a row of its own."""
    lms = models(a=LMConfig(model="sim/x", **PRICED), b=LMConfig(model="sim/x"))
    with counting() as usage:
        await predict(lms.get("a"))
    assert (usage.meta()["lm"], usage.split()) == ("a", None)
    with counting(usage):
        await predict(lms.get("b"))
        await predict(lms.get("b").copy(temperature=0.5))
    assert "lm" not in usage.meta()
    split = usage.split()
    assert split is not None
    assert {name: row["lm_calls"] for name, row in split.items()} == {"a": 1, "b": 2}
    assert usage.meta()["lm_calls"] == 3


async def test_a_name_that_an_envelope_has_no_room_for_is_left_out() -> None:
    """A worker whose envelope is too large would be killed."""
    long = "x" * 129
    lms = models(**{long: LMConfig(model="sim/x")})
    with counting() as usage:
        await predict(lms.get(long))
    assert "lm" not in usage.meta()


def test_a_missing_price_beside_the_other_is_nothing() -> None:
    """Embedding costs its input only."""
    account = account_of("e", LMConfig(model="openai/e", usd_per_million_in=1_000_000))
    usage = Usage()
    usage.add_tokens(3, 5, account)
    assert usage.cost_usd == 3.0


def test_an_engine_of_ones_own_is_priced_by_dspys_list() -> None:
    """DSPy itself names no price there; the model that was asked for counts, whatever the answer says."""
    account = Account("big", "openai/gpt-4o")
    answer = Response(
        id="1",
        model="gpt-4o-of-some-day",
        message=Message.assistant([TextPart("x")]),
        finish_reason="stop",
        usage=lm15.Usage(input_tokens=1_000_000, output_tokens=0, total_tokens=1_000_000),
    )
    one = account.estimate(answer)
    assert one is not None
    assert 0.1 < one < 100
    assert account.estimate((answer, answer)) == pytest.approx(2 * one)
    assert Account("own", "openai/own").estimate(answer) is None
    assert Account("sim", "sim/gpt-4o").estimate(answer) is None


async def test_requests_that_failed_are_counted_and_not_priced() -> None:
    """No tokens came."""
    lms = models(default=LMConfig(model="sim/x", options={"error_rate": 1}))
    with (
        counting() as usage,
        pytest.raises(LMServerError),
    ):
        await predict(lms.get(None))
    assert (usage.meta()["lm_calls"], usage.meta()["lm"]) == (1, "default")
    assert isinstance(lms.get(None), AnsweringLM)
