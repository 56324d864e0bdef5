"""Functions of the host that find passages: as a module, as a part, and for DSPy's own retriever."""

from __future__ import annotations

from typing import Any, Final

import dspy
import pytest
from tests.support.servers import serving
from tests.support.standing import Standing

from dspex_protocol import DSPexError

RETRIEVE: Final = {"module": "Retrieve", "options": {"function": "find", "k": 2}}
SEARCHING: Final = {"module": "Searching", "signature": "question -> answer"}


def find(query: str, k: int) -> list[object]:
    """A text and a map."""
    found: list[object] = [f"first of {query}", {"long_text": f"second of {query}", "score": 0.5}, "third"]
    return found[:k]


def in_dspy(query: str, k: int) -> list[dspy.Example]:
    """The same for DSPy alone."""
    texts = [passage if isinstance(passage, str) else passage["long_text"] for passage in find(query, k)]  # type: ignore[index]
    return [dspy.Example(long_text=text) for text in texts]


@pytest.mark.slow
async def test_passages_are_those_of_dspys_retriever(standing: Standing) -> None:
    """Without any language model, one-shot and stored."""
    with dspy.context(rm=in_dspy):
        retrieve: Any = dspy.Retrieve(k=2)
        alone = retrieve("pipes").passages
    async with standing.client(functions={"find": find}, lms={}) as client:
        assert {"passages": alone} == await client.predict(RETRIEVE, {"query": "pipes"})
        created: Any = await client.call("program.create", {"spec": RETRIEVE})
        assert {"passages": alone} == await client.predict(created["program"], {"query": "pipes"})


@pytest.mark.slow
async def test_a_program_written_for_dspy_asks_the_host() -> None:
    """`dspy.Retrieve` in a plug-in finds what the call's retriever finds."""
    plugged = {"DSPEX_PLUGINS": "plugin_retrieving"}
    async with serving("--workers", "1", environment=plugged, functions={"find": find}) as client:
        answer = await client.predict(SEARCHING, {"question": "pipes"}, retriever="find")
        assert {"answer": "first of pipes / second of pipes"} == answer
        with pytest.raises(DSPexError, match="No RM is loaded"):
            await client.predict(SEARCHING, {"question": "pipes"})
        with pytest.raises(DSPexError, match="retriever: the host offers no function 'seek'"):
            await client.predict(SEARCHING, {"question": "pipes"}, retriever="seek")


@pytest.mark.slow
async def test_what_is_no_passages_is_named(standing: Standing) -> None:
    """By its place in the answer; and a spec by its option."""
    answers: list[object] = ["a", [1], ["a", {"text": "b"}], KeyError("the host's own mistake")]

    def wrong(query: str, k: int) -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    spec = {"module": "Retrieve", "options": {"function": "wrong"}}
    async with standing.client(functions={"wrong": wrong}, lms={}) as client:
        for expected in (
            "answer: expected an array of passages, got string 'a'",
            r"answer\[0\]: expected a string, or a map with a string long_text, got 1",
            r"answer\[1\]: expected a string, or a map with a string long_text, got a map",
            "the host's own mistake",
        ):
            with pytest.raises(DSPexError, match=expected) as failure:
                await client.predict(spec, {"query": "?"})
            assert "function_failed" == failure.value.code
        for changed, expected in (
            ({"options": {"function": "wrong", "k": 0}}, r"options\.k: expected an integer from 1 to 1000"),
            ({"options": {}}, r"options\.function: expected a host function's name"),
            ({"options": {"function": "seek"}}, r"options\.function: the host offers no function 'seek'"),
            ({"signature": "a -> b"}, "signature: expected none: Retrieve has its own"),
        ):
            with pytest.raises(DSPexError, match=expected):
                await client.predict({**spec, **changed}, {"query": "?"})
