"""Pipelines: beside the same class of DSPy's written by hand, and what is refused when one is made."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from typing import Any, Final, get_args

import dspy
import pytest
from dspy.utils import DummyLM
from dspy.utils.exceptions import AdapterParseError
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex_bridge.failures import to_failure
from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.answering import Answer, AnsweringLM, Question
from dspex_bridge.lms.usage import Usage, counting
from dspex_bridge.modules.catalog import Catalog
from dspex_bridge.modules.classes import ModuleClass
from dspex_bridge.modules.running import run_module
from dspex_bridge.pipelines.nodes import MAX_NODES
from dspex_bridge.pipelines.plans import Plan
from dspex_bridge.programs.builder import Builder
from dspex_bridge.programs.live import LiveProgram
from dspex_bridge.programs.records import Spec, read_record
from dspex_bridge.signatures.signatures import build_signature
from dspex_bridge.sim import SimModel, SimOptions, SimSource
from dspex_bridge.streams.streaming import run_streaming
from dspex_protocol import DSPexError, decode_value, encode_value

LIMIT_S: Final = 30.0
CHAT: Final = dspy.ChatAdapter(use_json_adapter_fallback=False)
DIGEST: Final = "question: str, k: int = 2 -> answer: str, title: str"
NODES: Final[dict[str, object]] = {
    "search": {"module": "ChainOfThought", "signature": "question -> facts: list[str]"},
    "name": {"module": "Predict", "signature": "question -> title"},
    "write": {"module": "Predict", "signature": "context: list[str], why, k: int -> text"},
}
OPTIONS: Final[dict[str, object]] = {
    "nodes": NODES,
    "wires": {"write": {"context": "search.facts", "why": "search.reasoning"}},
    "outputs": {"answer": "write.text"},
}


class ByHand(dspy.Module):  # type: ignore[misc]
    """What `OPTIONS` say, as a user of DSPy would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.name = dspy.Predict("question -> title")
        self.search = dspy.ChainOfThought("question -> facts: list[str]")
        self.write = dspy.Predict("context: list[str], why, k: int -> text")

    def forward(self, question: str, k: int = 2) -> dspy.Prediction:
        """One after the other."""
        named = self.name(question=question)
        found = self.search(question=question)
        written = self.write(context=found.facts, why=found.reasoning, k=k)
        return dspy.Prediction(answer=written.text, title=named.title)


def pipeline(
    signature: object = DIGEST, options: Mapping[str, object] = OPTIONS, builder: Builder | None = None
) -> LiveProgram:
    return (builder or Builder()).build(Spec(module="Pipeline", signature=signature, options=dict(options)))


def plan_of(program: LiveProgram) -> Plan:
    module: Any = program.module
    plan: Plan = module.plan
    return plan


def predict(signature: str) -> dict[str, object]:
    return {"module": "Predict", "signature": signature}


def sim(**options: Any) -> AnsweringLM:
    given: dict[str, Any] = {"seed": 5, **options}
    return AnsweringLM("sim/x", SimSource(SimModel(SimOptions(**given))))


async def run(program: LiveProgram, lm: dspy.BaseLM | None = None, **inputs: Any) -> dspy.Prediction:
    async with asyncio.timeout(LIMIT_S):
        with dspy.context(lm=lm or sim(), adapter=CHAT, trace=[], disable_history=True):
            return await run_module(program.module, inputs, is_async=program.template.runs_async)


# The same as by hand


@pytest.mark.parametrize("seed", range(5))
async def test_it_predicts_and_spends_what_the_same_class_does_by_hand(seed: int) -> None:
    """In both forms: fields, requests and tokens."""
    program, by_hand = pipeline(), ByHand()
    spent: list[dict[str, Any]] = []
    given: list[dict[str, Any]] = []
    with dspy.context(lm=sim(seed=seed), adapter=CHAT, trace=[], disable_history=True):
        for module in (by_hand, program.module):
            with counting(Usage()) as usage:
                given.append(module(question="why?").toDict())
            spent.append(usage.meta())
        with counting(Usage()) as usage:
            prediction: Any = await program.module.acall(question="why?")
        given.append(prediction.toDict())
        spent.append(usage.meta())
    assert given[0] == given[1] == given[2]
    figures = [{key: value for key, value in one.items() if key != "lm_ms"} for one in spent]
    assert 3 == figures[0]["lm_calls"]
    assert figures[0] == figures[1] == figures[2]


def test_its_predictors_are_called_as_by_hand() -> None:
    """So an optimizer sees them, and DSPy's own file of one fits the other."""
    program, by_hand = pipeline(), ByHand()
    assert [name for name, _ in by_hand.named_predictors()] == [
        name for name, _ in program.module.named_predictors()
    ]
    assert by_hand.dump_state() == program.module.dump_state()


def test_its_state_goes_into_a_record_and_comes_back() -> None:
    """Of each predictor by itself; the record is what the wire would carry."""
    demo = {"context": ["a"], "why": "b", "k": 1, "text": "c"}
    builder = Builder()
    changed = builder.revise(
        pipeline(builder=builder),
        None,
        {"write": {"demos": [demo]}, "search.predict": {"instructions": "Look."}},
    )
    record = decode_value(encode_value(changed.record()))
    again = Builder().load(read_record(record))
    assert changed.state == again.state
    predictors: dict[str, Any] = dict(again.module.named_predictors())
    assert "Look." == predictors["search.predict"].signature.instructions
    assert [demo] == [one.toDict() for one in predictors["write"].demos]
    assert [] == predictors["name"].demos


def test_what_it_has_learned_is_carried_over_to_a_wider_one() -> None:
    """A node more leaves the others as they are."""
    builder = Builder()
    learned = builder.revise(pipeline(builder=builder), None, {"name": {"instructions": "Be short."}})
    wider = {
        **OPTIONS,
        "nodes": {**NODES, "check": predict("text -> ok: bool")},
        "wires": {**OPTIONS["wires"], "check": {"text": "write.text"}},  # type: ignore[dict-item]
    }
    after = builder.revise(
        learned, Spec(module="Pipeline", signature=f"{DIGEST}, ok: bool", options=wider), None
    )
    assert "Be short." == after.state["name"]["instructions"]  # type: ignore[index]
    assert {"check", "name", "search.predict", "write"} == set(after.state)


# What runs when


class Meeting:
    """A model whose answers wait until so many of them are asked for at once."""

    def __init__(self, parties: int) -> None:
        self.together = asyncio.Barrier(parties)
        self.threads = threading.Barrier(parties)

    def ask(self, question: Question) -> Answer:
        self.threads.wait(LIMIT_S)
        return _fields(("a", "b", "x", "y"))

    async def aask(self, question: Question) -> Answer:
        await self.together.wait()
        return _fields(("a", "b", "x", "y"))

    def stream(self, question: Question) -> Generator[str | Answer]:
        raise AssertionError("nothing is streamed")

    def astream(self, question: Question) -> AsyncGenerator[str | Answer]:
        raise AssertionError("nothing is streamed")


def _fields(names: Iterable[str]) -> Answer:
    return Answer("".join(f"[[ ## {name} ## ]]\n{name}\n\n" for name in names) + "[[ ## completed ## ]]")


def _wants(question: Question, field: str) -> bool:
    return f"`[[ ## {field} ## ]]`" in question.texts[-1][1]


BOTH: Final = {"nodes": {"one": predict("q -> a"), "two": predict("q -> b")}}


async def test_nodes_that_need_nothing_of_each_other_run_at_once() -> None:
    """Each waits for the other here: one after the other they would not end."""
    prediction = await run(pipeline("q -> a, b", BOTH), AnsweringLM("sim/x", Meeting(2)), q="?")
    assert {"a": "a", "b": "b"} == prediction.toDict()


async def test_a_node_runs_when_what_it_needs_is_there() -> None:
    """And not when all that began with what it needs has ended: `late` meets `two`, which began first."""
    nodes = {"one": predict("q -> x"), "late": predict("x -> a"), "two": predict("q -> b")}

    class Late(Meeting):
        async def aask(self, question: Question) -> Answer:
            return _fields(("x",)) if _wants(question, "x") else await super().aask(question)

    prediction = await run(pipeline("q -> a, b", {"nodes": nodes}), AnsweringLM("sim/x", Late(2)), q="?")
    assert {"a": "a", "b": "b"} == prediction.toDict()


def rewarded(*signatures: str) -> tuple[Builder, dict[str, object]]:
    """Nodes that have no async form, and what builds them."""

    async def reward(name: str, args: Mapping[str, object]) -> object:
        return 1.0

    functions = HostFunctions(reward, asyncio.get_running_loop())
    functions.configure(["reward"])
    options = {"N": 1, "reward_fn": "reward", "threshold": 1.0}
    nodes: dict[str, object] = {
        f"n{n}": {"module": "BestOfN", "options": {**options, "module": predict(signature)}}
        for n, signature in enumerate(signatures)
    }
    return Builder(functions=functions), nodes


async def test_nodes_without_an_async_form_run_in_threads_at_once() -> None:
    """Each in one of its own; the host's functions are those of the pipeline."""
    builder, nodes = rewarded("q -> a", "q -> b")
    program = pipeline("q -> a, b", {"nodes": nodes}, builder)
    assert program.template.runs_async
    assert {"reward"} == program.template.functions
    prediction = await run(program, AnsweringLM("sim/x", Meeting(2)), q="?")
    assert {"a": "a", "b": "b"} == prediction.toDict()


async def test_a_pipeline_stands_in_modules_and_in_pipelines() -> None:
    """Of either form; predictors are called by their way through it."""
    builder, _ = rewarded()
    inner: dict[str, object] = {"module": "Pipeline", "signature": "q -> a, b", "options": BOTH}
    outer = {"nodes": {"first": inner, "last": predict("a, b -> c")}}
    nested = pipeline("q -> c", outer, builder)
    best = builder.build(
        Spec(
            module="BestOfN",
            options={"module": nested.template.spec, "N": 2, "reward_fn": "reward", "threshold": 1},
        )
    )
    vote = builder.build(Spec(module="Majority", options={"module": nested.template.spec, "N": 2}))
    for program, prefix in ((nested, ""), (best, "module."), (vote, "module.")):
        assert {f"{prefix}{name}" for name in ("first.one", "first.two", "last")} == set(program.state)
        assert ["c"] == list((await run(program, q="?")).toDict())


async def test_a_thread_in_a_node_of_a_node_keeps_the_others_on_the_loop() -> None:
    """A vote over a pipeline that has a node for threads still runs on the loop itself."""
    builder, nodes = rewarded("q -> a")
    spec: dict[str, object] = {"module": "Pipeline", "signature": "q -> a", "options": {"nodes": nodes}}
    vote = builder.build(Spec(module="Majority", options={"module": spec, "N": 2}))
    assert vote.template.runs_async
    assert ["a"] == list((await run(vote, q="?")).toDict())


# What goes wrong while it runs


class Failing(Meeting):
    """Answers in no format to the node that is asked for `b`, when `a` waits for its answer."""

    def __init__(self) -> None:
        super().__init__(2)
        self.cancelled = asyncio.Event()

    async def aask(self, question: Question) -> Answer:
        await self.together.wait()
        if _wants(question, "b"):
            return Answer("nothing of the sort")
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        raise AssertionError("it was woken")


async def test_a_node_that_fails_fails_the_call_and_cancels_the_others() -> None:
    """The error is what DSPy's would be, and says which node it was."""
    source = Failing()
    with pytest.raises(Exception, match="node two failed") as failed:
        await run(pipeline("q -> a, b", BOTH), AnsweringLM("sim/x", source), q="?")
    assert source.cancelled.is_set()
    failure = to_failure(failed.value)
    assert ("prediction_failed", "two", ["b"]) == (
        failure.code,
        failure.details["node"],
        failure.details["missing"],
    )
    assert failure.message.startswith("node two: ")
    assert isinstance(failed.value.__cause__, AdapterParseError)


async def test_a_failure_in_a_pipeline_in_a_pipeline_names_the_way() -> None:
    """From the outermost."""
    inner = {"module": "Pipeline", "signature": "q -> a, b", "options": BOTH}
    program = pipeline("q -> a, b", {"nodes": {"outer": inner}})
    with pytest.raises(Exception, match="outer") as failed:
        await run(program, AnsweringLM("sim/x", Failing()), q="?")
    assert "outer.two" == to_failure(failed.value).details["node"]


class Stuck(Meeting):
    """Never answers, and counts who has stopped waiting."""

    def __init__(self) -> None:
        super().__init__(2)
        self.all_wait = asyncio.Event()
        self.stopped = 0

    async def aask(self, question: Question) -> Answer:
        await self.together.wait()
        self.all_wait.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped += 1
        raise AssertionError("it was woken")


async def test_cancelling_it_cancels_its_nodes() -> None:
    """All of them, before the cancelled call returns."""
    source = Stuck()
    running = asyncio.ensure_future(run(pipeline("q -> a, b", BOTH), AnsweringLM("sim/x", source), q="?"))
    await source.all_wait.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert 2 == source.stopped


async def test_a_value_outside_the_range_of_the_next_input_is_told() -> None:
    """Types are compared when the program is made; a range only a value can tell."""
    wide = {"inputs": [{"name": "q"}], "outputs": [{"name": "n", "type": "int"}]}
    narrow = {"inputs": [{"name": "n", "type": "int", "le": -1_000_000}], "outputs": [{"name": "a"}]}
    nodes = {
        "one": {"module": "Predict", "signature": wide},
        "two": {"module": "Predict", "signature": narrow},
    }
    with pytest.raises(Exception, match="node two failed") as failed:
        await run(pipeline("q -> a", {"nodes": nodes}), q="?")
    failure = to_failure(failed.value)
    assert ("prediction_failed", "two", "n", "one.n") == (
        failure.code,
        *(failure.details[key] for key in ("node", "field", "source")),
    )


async def test_objects_go_from_node_to_node() -> None:
    """Each signature has classes of its own; a value of one becomes one of the next."""
    person = {
        "kind": "object",
        "name": "Person",
        "fields": [{"name": "age", "type": "int"}, {"name": "tags", "type": "list[str]"}],
    }
    people = {"kind": "list", "items": person, "min_length": 0}
    one = {"inputs": [{"name": "q"}], "outputs": [{"name": "people", "type": people}]}
    two = {"inputs": [{"name": "people", "type": people}], "outputs": [{"name": "a"}]}
    whole = {"inputs": [{"name": "q"}], "outputs": [{"name": "a"}, {"name": "people", "type": people}]}
    nodes = {"one": {"module": "Predict", "signature": one}, "two": {"module": "Predict", "signature": two}}
    program = pipeline(whole, {"nodes": nodes})
    trace: list[Any] = []
    with dspy.context(lm=sim(), adapter=CHAT, trace=trace, disable_history=True):
        prediction: Any = await program.module.acall(q="?")
    _, given, _ = trace[1]
    signature: Any = plan_of(program).steps[1].signature
    (wanted,) = get_args(signature.input_fields["people"].annotation)
    assert prediction.people
    assert [type(member).__name__ for member in given["people"]] == ["Person"] * len(prediction.people)
    assert isinstance(given["people"][0], wanted)


# What a call may leave out


async def test_defaults_and_optional_inputs_are_fed_as_a_call_would_feed_them() -> None:
    """A default of the pipeline's goes to its nodes; what is not given at all leaves theirs."""
    whole = {
        "inputs": [
            {"name": "q"},
            {"name": "k", "type": "int", "default": 4},
            {"name": "hint", "optional": True},
        ],
        "outputs": [{"name": "a"}],
    }
    node = {
        "inputs": [
            {"name": "q"},
            {"name": "k", "type": "int"},
            {"name": "hint", "optional": True},
            {"name": "tone", "default": "dry"},
        ],
        "outputs": [{"name": "a"}],
    }
    program = pipeline(whole, {"nodes": {"only": {"module": "Predict", "signature": node}}})
    trace: list[Any] = []
    for more in ({}, {"k": 1, "hint": "h"}):
        with dspy.context(lm=sim(), adapter=CHAT, trace=trace, disable_history=True):
            await program.module.acall(q="?", **more)
    assert [4, 1] == [given["k"] for _, given, _ in trace]
    assert "h" == trace[1][1]["hint"]
    assert "hint" not in trace[0][1] or trace[0][1]["hint"] is None


async def test_a_constant_feeds_an_input() -> None:
    """As its type wants it."""
    nodes = {"only": predict("q, day: date, tags: list[str] -> a")}
    wires = {"only": {"day": {"value": "2024-02-29"}, "tags": {"value": ["x"]}}}
    trace: list[Any] = []
    program = pipeline("q -> a", {"nodes": nodes, "wires": wires})
    with dspy.context(lm=sim(), adapter=CHAT, trace=trace, disable_history=True):
        await program.module.acall(q="?")
    assert ("2024-02-29", ["x"]) == (str(trace[0][1]["day"]), trace[0][1]["tags"])


async def test_the_config_of_a_call_goes_to_every_node() -> None:
    """As it goes to the predictors of any module."""
    seen: list[object] = []

    class Listening(Meeting):
        async def aask(self, question: Question) -> Answer:
            seen.append(question.config.get("temperature"))
            return _fields(("a", "b"))

    await run(
        pipeline("q -> a, b", BOTH), AnsweringLM("sim/x", Listening(1)), q="?", config={"temperature": 0.5}
    )
    assert [0.5, 0.5] == seen


# Streams


async def test_each_node_streams_under_its_predictors_name() -> None:
    """Joined, the tokens are the text that the node gave; the last nodes' are the prediction's."""
    items: list[dict[str, object]] = []

    async def emit(item: dict[str, object]) -> None:
        items.append(dict(item))

    program = pipeline()
    with dspy.context(lm=sim(token_chars=3), adapter=CHAT, disable_history=True, trace=None):
        prediction = await run_streaming(program.module, {"question": "why?"}, emit)
    texts: dict[tuple[object, object], str] = {}
    for item in items:
        if item["type"] == "token":
            key = (item["predictor"], item["field"])
            texts[key] = texts.get(key, "") + str(item["text"])
    assert {("search.predict", "reasoning"), ("name", "title"), ("write", "text")} == set(texts)
    assert (prediction.title, prediction.answer) == (texts["name", "title"], texts["write", "text"])


# What is refused when it is made

REFUSED: Final[list[tuple[str, Mapping[str, object], str, str]]] = [
    ("q -> a", {"nodes": {}}, "nodes", "a map of 1 to"),
    ("q -> a", {"nodes": {"n-1": predict("q -> a")}}, "nodes", "identifiers"),
    ("q -> a", {"nodes": {"forward": predict("q -> a")}}, "nodes.forward", "means nothing to dspy.Module"),
    ("q -> a", {"nodes": {"n": predict("q -> ")}}, "nodes.n.signature.outputs", "fields"),
    ("q -> a", {"nodes": {"n": {"module": "Predikt"}}}, "nodes.n.module", "one of the modules"),
    ("q -> a", {"nodes": {"n": predict("q, r -> a")}}, "wires.n.r", "expected one of q, got nothing"),
    ("q -> a", {"nodes": {"n": predict("q -> b")}}, "outputs.a", "expected one of n.b, got nothing"),
    (
        "q -> a",
        {"nodes": {"m": predict("q -> a"), "n": predict("q -> a")}},
        "outputs.a",
        "one of m.a, n.a, which all have that name",
    ),
    ("q -> a", {"nodes": {"n": predict("q: int -> a")}}, "wires.n.q", "of the type int, got q, of str"),
    ("q -> a: int", {"nodes": {"n": predict("q -> a")}}, "outputs.a", "of the type int, got n.a, of str"),
    (
        "q -> a",
        {"nodes": {"n": predict("q, y -> x"), "m": predict("x -> y"), "o": predict("x -> a")}},
        "nodes",
        "without a cycle, got m -> n -> m",
    ),
    (
        "q -> a",
        {"nodes": {"n": predict("q, b -> a, b")}, "wires": {"n": {"b": "n.a"}}},
        "nodes.n.signature.outputs[1].name",
        "",
    ),
    (
        "q -> a",
        {"nodes": {"n": predict("q, b -> a")}, "wires": {"n": {"b": "n.a"}}},
        "nodes",
        "without a cycle, got n -> n",
    ),
    (
        "q -> a",
        {"nodes": {"n": predict("q -> a"), "m": predict("q -> b")}},
        "nodes.m",
        "that an output depends on",
    ),
    ("q, r -> a", {"nodes": {"n": predict("q -> a")}}, "signature", "which are q, got also 'r'"),
    ("q -> a", {"nodes": {"n": predict("q -> a")}, "wires": {"m": {}}}, "wires.m", "one of the nodes n"),
    (
        "q -> a",
        {"nodes": {"n": predict("q -> a")}, "wires": {"n": {"r": "q"}}},
        "wires.n.r",
        "one of the fields q",
    ),
    (
        "q -> a",
        {"nodes": {"n": predict("q -> a")}, "wires": {"n": {"q": "m.b"}}},
        "wires.n.q",
        "one of the nodes n",
    ),
    (
        "q -> a",
        {"nodes": {"n": predict("q -> a"), "m": predict("q -> b")}, "wires": {"n": {"q": "m.c"}}},
        "wires.n.q",
        "one of the fields b of m",
    ),
    ("q -> a", {"nodes": {"n": predict("q -> a")}, "wires": {"n": {"q": "r"}}}, "wires.n.q", "one of q"),
    ("q -> a", {"nodes": {"n": predict("q -> a")}, "wires": {"n": {"q": 3}}}, "wires.n.q", "node.field"),
    (
        "q -> a",
        {"nodes": {"n": predict("q -> a")}, "wires": {"n": {"q": {"value": 3}}}},
        "wires.n.q.value",
        "string",
    ),
    ("q -> a", {"nodes": {"n": predict("q -> a")}, "wires": {"n": {"q": {}}}}, "wires.n.q.value", "constant"),
    (
        "q -> a",
        {"nodes": {"n": predict("q -> a")}, "wires": {"n": {"q": {"constant": 3}}}},
        "wires.n.q.constant",
        "value",
    ),
    ("q -> a", {"nodes": {"n": predict("q -> a")}, "outputs": {"b": "n.a"}}, "outputs.b", "the fields a"),
    ("q -> a", {"nodes": {"n": predict("q -> a")}, "outputs": {"a": "q"}}, "outputs.a", "one of n.a"),
    (
        "q -> a",
        {"nodes": {"n": {"module": "MultiChainComparison", "signature": "q -> a"}}},
        "nodes.n",
        "one with completions",
    ),
    (
        "q -> a",
        {"nodes": {"n": {"program": "p", "version": 1}}},
        "nodes.n.program",
        "parts of programs that are stored",
    ),
]


@pytest.mark.filterwarnings("ignore:The 'prefix' argument")  # DSPy's own module uses it
@pytest.mark.parametrize(("signature", "options", "field", "told"), REFUSED)
def test_what_does_not_fit_together_is_refused(
    signature: str, options: Mapping[str, object], field: str, told: str
) -> None:
    """When the program is made, by its path, with what there is."""
    with pytest.raises(DSPexError) as refused:
        pipeline(signature, options)
    where = "spec.signature" if field == "signature" else f"spec.options.{field}"
    assert ("invalid_argument", where) == (refused.value.code, refused.value.details["field"])
    assert told in refused.value.message


def test_there_are_only_so_many_nodes() -> None:
    """Those of pipelines in it are counted too."""
    half = MAX_NODES // 2
    signature = "q -> " + ", ".join(f"a{n}" for n in range(half))
    inner = {
        "module": "Pipeline",
        "signature": signature,
        "options": {"nodes": {f"n{n}": predict(f"q -> a{n}") for n in range(half)}},
    }
    nodes = {"one": inner, "two": inner}
    outputs = {f"a{n}": "one.a0" if n else "two.a0" for n in range(half)}
    with pytest.raises(DSPexError, match=f"at most {MAX_NODES} nodes"):
        pipeline(signature, {"nodes": nodes, "outputs": outputs})


def test_what_modules_give_beside_their_signature_may_be_wired() -> None:
    """Of every module that has such a field, it is in its predictions."""
    nodes = {
        "think": {
            "module": "ChainOfThought",
            "signature": "q -> x",
            "options": {"rationale_field_type": "list[str]"},
        },
        "next": predict("steps: list[str] -> a"),
    }
    wires = {"next": {"steps": "think.reasoning"}}
    program = pipeline("q -> a", {"nodes": nodes, "wires": wires})
    assert [("reasoning",), ("a",)] == [step.gives for step in plan_of(program).steps]


async def test_what_an_agent_did_may_be_wired() -> None:
    """Its trajectory and why it answered so, beside its signature's outputs."""

    async def look(name: str, args: Mapping[str, object]) -> object:
        return "rain"

    functions = HostFunctions(look, asyncio.get_running_loop())
    functions.configure(["look"])
    agent = {"module": "ReAct", "signature": "q -> x", "options": {"tools": [{"name": "look"}]}}
    nodes = {"act": agent, "tell": predict("trajectory: dict, reasoning -> a")}
    answers = [
        {"next_thought": "t", "next_tool_name": "look", "next_tool_args": {}},
        {"next_thought": "t", "next_tool_name": "finish", "next_tool_args": {}},
        {"reasoning": "seen", "x": "x"},
        {"a": "told"},
    ]
    program = pipeline("q -> a", {"nodes": nodes}, Builder(functions=functions))
    trace: list[Any] = []
    with dspy.context(lm=DummyLM(answers), adapter=dspy.ChatAdapter(), trace=trace):
        prediction: Any = await program.module.acall(q="?")
    _, given_to_tell, _ = trace[-1]
    assert ("told", "seen", "rain") == (
        prediction.a,
        given_to_tell["reasoning"],
        given_to_tell["trajectory"]["observation_0"],
    )


async def test_the_trace_of_an_attempt_in_a_node_is_the_pipelines() -> None:
    """A node that reads DSPy's trace has the call make one, however deep it stands."""
    builder, nodes = rewarded("q -> a")
    inner: dict[str, object] = {"module": "Pipeline", "signature": "q -> a", "options": {"nodes": nodes}}
    program = pipeline("q -> a", {"nodes": {"outer": inner}}, builder)
    assert program.template.wants_trace
    assert not pipeline().template.wants_trace


def test_its_wires_are_drawn() -> None:
    """From giver to taker, with the giver's field; constants come from nowhere."""
    program = pipeline()
    module: Any = program.module
    names = {id(part): path for path, part in module.named_sub_modules()}
    told = {(names[id(giver)], names[id(taker)], field) for giver, taker, field in module.graph_feeds()}
    assert {
        ("self", "self.search", "question"),
        ("self", "self.name", "question"),
        ("self", "self.write", "k"),
        ("self.search", "self.write", "facts"),
        ("self.search", "self.write", "reasoning"),
        ("self.write", "self", "text"),
        ("self.name", "self", "title"),
    } == told


class Counting(dspy.Module):  # type: ignore[misc]
    """Keeps how often it was called, beside its predictors."""

    def __init__(self, signature: type[dspy.Signature]) -> None:
        super().__init__()
        self.ask = dspy.Predict(signature)
        self.count = 0

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Count, and answer with it."""
        self.count += 1
        return dspy.Prediction(n=self.count)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """The same."""
        return self.forward(**inputs)

    def dump_memory(self) -> object:
        """The count."""
        return self.count

    def load_memory(self, memory: int) -> None:
        """Go on from there."""
        self.count = memory


async def test_what_its_nodes_keep_is_kept_by_their_names() -> None:
    """Calls do not share it, and a session has it from one turn to the next."""
    catalog = Catalog([ModuleClass(name="Counting", make=Counting)])
    counting_node = {"module": "Counting", "signature": "q -> n: int"}
    inner = {"module": "Pipeline", "signature": "q -> n: int", "options": {"nodes": {"deep": counting_node}}}
    nodes = {"one": inner, "two": predict("n: int -> a")}
    program = pipeline("q -> n: int, a", {"nodes": nodes}, Builder(catalog))
    assert program.keeps_state
    calls: list[Any] = [program.for_one_call().module for _ in range(2)]
    for own in calls:
        with dspy.context(lm=sim(), adapter=CHAT, trace=[], disable_history=True):
            assert 1 == (await own.acall(q="?")).n
        assert {"one": {"deep": 1}} == own.dump_memory()
    again: Any = program.for_one_call().module
    again.load_memory({"one": {"deep": 7}})
    with dspy.context(lm=sim(), adapter=CHAT, trace=[], disable_history=True):
        assert 8 == (await again.acall(q="?")).n
    assert not pipeline().keeps_state
    assert pipeline().module.dump_memory() is None


# Any graph


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, object], list[str], dict[str, list[str]]]:
    """A pipeline of up to eight nodes, the order in which they were made, and what feeds each."""
    count = draw(st.integers(1, 8))
    names = draw(st.permutations([f"n{n}" for n in range(count)]))
    sources: dict[str, list[str]] = {}
    nodes: dict[str, object] = {}
    wires: dict[str, object] = {}
    for at, name in enumerate(names):
        earlier = ["q", *(f"{one}.out" for one in names[:at])]
        sources[name] = draw(st.lists(st.sampled_from(earlier), min_size=1, max_size=4))
        inputs = ", ".join(f"i{n}" for n in range(len(sources[name])))
        module = draw(st.sampled_from(("Predict", "ChainOfThought")))
        nodes[name] = {"module": module, "signature": f"{inputs} -> out"}
        wires[name] = {f"i{n}": source for n, source in enumerate(sources[name])}
    used = {source for own in sources.values() for source in own}
    ends = [name for name in names if f"{name}.out" not in used]
    shuffled = draw(st.permutations(sorted(nodes)))
    options: dict[str, object] = {
        "nodes": {name: nodes[name] for name in shuffled},
        "wires": wires,
        "outputs": {f"o_{name}": f"{name}.out" for name in ends},
    }
    return options, list(names), sources


@settings(max_examples=60, deadline=None)
@given(graphs(), st.integers(0, 99))
def test_any_graph_gives_what_its_nodes_give_one_after_the_other(
    graph: tuple[dict[str, Any], list[str], dict[str, list[str]]], seed: int
) -> None:
    """In both forms, whatever the order in which nodes were named."""
    options, order, sources = graph
    ends = options["outputs"]
    program = pipeline(f"q -> {', '.join(ends)}", options)
    with dspy.context(lm=sim(seed=seed), adapter=CHAT, trace=[], disable_history=True):
        values: dict[str, str] = {"q": "why?"}
        for name in order:
            spec = options["nodes"][name]
            node: Any = getattr(dspy, spec["module"])(build_signature(spec["signature"]))
            inputs = {f"i{n}": values[source] for n, source in enumerate(sources[name])}
            values[f"{name}.out"] = node(**inputs).out
        expected = {output: values[source] for output, source in ends.items()}
        assert expected == program.module(q="why?").toDict()

        async def at_once() -> dict[str, object]:
            prediction: Any = await program.module.acall(q="why?")
            return dict(prediction.items())

        assert expected == asyncio.run(at_once())
