"""The job `finetune` in a worker, with the offline provider."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from tests.bridge.jobs.job_hop import JobHop
from tests.support.hops import Heard, worker_here

from dspex_bridge.sim.app import build_app
from dspex_bridge.sim.model import SimModel, SimOptions
from dspex_bridge.sim.tuning import Tunings
from dspex_protocol import LMConfig

SIGNATURE = "number: int -> double: int"
ROWS = [{"number": number, "double": 2 * number} for number in range(12)]


class Datasets(JobHop):
    """A supervisor that has one dataset."""

    rows: list[Any] = ROWS

    def _answer(self, frame: Heard) -> object:
        if frame.method == "job.rows":
            return {"rows": self.rows, "next": None}
        return super()._answer(frame)


@asynccontextmanager
async def scene(lasts_s: float = 0.0) -> AsyncGenerator[tuple[Datasets, Tunings, Any]]:
    """A worker with the offline provider's model as `small`."""
    tunings = Tunings(lasts_s)
    app = build_app(SimModel(SimOptions()), (), tunings)
    async with TestServer(app) as server, worker_here() as (hop, worker):
        base = str(server.make_url("/v1"))
        small = LMConfig(model="openai/sim-base", api_base=base)
        worker.lms.configure({"small": small, "offline": LMConfig(model="sim/any")}, {})
        yield Datasets(hop), tunings, worker


async def test_a_dataset_becomes_a_model_that_answers_by_it() -> None:
    """And the program that names it says what the examples say."""
    async with scene() as (hop, tunings, worker):
        told = await hop.run(
            {"lm": "small", "dataset": "doubles", "signature": SIGNATURE, "epochs": 2, "suffix": "d"},
            kind="finetune",
        )
        result = told["result"]
        job = next(iter(tunings.jobs.values()))
        assert {
            "lm": f"small@{job.tuned_model}",
            "model": job.tuned_model,
            "provider_job": job.id,
            "examples": 12,
            "trained_tokens": 2 * job.tokens,
        } == result
        kinds = [event["type"] for _, event in sorted(hop.events.items())]
        assert ["started", *["provider"] * (len(kinds) - 2), "finished"] == kinds
        spec = {"signature": SIGNATURE, "module": "Predict"}
        for lm, expected in ((result["lm"], 14), ("small", None)):
            call = {"spec": spec, "inputs": {"number": 7}, "lm": lm}
            prediction = await hop.hop.call("program.predict", call)
            answer = prediction.value["fields"]["double"]
            assert answer == expected if expected else answer != 14
        await worker.lms.aclose()


async def test_the_next_attempt_goes_on_with_the_providers_job() -> None:
    """It is begun once, and events are told by their numbers again."""
    async with scene() as (hop, tunings, worker):
        request = {"lm": "small", "dataset": "doubles", "signature": SIGNATURE}
        first = await hop.run(request, kind="finetune")
        events = dict(hop.events)
        again = await hop.run(request, kind="finetune", attempt=2)
        assert first["result"] == again["result"]
        assert {"answered": 1, "live": 0, "diverged": 0} == again["replay"]
        assert events == hop.events
        assert 1 == len(tunings.jobs)
        await worker.lms.aclose()


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"lm": "offline"}, "request.lm"),
        ({"lm": "nobody"}, "request.lm"),
        ({"signature": "number ->"}, "request.signature.outputs"),
        ({"signature": "number: int, other -> double: int"}, "rows[0].other"),
        ({"signature": None}, "rows[0].messages"),
        ({"epochs": 0}, "request.epochs"),
        ({"options": {"metadata": {}}}, "request.options.metadata"),
        ({"dataset": ""}, "request.dataset"),
        ({"colour": "red"}, "request.colour"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_path(changed: dict[str, object], field: str) -> None:
    """Before a provider is asked for anything."""
    async with scene() as (hop, tunings, worker):
        request = {"lm": "small", "dataset": "doubles", "signature": SIGNATURE, **changed}
        refused = await hop.failure(request, kind="finetune")
        assert field in (refused.details["field"], refused.message.partition(":")[0])
        assert {} == tunings.files
        await worker.lms.aclose()


async def test_dspys_local_provider_says_what_it_lacks() -> None:
    """Its packages are gigabytes, and not here."""
    async with scene() as (hop, _, worker):
        worker.lms.configure({"small": LMConfig(model="openai/local:some/model")}, {})
        refused = await hop.failure({"lm": "small", "dataset": "doubles"}, kind="finetune")
        assert "lm_not_configured" == refused.code
        assert "trl" in refused.message
        refused = await hop.failure(
            {"lm": "small", "dataset": "doubles", "options": {"output_dir": "/etc"}}, kind="finetune"
        )
        assert "request.options.output_dir" == refused.details["field"]
