"""Pipelines and composed programs through real servers."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import dspy
import pytest
from tests.support.reference import SEED
from tests.support.servers import count, has_ready, serving, wait_for, worker_pids
from tests.support.standing import Standing

from dspex_bridge.lms.answering import AnsweringLM
from dspex_bridge.lms.usage import Usage, counting
from dspex_bridge.sim import SimModel, SimOptions, SimSource
from dspex_pool.client import Client
from dspex_protocol import DSPexError

pytestmark = pytest.mark.slow

QUESTIONS: Final = count("pipelines", 12)
SIGNATURE: Final = "question, k: int -> answer, title, sure: bool"
SPEC: Final[dict[str, Any]] = {
    "module": "Pipeline",
    "signature": SIGNATURE,
    "options": {
        "nodes": {
            "search": {"module": "ChainOfThought", "signature": "question -> facts: list[str]"},
            "name": {"module": "Predict", "signature": "question -> title"},
            "write": {"module": "Predict", "signature": "context: list[str], k: int -> text"},
            "check": {"module": "Predict", "signature": "answer, reasoning -> sure: bool"},
        },
        "wires": {"write": {"context": "search.facts"}, "check": {"answer": "write.text"}},
        "outputs": {"answer": "write.text"},
    },
}


class ByHand(dspy.Module):  # type: ignore[misc]
    """What `SPEC` says, as a user of DSPy would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.search = dspy.ChainOfThought("question -> facts: list[str]")
        self.name = dspy.Predict("question -> title")
        self.write = dspy.Predict("context: list[str], k: int -> text")
        self.check = dspy.Predict("answer, reasoning -> sure: bool")

    def forward(self, question: str, k: int) -> dspy.Prediction:
        """One after the other."""
        found = self.search(question=question)
        title = self.name(question=question).title
        text = self.write(context=found.facts, k=k).text
        checked = self.check(answer=text, reasoning=found.reasoning)
        return dspy.Prediction(answer=text, title=title, sure=checked.sure)


def by_hand(question: str, k: int) -> tuple[dict[str, object], dict[str, object]]:
    """The fields, and what they cost."""
    lm = AnsweringLM("sim/test", SimSource(SimModel(SimOptions(seed=SEED))))
    with counting(Usage()) as usage, dspy.context(lm=lm, disable_history=True):
        prediction: Any = ByHand()(question=question, k=k)
    return dict(prediction.items()), spent(usage.meta())


def spent(usage: Mapping[str, object]) -> dict[str, object]:
    """Requests and tokens: time is never the same, and what they cost says who has the prices."""
    return {key: usage[key] for key in ("lm_calls", "tokens_in", "tokens_out")}


async def ask(client: Client, question: str, k: int, **meta: Any) -> Any:
    payload = {"inputs": {"question": question, "k": k}, **({} if meta else {"spec": SPEC})}
    return cast("Any", await client.call("program.predict", payload, **meta)).value


async def create(client: Client, spec: Mapping[str, object], program: str, **more: Any) -> int:
    made: Any = await client.call("program.create", {"spec": spec, **more}, program=program)
    return int(made["version"])


async def get(client: Client, program: str, **which: Any) -> Any:
    return await client.call("program.get", {}, program=program, **which)


async def test_the_bridge_gives_and_spends_what_the_same_class_does_by_hand(standing: Standing) -> None:
    """Stored and one-shot; requests and tokens add up over the nodes."""
    async with standing.client() as client:
        await create(client, SPEC, "digest")
        for at in range(QUESTIONS):
            question = f"Nº {at}: why? {'long ' * (at % 7)}"
            fields, figures = by_hand(question, at)
            given = await ask(client, question, at, **({"program": "digest"} if at % 2 else {}))
            assert fields == given["fields"]
            assert figures == spent(given["usage"])
            assert 4 == figures["lm_calls"]


async def test_each_nodes_tokens_come_under_its_name(standing: Standing) -> None:
    """As the nodes write; joined they are what the prediction has."""
    async with standing.client() as client:
        stream = client.stream(SPEC, {"question": "why?", "k": 1})
        texts: dict[str, str] = {}
        async for item in stream:
            row = cast("dict[str, Any]", item)
            if row["type"] == "token":
                key = f"{row['predictor']}.{row['field']}"
                texts[key] = texts.get(key, "") + row["text"]
        prediction: Any = (await stream.result()).value
        fields = prediction.value["fields"]
        assert (fields["answer"], fields["title"]) == (texts["write.text"], texts["name.title"])
        assert "search.predict.reasoning" in texts


async def test_a_deadline_ends_all_that_runs(standing: Standing) -> None:
    """The host's model is told, for each node that waits for it."""
    asked, stopped = asyncio.Queue[str](), asyncio.Queue[str]()

    async def answer(model: str, messages: list[dict[str, str]], config: object) -> str:
        asked.put_nowait(model)
        try:
            await asyncio.Event().wait()
        finally:
            stopped.put_nowait(model)
        return ""

    lms = {"default": {"model": "host/answer"}}
    async with standing.client(functions={"answer": answer}, lms=lms) as client:
        payload = {"spec": SPEC, "inputs": {"question": "?", "k": 1}}
        with pytest.raises(DSPexError) as failed:
            await client.call("program.predict", payload, deadline_ms=3_000)
        assert "deadline" == failed.value.code
        assert 2 == asked.qsize()  # `search` and `name`; the others wait for what they need
        for _ in range(2):
            await stopped.get()


async def test_a_session_goes_through_a_pipeline(standing: Standing) -> None:
    """Its history is an input like any other, and feeds the nodes that have one."""
    seen: list[str] = []

    def answer(model: str, messages: list[dict[str, str]], config: object) -> str:
        seen.append(" ".join(message["content"] for message in messages))
        return "[[ ## answer ## ]]\nso it is\n\n[[ ## title ## ]]\nt\n\n[[ ## completed ## ]]"

    nodes = {
        "talk": {"module": "Predict", "signature": "history: history, question -> answer"},
        "name": {"module": "Predict", "signature": "answer -> title"},
    }
    spec = {
        "module": "Pipeline",
        "signature": "history: history, question -> answer, title",
        "options": {"nodes": nodes},
    }
    lms = {"default": {"model": "host/answer"}}
    async with standing.client(functions={"answer": answer}, lms=lms) as client:
        await create(client, spec, "talk")
        await client.call("session.open", {}, program="talk", session="s")
        for question in ("first of all?", "and then?"):
            await client.call("program.predict", {"inputs": {"question": question}}, session="s")
        assert "first of all?" in seen[2]
        assert "first of all?" not in seen[3]
        session: Any = await client.call("session.get", {}, session="s")
        assert [("first of all?", "so it is", "t"), ("and then?", "so it is", "t")] == [
            (turn["question"], turn["answer"], turn["title"]) for turn in session["history"]
        ]


async def test_its_graph_says_what_feeds_what(standing: Standing) -> None:
    """Beside what it is made of."""
    async with standing.client() as client:
        graph: Any = await client.call("program.graph", {"spec": SPEC})
        feeds = {(row["from"], row["to"], row["label"]) for row in graph["edges"] if row["kind"] == "feeds"}
        assert {("self.search", "self.write", "facts"), ("self.write", "self.check", "text")} <= feeds
        assert ("self.check", "self", "sure") in feeds


QA: Final = {"module": "Predict", "signature": "question -> answer"}
COMPOSED: Final[dict[str, Any]] = {
    "module": "Pipeline",
    "signature": "question -> ok: bool",
    "options": {
        "nodes": {
            "ask": {"program": "qa"},
            "check": {"module": "Predict", "signature": "answer -> ok: bool"},
        }
    },
}


def told(instructions: str, predictor: str = "self") -> dict[str, object]:
    return {"state": {predictor: {"instructions": instructions}}}


def instructions_of(program: Any, predictor: str = "ask") -> str:
    return str(program["state"][predictor]["instructions"])


def origin_of(program: Any) -> dict[str, object]:
    origin: dict[str, object] = program["spec"]["options"]["nodes"]["ask"]["origin"]
    return origin


def naming(**named: object) -> dict[str, Any]:
    """`COMPOSED`, with another program for the node."""
    nodes = {**COMPOSED["options"]["nodes"], "ask": named}
    return {**COMPOSED, "options": {"nodes": nodes}}


async def test_a_stored_program_as_a_node_is_a_copy() -> None:
    """It goes on as it was made, whatever becomes of the program that it was made of, and runs anywhere."""
    async with serving() as client:
        await create(client, QA, "qa", **told("Version one."))
        await create(client, COMPOSED, "whole")
        await client.call("program.update", told("Version two."), program="qa")
        await client.call("program.delete", {}, program="qa")
        whole = await get(client, "whole")
        assert ("Version one.", {"program": "qa", "version": 1}) == (instructions_of(whole), origin_of(whole))
        before = await client.predict("whole", {"question": "why?"})
        await wait_for(client, has_ready(2))
        for pid in await worker_pids(client):
            os.kill(pid, signal.SIGKILL)
        await wait_for(
            client, lambda snapshot: snapshot["worker_deaths"] >= 2 and snapshot["ready_workers"] == 2
        )
        assert before == await client.predict("whole", {"question": "why?"})


async def test_a_version_or_a_tag_says_which(standing: Standing) -> None:
    """Without one it is the newest."""
    async with standing.client() as client:
        await create(client, QA, "qa", **told("One."), tags=["stable"])
        await client.call("program.update", told("Two."), program="qa")
        which: list[tuple[dict[str, object], str]] = [
            ({}, "Two."),
            ({"version": 1}, "One."),
            ({"version": 2}, "Two."),
            ({"tag": "stable"}, "One."),
        ]
        for at, (named, expected) in enumerate(which):
            await create(client, naming(program="qa", **named), f"whole-{at}")
            assert expected == instructions_of(await get(client, f"whole-{at}"))


async def test_a_new_version_takes_the_newest_of_its_parts_anew() -> None:
    """Where the update names them; one that changes the state alone changes nothing else."""
    async with serving() as client:
        await create(client, QA, "qa", **told("One."))
        await create(client, COMPOSED, "whole")
        await client.call("program.update", told("Check well.", "check"), program="whole")
        await client.call("program.update", told("Two."), program="qa")
        assert "One." == instructions_of(await get(client, "whole"))
        await client.call("program.update", {"spec": COMPOSED}, program="whole")
        whole = await get(client, "whole")
        assert ("Two.", "Check well.") == (instructions_of(whole), instructions_of(whole, "check"))
        assert {"program": "qa", "version": 2} == origin_of(whole)
        await client.call("program.rollback", {}, program="whole", version=2)
        assert "One." == instructions_of(await get(client, "whole"))


async def test_it_goes_out_and_comes_in_as_one_program() -> None:
    """In our form, to a server that has never seen its parts; and in DSPy's, as the file of its own class."""
    async with serving() as client:
        await create(client, QA, "qa", **told("One."))
        await create(client, COMPOSED, "whole")
        ours: Any = await client.call("program.export", {}, program="whole")
        dspys: Any = await client.call("program.export", {"format": "dspy"}, program="whole")
    async with serving() as client:
        await client.call("program.import", {"document": ours["document"]})
        assert "One." == instructions_of(await get(client, "whole"))
        await create(client, QA, "qa")
        await client.call(
            "program.import",
            {"document": dspys["document"], "format": "dspy", "spec": COMPOSED},
            program="again",
        )
        assert "One." == instructions_of(await get(client, "again"))


async def test_a_pipeline_takes_what_dspy_has_saved_of_the_same_class(standing: Standing) -> None:
    """Predictors have the names that they have there."""
    learned: Any = ByHand()
    learned.search.predict.signature = learned.search.predict.signature.with_instructions("Look well.")
    learned.check.demos = [dspy.Example(answer="a", reasoning="b", sure=True)]
    document = dspy_document(learned)
    async with standing.client() as client:
        await client.call(
            "program.import", {"document": document, "format": "dspy", "spec": SPEC}, program="digest"
        )
        state = (await get(client, "digest"))["state"]
        assert "Look well." == state["search.predict"]["instructions"]
        assert 1 == len(state["check"]["demos"])


def dspy_document(module: Any) -> str:
    """What its `save` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.json"
        module.save(str(path))
        return path.read_text()


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"program": "gone"}, "there is no program 'gone'"),
        ({"program": "qa", "version": 9}, "program 'qa' has no version 9"),
        ({"program": "qa", "tag": "best"}, "program 'qa' has no version with the tag 'best'"),
    ],
)
async def test_a_part_that_is_not_there_is_told(
    named: dict[str, object], message: str, standing: Standing
) -> None:
    """By the node that names it, whether a program is made or changed; nothing is stored."""
    async with standing.client() as client:
        await create(client, QA, "qa")
        version = await create(client, COMPOSED, "whole")
        for method, program in (("program.create", "other"), ("program.update", "whole")):
            with pytest.raises(DSPexError, match=message) as refused:
                await client.call(method, {"spec": naming(**named)}, program=program)
            assert ("unknown_program", "spec.options.nodes.ask.program") == (
                refused.value.code,
                refused.value.details["field"],
            )
        assert version == (await get(client, "whole"))["version"]


async def test_a_prediction_by_a_spec_names_no_stored_programs(standing: Standing) -> None:
    """They are copied when a program is made, and nothing is made there."""
    async with standing.client() as client:
        await create(client, QA, "qa")
        with pytest.raises(DSPexError, match="a stored program") as refused:
            await client.predict(COMPOSED, {"question": "why?"})
        assert "invalid_argument" == refused.value.code


async def test_a_write_that_is_made_again_is_answered_as_the_first(standing: Standing) -> None:
    """Also when the program that it copied is gone since."""
    async with standing.client() as client:
        await create(client, QA, "qa")
        payload = {"spec": COMPOSED}
        first = await client.call("program.create", payload, program="whole", write_id="w")
        await client.call("program.delete", {}, program="qa")
        assert first == await client.call("program.create", payload, program="whole", write_id="w")


async def test_a_module_of_the_hosts_may_be_a_node_and_may_have_stored_parts(standing: Standing) -> None:
    """Its parts are predictors of the whole; a stored program among them is a copy like any other."""
    clients: list[Client] = []

    async def forward(question: str) -> dict[str, object]:
        drafted: Any = await clients[0].part("draft", {"question": question})
        return {"answer": drafted["answer"].upper()}

    host = {
        "module": "Host",
        "signature": "question -> answer",
        "options": {"forward": "forward", "parts": {"draft": {"program": "qa"}}},
    }
    nodes = {"ask": host, "tell": {"module": "Predict", "signature": "answer -> title"}}
    spec = {"module": "Pipeline", "signature": "question -> answer, title", "options": {"nodes": nodes}}
    async with standing.client(functions={"forward": forward}) as client:
        clients.append(client)
        await create(client, QA, "qa", **told("One."))
        await create(client, spec, "whole")
        assert "One." == instructions_of(await get(client, "whole"), "ask.draft")
        plain = await client.predict("qa", {"question": "why?"})
        whole = await client.predict("whole", {"question": "why?"})
        assert str(plain["answer"]).upper() == whole["answer"]
