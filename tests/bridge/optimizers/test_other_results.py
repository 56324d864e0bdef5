"""Optimizers whose result is another program, or another model: Ensemble, KNNFewShot, BootstrapFinetune."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from aiohttp.test_utils import TestServer
from tests.bridge.jobs.job_hop import JobHop
from tests.support.hops import worker_here
from tests.support.optimizing import LMS, METRIC, ROWS, SIGNATURE, examples, request

from dspex_bridge.sim.app import build_app
from dspex_bridge.sim.model import SimModel, SimOptions
from dspex_bridge.sim.tuning import Tunings
from dspex_bridge.sim.vectors import DIMENSIONS, vector
from dspex_protocol import LMConfig

SPEC = {"module": "Predict", "signature": SIGNATURE}


async def predicted(hop: Any, record: Any, **more: object) -> list[object]:
    """What a program says of each row."""
    await hop.call(
        "program.load",
        {key: record[key] for key in ("spec", "state", "dspy", "schema")},
        program="p",
        version=1,
    )
    said: list[object] = []
    for row in ROWS:
        call = {"inputs": {"animal": row["animal"]}, **more}
        prediction = await hop.call("program.predict", call, program="p", version=1)
        said.append(prediction.value["fields"]["sound"])
    return said


def right(said: list[object]) -> float:
    return sum(one == row["sound"] for one, row in zip(said, ROWS, strict=True)) / len(ROWS)


async def test_an_ensemble_asks_all_and_takes_what_most_say() -> None:
    """Its members keep what they have learned, and it is a program that can be stored."""
    async with worker_here(LMS) as (hop, _):
        job = JobHop(hop)
        what = {
            "optimizer": {"optimizer": "Ensemble"},
            "programs": [{"spec": SPEC}, {"spec": {**SPEC, "module": "ChainOfThought"}}],
            "metric": METRIC,
            "valset": ROWS,
        }
        failure = await job.failure(
            {**what, "programs": [{"spec": SPEC}, {"spec": {**SPEC, "signature": "a -> b"}}]}, kind="optimize"
        )
        assert "request.programs[1]" == failure.details["field"]
        what["programs"] = [{"spec": SPEC}] * 3
        reply = await job.run(what, "optimize")
        record = reply["result"]["program"]
        assert ["programs[0]", "programs[1]", "programs[2]"] == sorted(record["state"])
        assert reply["result"]["scores"]["best"] == right(await predicted(hop, record))


async def test_the_demos_of_knn_few_shot_are_those_nearest_to_each_call() -> None:
    """As DSPy bootstraps them, but at each call of a stored program."""
    options = {"k": 6, "vectorizer": "vectors", "max_bootstrapped_demos": 2, "max_labeled_demos": 4}
    what = {
        **request("LabeledFewShot", valset=ROWS),
        "optimizer": {"optimizer": "KNNFewShot", "options": options},
    }
    async with worker_here(LMS) as (hop, _):
        reply = await JobHop(hop).run(what, "optimize")
        record = reply["result"]["program"]
        assert "KNNFewShot" == record["spec"]["module"]
        assert reply["result"]["scores"]["best"] > reply["result"]["scores"]["start"]
        assert reply["result"]["scores"]["best"] == right(await predicted(hop, record))


async def test_knn_few_shot_is_dspys_own() -> None:
    """It says what DSPy's says in process, to each input."""
    options = {"k": 6, "vectorizer": "vectors", "max_bootstrapped_demos": 2, "max_labeled_demos": 4}
    what = {**request("LabeledFewShot"), "optimizer": {"optimizer": "KNNFewShot", "options": options}}
    async with worker_here(LMS) as (hop, worker):
        reply = await JobHop(hop).run(what, "optimize")
        said = await predicted(hop, reply["result"]["program"])
        lm = worker.lms.get(None)

    def embed(texts: list[str]) -> list[list[float]]:
        return [list(vector(text, 0, DIMENSIONS)) for text in texts]

    demos: Any = {"max_bootstrapped_demos": 2, "max_labeled_demos": 4}
    optimizer: Any = dspy.KNNFewShot(6, examples(), dspy.Embedder(embed, caching=False), **demos)
    with dspy.context(lm=lm, disable_history=True, trace=None):
        compiled = optimizer.compile(dspy.Predict(SIGNATURE))
        assert said == [compiled(animal=row["animal"]).sound for row in ROWS]


async def test_a_model_is_trained_on_what_the_metric_likes() -> None:
    """The program that comes of it names the model that was made; a second attempt has it made once."""
    app = build_app(SimModel(SimOptions()), (), Tunings(0.0))
    async with TestServer(app) as server, worker_here() as (hop, worker):
        base = LMConfig(model="openai/sim-base", api_base=str(server.make_url("/v1")))
        worker.lms.configure({"small": base}, {})
        what = {
            "spec": SPEC,
            "optimizer": {"optimizer": "BootstrapFinetune"},
            "trainset": ROWS,
            "lm": "small",
        }
        job = JobHop(hop)
        reply = await job.run(what, "optimize")
        state = reply["result"]["program"]["state"]["self"]
        assert state["lm"].startswith("small@ft:")
        again = await job.run(what, "optimize", attempt=2)
        assert reply["result"]["program"] == again["result"]["program"]
        assert 0 == again["replay"]["live"]
        await worker.lms.aclose()


EVEN: list[object] = [{"number": str(n), "even": n % 2 == 0} for n in range(10)]


@pytest.mark.parametrize("desc", ["whether it is even", None])
async def test_decisions_are_fitted(desc: str | None) -> None:
    """Of outputs that say what they decide; what is missing is told as DSPy says it."""
    output = {"name": "even", "type": "bool", **({} if desc is None else {"desc": desc})}
    signature = {"inputs": [{"name": "number"}], "outputs": [output], "instructions": "Look at it."}
    what = {
        "spec": {"module": "Predict", "signature": signature},
        "optimizer": {"optimizer": "ReAnchor"},
        "metric": {"metric": "exact_match", "options": {"field": "even"}},
        "trainset": EVEN,
    }
    async with worker_here(LMS) as (hop, _):
        job = JobHop(hop)
        if desc is None:
            failure = await job.failure(what, kind="optimize")
            assert "requires an OutputField(desc=...)" in failure.message
            assert "ReAnchor" == failure.details["optimizer"]
            return
        reply = await job.run(what, "optimize")
    scores = reply["result"]["scores"]
    assert scores["best"] >= scores["start"]


def test_dspys_own_ensemble_is_what_ours_stands_for() -> None:
    """The same names of the same parts."""
    programs = [dspy.Predict(SIGNATURE), dspy.ChainOfThought(SIGNATURE)]
    compiled: Any = dspy.teleprompt.Ensemble(reduce_fn=dspy.majority).compile(programs)
    assert ["programs[0]", "programs[1].predict"] == [name for name, _ in compiled.named_predictors()]
