"""Answers that do not fit their signature: an error that names the rule, or the model is asked again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Generator
from typing import Any, Final

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError
from tests.support.hops import Hop, worker_here

from dspex_bridge.adapters.choices import AdapterChoice
from dspex_bridge.adapters.choosing import adapter_of
from dspex_bridge.adapters.classes import adapter_classes
from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.answering import Answer, AnsweringLM, Question
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.signatures.signatures import build_signature
from dspex_bridge.worker.serve import WorkerProcess
from dspex_protocol import CANCEL, DSPexError

TICKET: Final[dict[str, object]] = {
    "inputs": [{"name": "ticket"}],
    "outputs": [{"name": "urgency", "type": "int", "ge": 0, "le": 10}, {"name": "reply", "max_length": 20}],
}
NESTED: Final[dict[str, object]] = {
    "inputs": [{"name": "ticket"}],
    "outputs": [
        {
            "name": "parts",
            "type": {
                "kind": "list",
                "items": {
                    "kind": "object",
                    "name": "Part",
                    "fields": [{"name": "count", "type": "int", "le": 9}],
                },
            },
        }
    ],
}
SPEC: Final[dict[str, object]] = {"module": "Predict", "signature": TICKET}
INPUTS: Final[dict[str, object]] = {"ticket": "It smokes."}
SECRET: Final = "never to be quoted"


def chat(**fields: object) -> str:
    """An answer of the chat adapter."""
    return "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items())


HIGH: Final = chat(urgency=42, reply=SECRET)
GOOD: Final = chat(urgency=9, reply="At once.")


class Script:
    """A source that gives one answer after the other, and keeps its questions."""

    def __init__(self, *answers: str, waits: bool = False) -> None:
        self.answers = itertools.chain(answers, itertools.repeat(answers[-1]))
        self.questions: list[Question] = []
        self.waits = waits

    def ask(self, question: Question) -> Answer:
        self.questions.append(question)
        return Answer(next(self.answers), 10, 5)

    async def aask(self, question: Question) -> Answer:
        answer = self.ask(question)
        if self.waits and len(self.questions) > 1:
            await asyncio.Event().wait()
        return answer

    def stream(self, question: Question) -> Generator[str | Answer]:
        answer = self.ask(question)
        yield from (*answer.text, answer)

    async def astream(self, question: Question) -> AsyncGenerator[str | Answer]:
        for piece in self.stream(question):
            await asyncio.sleep(0)
            yield piece

    def last_prompts(self) -> list[str]:
        """The last message of each question."""
        return [str(question.messages[-1][1]) for question in self.questions]


def script(worker: WorkerProcess, *answers: str, waits: bool = False) -> Script:
    """Let the worker's model be a script."""
    source = Script(*answers, waits=waits)
    worker.lms._built["default"] = AnsweringLM("sim/x", source)  # pyright: ignore[reportPrivateUsage]
    return source


async def predict(hop: Hop, **more: Any) -> Any:
    return await hop.call("program.predict", {"spec": SPEC, "inputs": INPUTS, **more})


async def fail(hop: Hop, **more: Any) -> DSPexError:
    return await hop.failure("program.predict", {"spec": SPEC, "inputs": INPUTS, **more})


@pytest.mark.parametrize("wish", [{}, {"on_violation": "fail"}])
async def test_a_broken_constraint_is_an_error_that_names_it(wish: dict[str, object]) -> None:
    """As always: one request, and not a word of what the model said."""
    async with worker_here() as (hop, worker):
        source = script(worker, HIGH)
        refused = await fail(hop, **wish)
    assert ("prediction_failed", "urgency") == (refused.code, refused.details["field"])
    assert "less than or equal to 10" in str(refused.details["expected"])
    assert 1 == len(source.questions)
    assert "42" not in refused.message + str(refused.details)


async def test_a_constraint_within_a_value_is_named_too() -> None:
    """Those of an object's fields are broken while the answer is read."""
    async with worker_here() as (hop, worker):
        script(worker, chat(parts='[{"count": 77}]'), '{"parts": [{"count": 77}]}')
        refused = await fail(hop, spec={**SPEC, "signature": NESTED})
    assert ("prediction_failed", "parts") == (refused.code, refused.details["field"])
    assert "less than or equal to 9" in str(refused.details["expected"])
    assert "77" not in refused.message + str(refused.details)


@pytest.mark.parametrize("adapter", ["chat", "json", "xml"])
async def test_every_adapter_tells_which_rule_was_broken(adapter: str) -> None:
    """Each has words of its own for what it could not read."""
    answers = {
        "chat": chat(parts='[{"count": 77}]'),
        "json": '{"parts": [{"count": 77}]}',
        "xml": "<parts><item><count>77</count></item></parts>",
    }
    choice = {"name": adapter}
    async with worker_here() as (hop, worker):
        script(worker, answers[adapter], answers["json"])
        refused = await fail(hop, adapter=choice, spec={**SPEC, "signature": NESTED})
    assert "parts" == refused.details["field"]
    assert "less than or equal to 9" in str(refused.details["expected"])


async def test_a_model_is_asked_again_and_told_what_was_wrong() -> None:
    """The prediction is the answer that fits; usage adds up, and the trace knows no more than the inputs."""
    async with worker_here() as (hop, worker):
        source = script(worker, HIGH, chat(urgency=9, reply="far too long a reply, this"), GOOD)
        prediction = await predict(hop, on_violation={"retry": 2}, trace=True)
    fields = prediction.value["fields"]
    assert {"urgency": 9, "reply": "At once."} == fields
    first, second, third = source.last_prompts()
    assert "feedback_" not in first
    assert "`urgency` was 42; expected" in second
    assert "less than or equal to 10" in second
    assert "at most 20 characters" in third
    assert "42" not in third
    assert "It smokes." in second
    assert "What was wrong with an earlier answer" in str(source.questions[1].messages[0][1])
    usage = prediction.value["usage"]
    assert (3, 30, 15) == (usage["lm_calls"], usage["tokens_in"], usage["tokens_out"])
    (step,) = prediction.value["trace"]
    assert INPUTS == step["inputs"]
    assert fields == step["outputs"]


async def test_it_is_asked_as_often_as_was_said() -> None:
    """Then the call fails, and says how often."""
    async with worker_here() as (hop, worker):
        source = script(worker, HIGH)
        refused = await fail(hop, on_violation={"retry": 3})
    assert 4 == len(source.questions)
    assert ("prediction_failed", "urgency", 4) == (
        refused.code,
        refused.details["field"],
        refused.details["attempts"],
    )
    assert SECRET not in refused.message + str(refused.details)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (chat(urgency="soon", reply="x"), "`urgency` does not fit: expected a valid integer"),
        (chat(reply="only this"), "lacks: urgency"),
    ],
)
async def test_what_cannot_be_read_is_asked_for_again(bad: str, told: str) -> None:
    """A wrong type and a missing field are told like a constraint, with the answer."""
    adapter = {"name": "chat", "options": {"use_json_adapter_fallback": False}}
    async with worker_here() as (hop, worker):
        source = script(worker, bad, GOOD)
        prediction = await predict(hop, on_violation={"retry": 1}, adapter=adapter)
    assert 9 == prediction.value["fields"]["urgency"]
    assert told in source.last_prompts()[1]
    assert bad in source.last_prompts()[1]


async def test_a_program_keeps_its_wish_and_a_call_may_have_another() -> None:
    """Of a stored program."""
    async with worker_here() as (hop, worker):
        record = await hop.call("program.build", {"spec": {**SPEC, "on_violation": {"retry": 1}}})
        await hop.call("program.load", record, program="p", version=1)
        source = script(worker, HIGH, GOOD)
        prediction = await hop.call("program.predict", {"inputs": INPUTS}, program="p", version=1)
        assert 9 == prediction.value["fields"]["urgency"]
        assert 2 == len(source.questions)
        source = script(worker, HIGH, GOOD)
        refused = await hop.failure(
            "program.predict", {"inputs": INPUTS, "on_violation": "fail"}, program="p", version=1
        )
        assert "prediction_failed" == refused.code
        assert 1 == len(source.questions)


async def test_only_the_answer_that_does_not_fit_is_asked_for_again() -> None:
    """Not the whole program: the first of two attempts stays as it is."""
    part = {"module": "ChainOfThought", "signature": TICKET}
    spec = {"module": "Majority", "options": {"module": part, "N": 2}}
    good = chat(reasoning="It burns.", urgency=9, reply="At once.")
    bad = chat(reasoning="It burns.", urgency=11, reply="At once.")
    async with worker_here() as (hop, worker):
        source = script(worker, good, bad, good)
        prediction = await predict(hop, spec=spec, on_violation={"retry": 1})
    assert 9 == prediction.value["fields"]["urgency"]
    assert [False, False, True] == ["feedback_" in prompt for prompt in source.last_prompts()]


async def test_a_cancelled_call_asks_no_more() -> None:
    """In the middle of a second request; a deadline ends in the same cancel."""
    async with worker_here() as (hop, worker):
        source = script(worker, HIGH, waits=True)
        call = await hop.start(
            "program.predict", {"spec": SPEC, "inputs": INPUTS, "on_violation": {"retry": 8}}
        )
        while len(source.questions) < 2:
            await asyncio.sleep(0)
        await hop.say(CANCEL, call, None, {}, None)
        with pytest.raises(DSPexError) as ended:
            await hop.end(call)
        assert "cancelled" == ended.value.code
        assert 2 == len(source.questions)


async def test_a_stream_says_that_a_predictor_begins_again() -> None:
    """What came of its fields is void; what comes after is the text of the prediction."""
    answers = (chat(urgency=42, reply="Never mind."), GOOD)
    async with worker_here() as (hop, worker):
        script(worker, *answers)
        call = await hop.start(
            "program.predict",
            {"spec": SPEC, "inputs": INPUTS, "on_violation": {"retry": 1}},
            credit=1_000,
        )
        prediction = await hop.end(call)
        items = hop.items(call)
    (at,) = [n for n, item in enumerate(items) if item.get("event") == "retry"]
    told = tuple(items[at][key] for key in ("type", "stage", "name", "run"))
    assert ("status", "module", "self", 1) == told
    before, after = (
        "".join(item["text"] for item in part if item["type"] == "token") for part in (items[:at], items[at:])
    )
    assert "Never mind." == before
    assert "At once." == after == prediction.value["fields"]["reply"]
    assert [2] == [item["run"] for item in items[at:] if item.get("last")]


async def test_without_a_violation_nothing_is_another_way() -> None:
    """The same messages as without the wish, for every adapter."""
    functions = HostFunctions()
    lms = LanguageModels(functions)
    signature = build_signature(TICKET)
    source = Script(GOOD)
    lms._built["small"] = AnsweringLM("sim/x", source)  # pyright: ignore[reportPrivateUsage]
    for name, row in adapter_classes().items():
        options: dict[str, object] = (
            {"extraction_model": "small"} if "extraction_model" in row.options else {}
        )
        choice = AdapterChoice(name=name, options=options)
        plain, careful = (adapter_of(choice, retries, lms) for retries in (0, 2))
        assert plain.format(signature, [], INPUTS) == careful.format(signature, [], INPUTS)
        assert careful is adapter_of(choice, 2, lms)
        made: Any = type(careful)()  # as `dspy.Refine` makes one
        assert 2 == made.retries
        assert type(plain).__name__ == type(careful).__name__ == row.make.__name__


async def test_a_parse_error_stays_one_for_dspys_modules() -> None:
    """Some of them catch it: an agent then tries to end."""
    adapter = adapter_of(AdapterChoice(name="json"), 1, LanguageModels(HostFunctions()))
    source = Script("no JSON")
    with dspy.context(lm=AnsweringLM("sim/x", source), adapter=adapter), pytest.raises(AdapterParseError):
        await dspy.Predict("question -> answer").acall(question="?")
    assert 2 == len(source.questions)
    source = Script("no JSON")
    with dspy.context(lm=AnsweringLM("sim/x", source), adapter=adapter), pytest.raises(AdapterParseError):
        dspy.Predict("question -> answer")(question="?")
    assert 2 == len(source.questions)
