"""The nearest examples: those that `dspy.KNN` finds, by a host function's vectors or a model's."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Final

import dspy
import pytest
from tests.support.servers import serving
from tests.support.standing import Standing

from dspex_bridge.signatures.signatures import build_signature
from dspex_bridge.sim import vectors
from dspex_pool.client import Client
from dspex_protocol import DSPexError

WORDS: Final = ("pipe", "leak", "roof", "tile", "paint", "wall", "2024", "True", "a", "e")

QA: Final = [
    {"question": "The pipe has a leak", "answer": "call a plumber"},
    {"question": "A tile fell from the roof", "answer": "call a roofer"},
    {"question": "The paint comes off the wall", "answer": "call a painter"},
    {"question": "Leak in the roof", "answer": "call both", "note": "kept, though no field"},
]
PROGRAMS: Final[list[tuple[str, int, list[dict[str, Any]], dict[str, Any]]]] = [
    ("question -> answer", 2, QA, {"question": "Where is the leak in this pipe?"}),
    ("question -> answer", 9, QA, {"question": "roof"}),
    (
        "text, floor: int, dry: bool -> labels: list[str]",
        2,
        [
            {"floor": 1, "text": "wall", "dry": True, "labels": ["a"]},
            {"text": "wall", "floor": 2, "dry": False, "labels": []},
            {"text": "roof", "floor": 3, "dry": True, "labels": ["a", "b"]},
        ],
        {"dry": True, "floor": 3, "text": "wall"},
    ),
    (
        "day: date, rooms: list[str] -> cost: float",
        1,
        [
            {"day": dt.date(2024, 5, 1), "rooms": ["roof", "wall"], "cost": 1.5},
            {"day": dt.date(2023, 5, 1), "rooms": [], "cost": 2.0},
        ],
        {"day": dt.date(2024, 1, 1), "rooms": ["wall"]},
    ),
    ("question -> answer", 1, QA[:1], {"question": ""}),
]


def by_words(texts: list[str]) -> list[list[float]]:
    """How often each word is in a text: near is what shares words."""
    return [[1.0, *(float(text.lower().count(word)) for word in WORDS)] for text in texts]


def by_seed(texts: list[str]) -> list[list[float]]:
    """As the offline model makes them."""
    return [vectors.vector(text, 7) for text in texts]


def even(inputs: object, prediction: object) -> float:
    """The reward of every prediction."""
    return 1.0


class Embedder:
    """A function of the host, and the same for DSPy.

    Attributes:
        asked: The texts of each call.
    """

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, model: str, texts: list[str], config: dict[str, object]) -> object:
        self.asked.append(texts)
        return by_words(texts)


def alone(
    signature: str, k: int, trainset: Sequence[dict[str, Any]], inputs: dict[str, Any], embed: Any
) -> list[dict[str, Any]]:
    """What DSPy's own finds, with the inputs in the order of the signature, as a signature's are."""
    names = [name for name in build_signature(signature).input_fields if name in inputs]
    examples = [
        dspy.Example({**{name: one[name] for name in names}, **one}).with_inputs(*names) for one in trainset
    ]
    knn: Any = dspy.KNN(k, examples, dspy.Embedder(embed, caching=False))
    return [dict(found.items()) for found in knn(**{name: inputs[name] for name in names})]


def spec(signature: object, k: int, trainset: object, vectorizer: object) -> dict[str, object]:
    """Of the module."""
    return {
        "module": "KNN",
        "signature": signature,
        "options": {"k": k, "trainset": trainset, "vectorizer": vectorizer},
    }


@pytest.mark.slow
async def test_examples_are_those_of_dspys_knn(standing: Standing) -> None:
    """Five programs, by a host function and by a model that is one, one-shot and stored."""
    functions = {"embed": Embedder()}
    lms = {"vectors": {"model": "host/embed", "model_type": "embedding"}}
    async with standing.client(functions=functions, lms=lms) as client:
        for signature, k, trainset, inputs in PROGRAMS:
            expected = alone(signature, k, trainset, inputs, by_words)
            assert min(k, len(trainset)) == len(expected)
            for vectorizer in ("vectors", {"function": "embed", "timeout_s": 20}):
                described = spec(signature, k, trainset, vectorizer)
                assert {"examples": expected} == await client.predict(described, inputs)
                created: Any = await client.call("program.create", {"spec": described})
                assert {"examples": expected} == await client.predict(created["program"], inputs)


@pytest.mark.slow
async def test_an_offline_model_makes_the_vectors_that_dspy_would_be_given(standing: Standing) -> None:
    """Equal with the same seed; and what was asked for is counted."""
    lms = {"vectors": {"model": "sim/vectors", "model_type": "embedding", "options": {"seed": 7}}}
    expected = alone("question -> answer", 3, QA, {"question": QA[2]["question"]}, by_seed)
    async with standing.client(lms=lms) as client:
        given: Any = await client.call(
            "program.predict",
            {"spec": spec("question -> answer", 3, QA, "vectors"), "inputs": {"question": QA[2]["question"]}},
        )
        assert expected == given.value["fields"]["examples"]
        assert QA[2] == expected[0]
        assert 2 == given.value["usage"]["lm_calls"]
        assert given.value["usage"]["tokens_in"] > 0


@pytest.mark.slow
async def test_vectors_of_examples_are_made_once() -> None:
    """For calls at once, and for another version with the same examples; for others they are made anew."""
    embed = Embedder()
    options = spec("question -> answer", 1, QA, {"function": "embed"})
    async with serving("--workers", "1", functions={"embed": embed}, lms={}) as client:
        created: Any = await client.call("program.create", {"spec": options})
        questions = [f"leak {number}" for number in range(20)]
        await asyncio.gather(*(_ask(client, created["program"], question) for question in questions))
        assert [4] == [len(texts) for texts in embed.asked if len(texts) > 1]
        assert sorted(f"question: {question}" for question in questions) == sorted(
            texts[0] for texts in embed.asked if len(texts) == 1
        )
        await _ask(client, created["program"], "again")
        await client.call("program.update", {"spec": options}, program=created["program"])
        await _ask(client, created["program"], "again")
        assert 1 == len([texts for texts in embed.asked if len(texts) > 1])
        fewer = spec("question -> answer", 1, QA[:2], {"function": "embed"})
        await client.call("program.update", {"spec": fewer}, program=created["program"])
        await _ask(client, created["program"], "again")
        assert [4, 2] == [len(texts) for texts in embed.asked if len(texts) > 1]


async def _ask(client: Client, program: str, question: str) -> object:
    return await client.predict(program, {"question": question})


@pytest.mark.slow
async def test_a_node_of_a_pipeline_feeds_examples_to_another() -> None:
    """Which shows them to its model; and in a module that runs in a thread they are found too."""
    pipeline = {
        "module": "Pipeline",
        "signature": "question -> examples: list[dict], answer",
        "options": {
            "nodes": {
                "near": spec("question -> answer", 2, QA, {"function": "embed"}),
                "write": {"module": "Predict", "signature": "question, examples: list[dict] -> answer"},
            }
        },
    }
    inputs = {"question": "leak in the pipe"}
    expected = alone("question -> answer", 2, QA, inputs, by_words)
    functions: dict[str, Callable[..., Any]] = {"embed": Embedder(), "score": even}
    async with serving("--workers", "1", "--history", "texts", functions=functions) as client:
        asked = {"spec": pipeline, "inputs": inputs, "history": True}
        given: Any = await client.call("program.predict", asked)
        assert expected == given.value["fields"]["examples"]
        assert '"answer": "call a plumber"' in str(given.value["requests"])
        best = {
            "module": "BestOfN",
            "options": {"module": pipeline, "N": 1, "reward_fn": "score", "threshold": 0.5},
        }
        assert expected == (await client.predict(best, inputs))["examples"]


@pytest.mark.slow
async def test_what_does_not_fit_is_named(standing: Standing) -> None:
    """An example by its place; a vectorizer that is none; vectors that are none."""
    answers: list[object] = [[[1.0], [2.0]], [[1.0, 2.0]], "none", [[1.0]]]

    def odd(model: str, texts: list[str], config: object) -> object:
        return answers.pop(0)

    functions: dict[str, Callable[..., Any]] = {"embed": Embedder(), "odd": odd}
    lms = {"writes": {"model": "sim/test"}}
    two = QA[:2]
    async with standing.client(functions=functions, lms=lms) as client:
        for changed, expected in (
            ({"trainset": []}, r"options\.trainset: expected an array of 1 to 8192 examples"),
            ({"trainset": [{"answer": "a"}]}, r"options\.trainset\[0\]: expected a demo with an input"),
            ({"trainset": [*two, {"question": 3, "answer": "b"}]}, r"options\.trainset\[2\]\.question"),
            ({"k": 0}, r"options\.k: expected an integer from 1 to 1000"),
            ({"vectorizer": 3}, r"options\.vectorizer: expected the name of a language model, or"),
            ({"vectorizer": "gone"}, r"options\.vectorizer: there is no language model 'gone'"),
            (
                {"vectorizer": {"function": "seek"}},
                r"vectorizer\.function: the host offers no function 'seek'",
            ),
            ({"near": 1}, r"options\.near: expected one of the fields k, trainset, vectorizer"),
            ({"vectorizer": {"function": "odd"}}, "another length than those of the examples"),
            ({"vectorizer": {"function": "odd"}}, "the host function odd gave no vectors"),
            ({"vectorizer": {"function": "odd"}, "k": 2}, "gave 1 vectors for 2 texts"),
        ):
            described = spec("question -> answer", 1, two, {"function": "embed"})
            described["options"] = {**described["options"], **changed}  # type: ignore[dict-item]
            with pytest.raises(DSPexError, match=expected):
                await client.predict(described, {"question": "?"})
