"""The making of a model, against the offline provider, its deaths and ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import dspy
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from dspy.utils.exceptions import LMAuthError, LMServerError, LMTransportError

from dspex_bridge.failures import to_failure
from dspex_bridge.finetuning.endpoint import ProviderEvent, TuningEndpoint
from dspex_bridge.finetuning.examples import (
    conversation_of,
    labelled_conversation,
    training_file,
)
from dspex_bridge.finetuning.tuning import Wish, tuned
from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.jobs.answers import Answer
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.sim.app import build_app
from dspex_bridge.sim.model import SimModel, SimOptions
from dspex_bridge.sim.tuning import Tunings
from dspex_protocol import DSPexError, LMConfig

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
KEY = "sk-a-key-that-nobody-may-see"


class Killed(Exception):
    """We died before it was kept."""


class Kept:
    """Answers that outlive whoever asks for them."""

    def __init__(self) -> None:
        self.entries: dict[bytes, object] = {}
        self.forgets = False

    async def ask(self, kind: str, key: bytes, live: Callable[[], Awaitable[Answer]]) -> object:
        if key not in self.entries:
            self.entries[key] = (await live()).value
            if self.forgets:
                del self.entries[key]
                raise Killed
        return self.entries[key]


class Scene:
    """A provider, and what goes wrong with it."""

    def __init__(self, lasts_s: float) -> None:
        self.tunings = Tunings(lasts_s)
        self.asked: list[str] = []
        self.faults: dict[str, list[str]] = {}

    @web.middleware
    async def _weather(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        what = f"{request.method} {request.path.removeprefix('/v1')}"
        self.asked.append(what)
        fault = self.faults.get(what, [])
        match fault.pop(0) if fault else "":
            case "lost":  # it was done, and nobody hears of it
                await handler(request)
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case "busy":
                return web.Response(status=429, headers={"Retry-After": "0"})
            case "broken":
                return web.Response(text="<html>")
            case "locked":
                return web.json_response({"error": {"message": KEY}}, status=401)
            case _:
                return await handler(request)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[TuningEndpoint]:
        app = build_app(SimModel(SimOptions()), (), self.tunings)
        app.middlewares.append(self._weather)
        async with TestServer(app) as server, aiohttp.ClientSession() as session:
            self.base = str(server.make_url("/v1"))
            yield TuningEndpoint(self.base, KEY, "openai/sim-base", session)


def wish(count: int = 12, owner: str = "job-1") -> Wish:
    rows = [
        {
            "messages": [
                {"role": "user", "content": str(number)},
                {"role": "assistant", "content": str(2 * number)},
            ]
        }
        for number in range(count)
    ]
    return Wish(owner=owner, model="sim-base", file=training_file(rows), options={"suffix": "doubles"})


async def made(
    scene: Scene, endpoint: TuningEndpoint, kept: Kept, what: Wish
) -> tuple[str | None, list[str]]:
    told: list[str] = []

    async def tell(event: ProviderEvent) -> None:
        told.append(event.id)

    ended = await tuned(endpoint, what, kept, tell, lambda ask: ask())
    return ended.model, told


async def test_a_model_is_made_and_each_event_is_told_once() -> None:
    """While it is looked at many times."""
    scene = Scene(0.8)
    async with scene.open() as endpoint:
        model, told = await made(scene, endpoint, Kept(), wish())
        assert model == next(iter(scene.tunings.jobs.values())).tuned_model
        assert len(told) == len(set(told)) == len(await endpoint.events(next(iter(scene.tunings.jobs))))
        assert scene.asked.count("GET /fine_tuning/jobs/ftjob-sim2") > 1


@pytest.mark.parametrize("fault", ["lost", "killed"])
async def test_a_job_is_begun_once(fault: str) -> None:
    """Whether the provider's answer is lost, or we are, before it is kept."""
    scene, kept = Scene(0.0), Kept()
    async with scene.open() as endpoint:
        if fault == "lost":
            scene.faults["POST /fine_tuning/jobs"] = ["lost"]
        else:
            kept.forgets = True
            with pytest.raises(Killed):
                await made(scene, endpoint, kept, wish())
            kept.forgets = False
        model, _ = await made(scene, endpoint, kept, wish())
        assert model is not None
        assert 1 == len(scene.tunings.jobs)
        await made(scene, endpoint, kept, wish(owner="job-2"))
        assert 2 == len(scene.tunings.jobs)  # another job of ours wants its own


async def test_cancelling_stops_the_provider() -> None:
    """Its job is cancelled, and the file of examples is gone."""
    scene = Scene(60.0)
    async with scene.open() as endpoint:
        task = asyncio.ensure_future(made(scene, endpoint, Kept(), wish()))
        while "GET /fine_tuning/jobs/ftjob-sim2" not in scene.asked:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "cancelled" == (await endpoint.job("ftjob-sim2")).status
        assert {} == scene.tunings.files


async def test_a_failed_job_is_an_error_of_ours() -> None:
    """The provider's words are in the events; the error has its code."""
    scene = Scene(0.0)
    async with scene.open() as endpoint:
        with pytest.raises(DSPexError) as failed:
            await made(scene, endpoint, Kept(), wish(3))
        assert "finetune_failed" == failed.value.code
        assert "invalid_training_file" == failed.value.details["reason"]


async def test_a_busy_provider_is_asked_again() -> None:
    """Whatever it is busy with."""
    scene = Scene(0.0)
    for what in ("POST /files", "POST /fine_tuning/jobs", "GET /fine_tuning/jobs/ftjob-sim2"):
        scene.faults[what] = ["busy", "busy"]
    async with scene.open() as endpoint:
        model, _ = await made(scene, endpoint, Kept(), wish())
        assert model is not None
        assert 3 == scene.asked.count("POST /fine_tuning/jobs")


@pytest.mark.parametrize(
    ("fault", "code", "kind"),
    [("locked", "lm_auth", LMAuthError), ("broken", "lm_unavailable", LMServerError)],
)
async def test_what_a_provider_refuses_is_told_without_its_words(
    fault: str, code: str, kind: type[Exception]
) -> None:
    """Which hold our key here."""
    scene = Scene(0.0)
    scene.faults["POST /files"] = [fault] * 9
    async with scene.open() as endpoint:
        with pytest.raises(kind) as refused:
            await made(scene, endpoint, Kept(), wish())
        failure = to_failure(refused.value)
        assert code == failure.code
        assert KEY not in f"{failure} {failure.details} {endpoint!r}"


async def test_a_provider_that_is_not_there() -> None:
    """Is told as one."""
    async with aiohttp.ClientSession() as session:
        endpoint = TuningEndpoint("http://127.0.0.1:9/v1", KEY, "openai/x", session, retries=0)
        with pytest.raises(LMTransportError):
            await endpoint.job("ftjob-1")


async def test_a_tuned_model_is_asked_by_name_and_by_copy() -> None:
    """`NAME@MODEL` wherever NAME is configured; a copy of an LM is what DSPy's optimizers make."""
    scene = Scene(0.0)
    async with scene.open() as endpoint:
        model, _ = await made(scene, endpoint, Kept(), wish())
        lms = LanguageModels(HostFunctions())
        lms.configure({"small": LMConfig(model="openai/sim-base", api_base=scene.base)}, {})
        asked = {"messages": [{"role": "user", "content": "7"}]}
        by_name, by_copy = lms.get(f"small@{model}"), lms.get("small").copy(model=model)
        for lm in (by_name, by_copy):
            assert f"small@{model}" == lm.account.label
            with dspy.context(disable_history=True):
                assert ["14"] == await lm.acall(**asked)
            with dspy.context(disable_history=False):  # by DSPy's own way around an engine
                assert ["14"] == await lm.acall("7")
        with dspy.context(disable_history=True):
            assert ["14"] != await lms.get("small").acall(**asked)
        lms.configure({"other": LMConfig(model="sim/any")}, {})
        for name in (f"small@{model}", "other@ft:x", "other@"):
            with pytest.raises(DSPexError) as unknown:
                lms.get(name)
            assert "unknown_lm" == unknown.value.code
        await lms.aclose()


class Sum(dspy.Signature):  # type: ignore[misc]
    """Add."""

    a: int = dspy.InputField()
    b: int = dspy.InputField()
    total: int = dspy.OutputField()


def test_labelled_rows_become_what_a_predictor_asks() -> None:
    """The request of `Predict`, and an answer in its form."""
    adapter = dspy.ChatAdapter()
    told = labelled_conversation(Sum, adapter, {"a": 1, "b": 2, "total": 3, "other": None}, "rows[0]")
    messages = json.loads(training_file([told]).body)["messages"]
    assert adapter.format(Sum, [], {"a": 1, "b": 2}) == messages[:-1]
    assert {"total": 3} == adapter.parse(Sum, messages[-1]["content"])


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"a": 1, "b": 2}, "rows[4].total"),
        ({"a": 1, "b": "two", "total": 3}, "rows[4].b"),
        ({"a": 1, "b": 2, "total": "three"}, "rows[4].total"),
    ],
)
def test_a_row_that_does_not_fit_is_named(row: dict[str, object], field: str) -> None:
    """With its field."""
    with pytest.raises(DSPexError) as refused:
        labelled_conversation(Sum, dspy.ChatAdapter(), row, "rows[4]")
    assert field == refused.value.details["field"]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({}, "rows[4].messages"),
        ({"messages": []}, "rows[4].messages"),
        ({"messages": ["hi"]}, "rows[4].messages[0]"),
        ({"messages": [{"role": "robot", "content": ""}]}, "rows[4].messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "rows[4].messages[0].content"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "rows[4].messages[0].role"),
    ],
)
def test_a_conversation_that_is_none_is_named(row: dict[str, object], field: str) -> None:
    """With the path of what is wrong."""
    with pytest.raises(DSPexError) as refused:
        conversation_of(row, "rows[4]")
    assert field == refused.value.details["field"]
