"""Programs whose shape is the host's: its own functions, pipelines, and retrievers; and the same in DSPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import dspy
from dspy.utils.exceptions import LMServerError

from dspex_protocol import DSPexError

from .differential import Case, Host, WithParts

_WHY: Final = {"question": "Why?"}
_QA: Final = "question -> answer"


# Functions of the host -------------------------------------------------------------------


class _Whole(dspy.Module):  # type: ignore[misc]
    """A module without parts."""

    def __init__(self, answer: Callable[..., dict[str, object]]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(**self.answer(question))


_CHECKED: Final = "answer -> good: bool, note"
_SORTED: Final = "text -> labels: list[str], ok: bool"
_DRAFTED: Final[dict[str, Any]] = {
    "module": "Host",
    "signature": "question -> answer, note",
    "options": {
        "forward": "drafted",
        "parts": {
            "draft": {"module": "Predict", "signature": _QA},
            "check": {"module": "ChainOfThought", "signature": _CHECKED},
        },
    },
}


def _drafted(host: Host) -> Any:
    return WithParts("drafted", draft=dspy.Predict(_QA), check=dspy.ChainOfThought(_CHECKED))


def _forward(name: str) -> dict[str, Any]:
    return {"module": "Host", "signature": "question -> answer, n: int", "options": {"forward": name}}


HOST: Final[list[Case]] = [
    Case(name="without parts", spec=_forward("answer"), plain=lambda host: _Whole(host.answer), inputs=_WHY),
    Case(
        name="two parts",
        spec=_DRAFTED,
        plain=_drafted,
        inputs=_WHY,
        learned={"draft": {"instructions": "Draft."}, "check.predict": {"instructions": "Check."}},
    ),
    Case(
        name="a part twice",
        spec={
            "module": "Host",
            "signature": _SORTED,
            "options": {"forward": "twice", "parts": {"sort": {"module": "Predict", "signature": _SORTED}}},
        },
        plain=lambda host: WithParts("twice", sort=dspy.Predict(_SORTED)),
        inputs={"text": "a « b »"},
        options={"adapter": "json"},
    ),
    Case(
        name="a function that fails",
        spec=_forward("refuse"),
        plain=lambda host: _Whole(host.refuse),
        inputs=_WHY,
        fails=("function_failed", DSPexError),
    ),
    Case(
        name="a part whose model is down",
        spec=_DRAFTED,
        plain=_drafted,
        inputs=_WHY,
        lm="down",
        fails=("lm_unavailable", LMServerError),
    ),
]


# Pipelines -------------------------------------------------------------------------------


class _Chain(dspy.Module):  # type: ignore[misc]
    """Nodes that run one after the other, each with what it needs.

    Args:
        wires: By node, which input comes from where: an input, or `node.field`.
        outputs: Which output comes from where.
        nodes: Modules by name.
    """

    def __init__(
        self, wires: Mapping[str, Mapping[str, str]], outputs: Mapping[str, str], **nodes: Any
    ) -> None:
        super().__init__()
        self.wires = wires
        self.outputs = outputs
        for name, node in nodes.items():
            setattr(self, name, node)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        known: dict[str, Any] = dict(inputs)
        for node, wires in self.wires.items():
            given: Any = getattr(self, node)(**{name: known[source] for name, source in wires.items()})
            known |= {f"{node}.{name}": value for name, value in given.items()}
        return dspy.Prediction(**{name: known[source] for name, source in self.outputs.items()})


def _pipeline(signature: str, nodes: Mapping[str, object], **options: object) -> dict[str, Any]:
    return {"module": "Pipeline", "signature": signature, "options": {"nodes": nodes, **options}}


def _node(signature: str, module: str = "Predict", **options: object) -> dict[str, Any]:
    return {"module": module, "signature": signature, "options": options}


_RATED: Final = "answer -> ok: bool"
_TWO: Final = _pipeline("question -> answer, ok: bool", {"ask": _node(_QA), "rate": _node(_RATED)})


def _two(host: Host) -> Any:
    wires = {"ask": {"question": "question"}, "rate": {"answer": "ask.answer"}}
    outputs = {"answer": "ask.answer", "ok": "rate.ok"}
    return _Chain(wires, outputs, ask=dspy.Predict(_QA), rate=dspy.Predict(_RATED))


def _fork(host: Host) -> Any:
    wires = {
        "left": {"question": "question"},
        "right": {"question": "question"},
        "join": {"one": "left.answer", "two": "right.reasoning", "k": "k"},
    }
    nodes = {
        "left": dspy.Predict(_QA),
        "right": dspy.ChainOfThought(_QA),
        "join": dspy.Predict("one, two, k: int -> best, score: float"),
    }
    return _Chain(wires, {"best": "join.best", "score": "join.score"}, **nodes)


def _searched(host: Host) -> Any:
    wires = {
        "search": {"query": "question"},
        "write": {"passages": "search.passages", "question": "question"},
    }
    nodes = {
        "search": _Search(host.find, 2),
        "write": dspy.Predict("passages: list[str], question -> answer"),
    }
    return _Chain(wires, {"answer": "write.answer"}, **nodes)


class _Retriever(dspy.Retrieve):  # type: ignore[misc]
    """One that DSPy can save: it hands over an argument that its own does not take."""

    def dump_state(self, json_mode: bool = True) -> dict[str, object]:
        """As its own."""
        state: dict[str, object] = super().dump_state()
        return state


class _Search(dspy.Module):  # type: ignore[misc]
    """`dspy.Retrieve` with a retriever of its own."""

    def __init__(self, find: Callable[[str, int], list[str]], k: int) -> None:
        super().__init__()
        self.find = find
        self.retrieve = _Retriever(k=k)

    def forward(self, query: str) -> dspy.Prediction:
        """Passages, as texts."""

        def found(query: str, k: int) -> list[dspy.Example]:
            return [dspy.Example(long_text=text) for text in self.find(query, k)]

        with dspy.context(rm=found):
            search: Any = self.retrieve
            return dspy.Prediction(passages=search(query).passages)


PIPELINE: Final[list[Case]] = [
    Case(name="two nodes", spec=_TWO, plain=_two, inputs=_WHY, options={"adapter": "json"}),
    Case(
        name="what it has learned",
        spec=_TWO,
        plain=_two,
        inputs=_WHY,
        learned={"rate": {"instructions": "Rate.", "demos": [{"answer": "a", "ok": True}]}},
    ),
    Case(
        name="side by side, and together",
        spec=_pipeline(
            "question, k: int -> best, score: float",
            {
                "left": _node(_QA),
                "right": _node(_QA, "ChainOfThought"),
                "join": _node("one, two, k: int -> best, score: float"),
            },
            wires={"join": {"one": "left.answer", "two": "right.reasoning"}},
        ),
        plain=_fork,
        inputs={**_WHY, "k": 3},
        wants_trace=False,  # those side by side have no order
    ),
    Case(
        name="after a search",
        spec=_pipeline(
            _QA,
            {
                "search": {"module": "Retrieve", "options": {"function": "find", "k": 2}},
                "write": _node("passages: list[str], question -> answer"),
            },
            wires={"search": {"query": "question"}},
        ),
        plain=_searched,
        inputs=_WHY,
    ),
    Case(
        name="a node whose model is down",
        spec=_TWO,
        plain=_two,
        inputs=_WHY,
        lm="down",
        fails=("lm_unavailable", LMServerError),
    ),
]


# Retrievers ------------------------------------------------------------------------------


def _retrieve(function: str, **options: object) -> dict[str, Any]:
    return {"module": "Retrieve", "options": {"function": function, **options}}


RETRIEVE: Final[list[Case]] = [
    Case(
        name="three, as DSPy has it",
        spec=_retrieve("find"),
        plain=lambda host: _Search(host.find, 3),
        inputs={"query": "pipes"},
    ),
    Case(
        name="one",
        spec=_retrieve("find", k=1),
        plain=lambda host: _Search(host.find, 1),
        inputs={"query": "é"},
    ),
    Case(
        name="many",
        spec=_retrieve("find", k=40),
        plain=lambda host: _Search(host.find, 40),
        inputs={"query": "a\nb"},
    ),
    Case(
        name="fewer than wanted",
        spec=_retrieve("one", k=4),
        plain=lambda host: _Search(host.one, 4),
        inputs={"query": "pipes"},
    ),
    Case(
        name="an index that is gone",
        spec=_retrieve("nothing"),
        plain=lambda host: _Search(host.nothing, 3),
        inputs={"query": "pipes"},
        fails=("function_failed", DSPexError),
    ),
]
