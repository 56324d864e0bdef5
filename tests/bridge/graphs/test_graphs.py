"""What a program is made of, beside what DSPy says of the same module."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import dspy
import pytest
from dspy.primitives.base_module import BaseModule
from tests.support.hops import worker_here
from tests.support.plugin_modules import MODULES

from dspex_bridge.graphs import Graph, graph_of
from dspex_bridge.graphs import operation as graphing
from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.modules.catalog import Catalog, ModuleClass
from dspex_bridge.programs.builder import Builder
from dspex_bridge.programs.live import LiveProgram
from dspex_bridge.programs.records import Spec

CITY: Final[dict[str, object]] = {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}}
WEATHER: Final[dict[str, object]] = {
    "name": "weather",
    "desc": "Tells the weather.",
    "args": CITY,
    "function": "sky.look",
}
QA: Final = "question -> answer: str, score: float"
PART: Final[dict[str, object]] = {"module": "ChainOfThought", "signature": QA}
SPECS: Final = (
    Spec(module="Predict", signature=QA, options={}),
    Spec(module="ChainOfThought", signature=QA, options={}),
    Spec(module="ReAct", signature=QA, options={"tools": [WEATHER]}),
    Spec(module="ReActV2", signature=QA, options={"tools": [WEATHER]}),
    Spec(module="MultiChainComparison", signature=QA, options={}),
    Spec(module="Majority", signature=None, options={"module": PART, "N": 3}),
    Spec(
        module="BestOfN",
        signature=None,
        options={"module": PART, "N": 3, "reward_fn": "wordy", "threshold": 1.0},
    ),
    Spec(
        module="Refine",
        signature=None,
        options={
            "module": PART,
            "N": 3,
            "reward_fn": {"function": "wordy", "desc": "More."},
            "threshold": 1.0,
        },
    ),
)


def builder(plugged: Iterable[ModuleClass] = ()) -> Builder:
    async def call_host(name: str, args: object) -> object:
        await asyncio.sleep(0)
        return None

    functions = HostFunctions(call_host)
    functions.configure(["sky.look", "wordy"])
    return Builder(Catalog(plugged), functions)


def parts(graph: Graph, *kinds: str) -> dict[str, dict[str, Any]]:
    """Its nodes of some kinds, by id."""
    return {node.id: {"name": node.name, **node.facts} for node in graph.nodes if node.kind in kinds}


def links(graph: Graph, link: str) -> set[tuple[str, str]]:
    return {(edge.source, edge.target) for edge in graph.edges if edge.link == link}


def check_whole(graph: Graph) -> None:
    """Every end of an edge is a node, and every node can be reached from the program."""
    ids = [node.id for node in graph.nodes]
    assert len(ids) == len(set(ids))
    reached = {"program"}
    for _ in ids:
        reached |= {edge.target for edge in graph.edges if edge.source in reached}
    assert set(ids) == reached
    assert {edge.source for edge in graph.edges} <= set(ids)


@pytest.mark.filterwarnings("ignore:The 'prefix' argument:DeprecationWarning")  # DSPy's own
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.module)
def test_modules_and_predictors_are_those_that_dspy_names(spec: Spec) -> None:
    """With the class of each, and of predictors signature and number of demos."""
    program = builder().build(spec)
    graph = graph_of(program, {})
    check_whole(graph)
    modules = dict(program.module.named_sub_modules(BaseModule))
    found = parts(graph, "module", "predictor")
    assert {path: type(module).__name__ for path, module in modules.items()} == {
        path: facts["class"] for path, facts in found.items()
    }
    predictors = parts(graph, "predictor").values()
    assert {name: len(own.demos) for name, own in program.module.named_predictors()} == {
        facts["predictor"]: facts["demos"] for facts in predictors
    }
    named: list[tuple[str, Any]] = program.module.named_predictors()
    for name, own in named:
        signature = next(facts["signature"] for facts in predictors if facts["predictor"] == name)
        assert own.signature.instructions == signature["instructions"]
        assert list(own.signature.input_fields) == [field["name"] for field in signature["inputs"]]
        assert list(own.signature.output_fields) == [field["name"] for field in signature["outputs"]]


def test_a_tool_has_its_arguments_and_its_function() -> None:
    """And DSPy's own tool has no function of the host."""
    graph = graph_of(builder().build(SPECS[2]), {})
    tools = {facts.pop("name"): facts for facts in parts(graph, "tool").values()}
    assert {"description": "Tells the weather.", "args": CITY, "function": "sky.look"} == tools["weather"]
    assert tools["finish"]["function"] is None
    assert {("self", "self.tools[weather]"), ("self", "self.tools[finish]")} == links(graph, "calls")


@pytest.mark.parametrize(("spec", "told"), [(SPECS[6], "A function of the host: wordy"), (SPECS[7], "More.")])
def test_a_reward_is_found_inside_what_dspy_wraps_it_in(spec: Spec, told: str) -> None:
    """With the words that the host has for it."""
    graph = graph_of(builder().build(spec), {})
    assert {"self.reward_fn": {"name": "wordy", "description": told, "function": "wordy"}} == parts(
        graph, "reward"
    )
    assert ("self", "self.reward_fn") in links(graph, "calls")


def test_types_and_descriptions_of_fields_are_told() -> None:
    """The type as DSPy tells it to a model; nothing where nothing is said of a field."""
    fields = [{"name": "k", "type": "list[int]", "desc": "How many."}, {"name": "q"}]
    spec = Spec(module="Predict", signature={"inputs": fields, "outputs": [{"name": "a"}]}, options={})
    signature = parts(graph_of(builder().build(spec), {}), "program")["program"]["signature"]
    assert [
        {"name": "k", "type": "list[int]", "description": "How many."},
        {"name": "q", "type": "str", "description": ""},
    ] == signature["inputs"]


def test_what_a_version_has_learned_is_told() -> None:
    """Its own instructions, how many demos, and its language model as a part."""
    state = {
        "predict": {
            "instructions": "Be brief.",
            "demos": [{"question": "1?", "reasoning": "r", "answer": "2", "score": 1.0}] * 2,
            "lm": "big",
        }
    }
    graph = graph_of(builder().build(SPECS[1], state), {"big": "sim/big"}, "qa", 7)
    told = parts(graph, "predictor")["self.predict"]
    assert ("Be brief.", 2, "big") == (told["signature"]["instructions"], told["demos"], told["lm"])
    assert {"lm:big": {"name": "big", "model": "sim/big"}} == parts(graph, "lm")
    assert {("self.predict", "lm:big")} == links(graph, "calls")
    program = parts(graph, "program")["program"]
    assert ("qa", "qa", 7) == (program["name"], program["program"], program["version"])


def test_the_modules_of_plug_ins_are_walked_too() -> None:
    """Also those in lists."""
    graph = graph_of(builder(MODULES).build(Spec(module="FivePredictors", signature=QA, options={})), {})
    check_whole(graph)
    drafts = [f"self.drafts[{n}]" for n in range(4)]
    assert ["self.answer", *drafts] == sorted(parts(graph, "predictor"))
    assert "FivePredictors" == parts(graph, "module")["self"]["class"]


class Line(dspy.Module):  # type: ignore[misc]
    """Two steps, of which the first feeds the second."""

    def __init__(self, signature: Any) -> None:
        super().__init__()
        self.steps = {"first": dspy.Predict("question -> draft"), "second": dspy.Predict("draft -> answer")}

    def graph_feeds(self) -> Iterable[tuple[Any, Any, str]]:
        first, second = self.steps["first"], self.steps["second"]
        return [(self, first, "question"), (first, second, "draft"), (second, self, "answer")]


class Twins(dspy.Module):  # type: ignore[misc]
    """Two parts hold one and the same, and it knows who holds it; two keys look alike."""

    def __init__(self, signature: Any) -> None:
        super().__init__()
        self.shared: Any = dspy.Predict(signature)
        self.left: Any = dspy.ChainOfThought(signature)
        self.right: Any = dspy.ChainOfThought(signature)
        self.left.shared = self.right.shared = self.shared
        self.shared.owner = self
        self.alike = {1: dspy.Predict(signature), "1": dspy.Predict(signature)}


class Lost(dspy.Module):  # type: ignore[misc]
    """Tells of what it does not have."""

    def __init__(self, signature: Any) -> None:
        super().__init__()
        self.answer = dspy.Predict(signature)

    def graph_feeds(self) -> Iterable[tuple[Any, Any, str]]:
        return [(self, dspy.Predict("a -> b"), "a")]


OWN: Final = [ModuleClass(name=make.__name__, make=make) for make in (Line, Twins, Lost)]


def own(name: str) -> LiveProgram:
    return builder(OWN).build(Spec(module=name, signature=QA, options={}))


def test_a_module_tells_what_feeds_what() -> None:
    """It stands itself for its inputs and its outputs."""
    graph = graph_of(own("Line"), {})
    first, second = "self.steps[first]", "self.steps[second]"
    assert {("self", first), (first, second), (second, "self")} == links(graph, "feeds")
    assert ["question", "draft", "answer"] == [edge.label for edge in graph.edges if edge.link == "feeds"]
    check_whole(graph)


def test_a_part_of_two_others_is_one_part() -> None:
    """Circles are no trouble, and two parts of one name have two ids."""
    graph = graph_of(own("Twins"), {})
    check_whole(graph)
    holders = {source for source, target in links(graph, "contains") if target == "self.shared"}
    assert {"self", "self.left", "self.right"} == holders
    assert ("self.shared", "self") in links(graph, "contains")
    assert {"self.alike[1]", "self.alike[1]#2"} <= set(parts(graph, "predictor"))


def test_feeds_of_no_part_are_a_mistake() -> None:
    """Which names the class."""
    with pytest.raises(TypeError, match="Lost"):
        graph_of(own("Lost"), {})


# In a worker -------------------------------------------------------------------------------


async def test_a_spec_and_every_version_of_a_stored_program_have_a_graph() -> None:
    """The version's own, and the numbers that the call named."""
    spec = {"module": "Predict", "signature": "question -> answer"}
    async with worker_here() as (hop, _):
        one_shot = await hop.call("program.graph", {"spec": spec})
        for number, words in ((1, "Old."), (2, "New.")):
            record = await hop.call(
                "program.build", {"spec": spec, "state": {"self": {"instructions": words}}}
            )
            await hop.call("program.load", record, program="qa", version=number)
        told = [await hop.call("program.graph", {}, program="qa", version=number) for number in (1, 2)]
    assert ["Old.", "New."] == [graph["nodes"][1]["signature"]["instructions"] for graph in told]
    assert [("qa", 1), ("qa", 2)] == [
        (graph["nodes"][0]["program"], graph["nodes"][0]["version"]) for graph in told
    ]
    assert (None, None) == (one_shot["nodes"][0]["program"], one_shot["nodes"][0]["version"])
    assert [{"from": "program", "to": "self", "kind": "contains"}] == one_shot["edges"]


async def test_what_cannot_be_is_refused_by_its_field() -> None:
    """No program, two programs, a spec that is none, a format that there is not."""
    spec = {"module": "Predict", "signature": "question -> answer"}
    async with worker_here() as (hop, _):
        record = await hop.call("program.build", {"spec": spec})
        await hop.call("program.load", record, program="qa", version=1)
        named = {"program": "qa", "version": 1}
        for payload, meta, field in (
            ({}, {}, "spec"),
            ({"spec": spec}, named, "spec"),
            ({"spec": {**spec, "module": "Oracle"}}, {}, "spec.module"),
            ({"spec": spec, "format": "png"}, {}, "format"),
            ({"spec": spec, "colour": "red"}, {}, "colour"),
        ):
            refused = await hop.failure("program.graph", payload, **meta)
            assert ("invalid_argument", field) == (refused.code, refused.details["field"])


async def test_what_nobody_could_read_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data has it all."""
    monkeypatch.setattr(graphing, "MAX_DRAWN", 2)
    spec = {"module": "ChainOfThought", "signature": "question -> answer"}
    async with worker_here() as (hop, _):
        refused = await hop.failure("program.graph", {"spec": spec, "format": "svg"})
        assert ("invalid_argument", "format") == (refused.code, refused.details["field"])
        assert 3 == len((await hop.call("program.graph", {"spec": spec}))["nodes"])


async def test_a_program_is_shown_though_nobody_offers_its_functions() -> None:
    """It cannot run; and a spec may come with a state."""
    spec = {"module": "ReAct", "signature": "question -> answer", "options": {"tools": [WEATHER]}}
    state = {"react": {"instructions": "Look outside."}}
    async with worker_here() as (hop, _):
        refused = await hop.failure("program.predict", {"spec": spec, "inputs": {"question": "x"}})
        assert "unknown_function" == refused.code
        told = await hop.call("program.graph", {"spec": spec, "state": state})
        nodes = {node["id"]: node for node in told["nodes"]}
        assert "Look outside." == nodes["self.react"]["signature"]["instructions"]
        assert "sky.look" == nodes["self.tools[weather]"]["function"]
        refused = await hop.failure("program.predict", {"spec": spec, "inputs": {"question": "x"}})
        assert "unknown_function" == refused.code
