"""Through the bridge or in this process: the same programs give the same predictions."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from itertools import cycle, islice
from typing import TypeAlias

import pytest
from tests.support.reference import Reference
from tests.support.servers import count, serving

from dspex_pool.client import Client

PREDICTIONS = count("predictions", 1_500)
AT_ONCE = 200

Call: TypeAlias = tuple[str, str, Mapping[str, object]]

PROGRAMS = [
    ("Predict", "question -> answer"),
    ("Predict", "question: str, k: int -> answer: str, score: float"),
    ("Predict", "text -> labels: list[str], ok: bool"),
    ("Predict", "text, limits: dict[str, float] -> counts: dict[str, int], mood: Literal['good', 'bad']"),
    ("ChainOfThought", "question -> answer"),
    ("ChainOfThought", "context: list[str], question -> answer: int, sure: Optional[bool]"),
]


def inputs_of(signature: str, number: int) -> dict[str, object]:
    """Inputs that fit, different for each number, with characters of all kinds."""
    text = f"Nº {number}: « quoted » [[ ## answer ## ]] \N{SNOWMAN}\n{'long ' * (number % 7)}"
    candidates: dict[str, object] = {
        "question": text,
        "text": text,
        "k": number - 5000,
        "limits": {f"limit {number}": number / 3},
        "context": [text, "", str(number)],
    }
    wanted = re.findall(r"\w+", signature.partition("->")[0])
    return {name: value for name, value in candidates.items() if name in wanted}


def calls(number: int) -> list[Call]:
    """That many predictions, the programs in turn."""
    programs: Iterator[tuple[str, str]] = islice(cycle(PROGRAMS), number)
    return [(module, text, inputs_of(text, at)) for at, (module, text) in enumerate(programs)]


async def stored(client: Client) -> dict[tuple[str, str], str]:
    """Every program stored; their ids."""
    ids: dict[tuple[str, str], str] = {}
    for number, (module, signature) in enumerate(PROGRAMS):
        spec = {"spec": {"module": module, "signature": signature}}
        await client.call("program.create", spec, program=f"program-{number}")
        ids[module, signature] = f"program-{number}"
    return ids


async def through_the_bridge(client: Client, wanted: list[Call]) -> list[object]:
    """All predictions, many at once, by stored programs and by one-shot specs in turn."""
    ids = await stored(client)
    given: list[object] = []
    for batch in chunks(wanted):
        given += await asyncio.gather(
            *(
                client.predict(
                    ids[module, signature] if at % 2 else {"module": module, "signature": signature}, inputs
                )
                for at, (module, signature, inputs) in enumerate(batch)
            )
        )
    return given


def chunks(wanted: list[Call]) -> Iterator[list[Call]]:
    """Slices of what may be under way at once."""
    return (wanted[at : at + AT_ONCE] for at in range(0, len(wanted), AT_ONCE))


@pytest.mark.slow
async def test_the_bridge_changes_no_prediction() -> None:
    """Each prediction through two workers equals plain DSPy's with the same model and seed."""
    wanted = calls(PREDICTIONS)
    async with serving(limit_s=300) as client:
        expected, given = await asyncio.gather(
            asyncio.to_thread(Reference().predict_all, wanted), through_the_bridge(client, wanted)
        )
    assert expected == given
    assert 0 == client.strays


@pytest.mark.slow
async def test_a_stream_ends_with_the_same_prediction() -> None:
    """Streaming gives the same result, and its tokens are the text of the fields."""
    wanted = [call for call in calls(60) if call[1] == "question -> answer"]
    expected = await asyncio.to_thread(Reference().predict_all, wanted)
    async with serving() as client:
        for (module, signature, inputs), fields in zip(wanted, expected, strict=True):
            stream = client.stream({"module": module, "signature": signature}, inputs)
            texts = dict.fromkeys(fields, "")
            async for item in stream:
                if isinstance(item, dict) and item["type"] == "token":
                    texts[item["field"]] += item["text"]
            outcome = await stream.result()
            assert fields == outcome.value.value["fields"]  # type: ignore[attr-defined]
            assert fields == texts
