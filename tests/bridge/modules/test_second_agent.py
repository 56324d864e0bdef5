"""ReActV2, whose tools the model calls by a field or by its provider's own means, beside DSPy's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import dspy
import pytest
from dspy.utils import DummyLM
from tests.bridge.modules.test_host_modules import WEATHER, builder, run

from dspex_bridge.programs.live import LiveProgram
from dspex_bridge.programs.records import Spec
from dspex_bridge.signatures.signatures import build_signature
from dspex_protocol import error

SIGNATURE: Final = "question -> answer"


def turn(*calls: tuple[str, dict[str, object]]) -> dict[str, object]:
    """What the model says: a thought and these calls."""
    return {
        "next_thought": "hm",
        "tool_calls": {"tool_calls": [{"name": name, "args": args} for name, args in calls]},
    }


LOOK: Final = turn(("weather", {"city": "Oslo"}))
DONE: Final = turn(("submit", {"answer": "rain"}))


def weather(city: str, days: int = 1) -> str:
    """Tells the weather."""
    if city == "Atlantis":
        raise RuntimeError("there is no such place")
    return f"rain in {city}"


def at_the_host(name: str, args: Mapping[str, Any]) -> object:
    """The same, as a function of a host."""
    try:
        return weather(**args)
    except RuntimeError as failure:
        raise error("function_failed", str(failure)) from None


def agent(**options: Any) -> LiveProgram:
    """With the host's weather."""
    spec = Spec(module="ReActV2", signature=SIGNATURE, options={"tools": [WEATHER], **options})
    return builder(at_the_host, "weather").build(spec)


async def alone(answers: list[Any], **options: Any) -> Any:
    """The same agent in DSPy, with a function of Python."""
    module: Any = dspy.ReActV2(build_signature(SIGNATURE), tools=[weather], **options)
    with dspy.context(lm=DummyLM(answers), adapter=dspy.ChatAdapter()):
        return await module.acall(question="Oslo?")


@pytest.mark.parametrize(
    ("turns", "options"),
    [
        ([LOOK, DONE], {}),
        ([turn(("weather", {"city": "Oslo"}), ("weather", {"city": "Bergen", "days": 3})), DONE], {}),
        ([turn(("weather", {"city": "Oslo"}), ("submit", {"answer": "rain"}))], {}),
        ([turn(("wether", {"city": "Oslo"})), DONE], {}),
        ([turn(("submit", {})), DONE], {}),
        ([LOOK, LOOK, DONE], {"max_iters": 2}),
    ],
    ids=["one", "two at once", "with the answer", "an unknown tool", "no answer in it", "out of turns"],
)
async def test_the_same_prediction_and_history(turns: list[Any], options: dict[str, Any]) -> None:
    """Thoughts, calls, results and why it ended are those of a tool that is a function of Python."""
    here, plain = await run(agent(**options), turns, question="Oslo?"), await alone(turns, **options)
    assert plain.toDict() == here.toDict()
    assert "rain" == here.answer


async def test_a_tool_that_fails_is_told_to_the_model() -> None:
    """The result is an error, at the same place of the history, and the agent goes on."""
    turns = [turn(("weather", {"city": "Atlantis"})), DONE]
    results: list[tuple[bool, bool]] = []
    for prediction in (await run(agent(), turns, question="Oslo?"), await alone(turns)):
        (told,) = prediction.history.messages[0]["tool_calls"].tool_call_results.tool_call_results
        results.append((told.is_error, "there is no such place" in told.value))
        assert "rain" == prediction.answer
    assert [(True, True)] * 2 == results


async def test_an_agent_that_never_submits_fails_as_dspys_own() -> None:
    """With DSPy's own words."""
    words: list[str] = []
    for attempt in (
        run(agent(max_iters=1), [LOOK, LOOK], question="Oslo?"),
        alone([LOOK, LOOK], max_iters=1),
    ):
        with pytest.raises(ValueError, match="no submit call") as failure:
            await attempt
        words.append(str(failure.value))
    assert words[0] == words[1]
