"""The same program in this process and behind a server: what both give, spend, ask of the host, and keep.

A case says everything once. `plainly` runs it with DSPy alone, and `bridged` through a client; what
they give are records that must be equal.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import dspy
import pydantic

from dspex_bridge.lms.answering import Answer, AsyncEngine, Engine, Question, Source
from dspex_bridge.sim import SimModel, SimOptions, SimSource
from dspex_bridge.values.incoming import from_wire
from dspex_pool.client import Client
from dspex_protocol import DSPexError, Tagged, error

SEED: Final = 7
USD_IN: Final = 3.0
USD_OUT: Final = 5.0
"""Of a million tokens, of every model."""

_PRICES: Final = {"usd_per_million_in": USD_IN, "usd_per_million_out": USD_OUT}
LMS: Final[Mapping[str, object]] = {
    "default": {"model": "sim/test", "options": {"seed": SEED}, **_PRICES},
    "down": {"model": "sim/down", "options": {"seed": SEED, "error_rate": 1.0}, **_PRICES},
    "varied": {"model": "host/varied", **_PRICES},
    "scripted": {"model": "host/scripted", **_PRICES},
}
"""`varied` is the offline model with another answer each time, as a model at temperature 1.0; `scripted`
says what the case says."""

T = TypeVar("T")
Said = Mapping[str, object]
Fails = tuple[str, type[BaseException]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A program, and one call of it.

    Attributes:
        name: What is particular about it.
        spec: As a client gives it.
        plain: Makes the same of DSPy's classes; it is given the functions of the host.
        inputs: Of the call.
        lm: One of `LMS`.
        script: The fields of each answer of `scripted`.
        learned: By predictor, `instructions` and `demos` that both are to have; of a Flex its `source`.
        options: Of the call: `config`, `adapter`.
        fails: The code of the bridge's error, and the class of DSPy's own.
        wants_trace: Whether the steps are compared as well.
    """

    name: str
    spec: Mapping[str, Any]
    plain: Callable[[Host], Any]
    inputs: Mapping[str, object]
    lm: str = "default"
    script: Sequence[Said] = ()
    learned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fails: Fails | None = None
    wants_trace: bool = True


@dataclass(kw_only=True)
class Run:
    """What came of a case.

    Attributes:
        fields: Of the prediction; of a call that failed, none.
        completions: Of a call that asked for several.
        code: Of the error, and "" where there is none.
        spent: Requests, tokens and dollars.
        steps: Predictor, inputs and outputs of each.
        asked: What the host's functions were asked, in order.
        state: What DSPy's `save` writes of the program.
    """

    fields: object = None
    completions: object = None
    code: str = ""
    spent: object = None
    steps: object = None
    asked: list[Any] = field(default_factory=list[Any])
    state: object = None


class Host:
    """Functions of a host, as Python's; each keeps what it is asked.

    Attributes:
        asked: Name and arguments of each call, in order.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.asked: list[Any] = []
        self._requests = 0
        self._rewards = 0
        self._sim = SimModel(SimOptions(seed=SEED))

    # Tools

    def probe(self, sim_a: str, sim_b: str = "b", sim_c: str = "c") -> str:
        """Takes what the offline model calls its arguments."""
        return self._kept("probe", f"{sim_a}/{sim_b}/{sim_c}", sim_a, sim_b, sim_c)

    def look(self, thing: str, least: int = 2) -> str:
        """Tells how many."""
        return self._kept("look", f"{thing}: at least {least}", thing, least)

    def total(self, numbers: list[int]) -> dict[str, Any]:
        """Adds up."""
        return self._kept("total", {"sum": sum(numbers), "of": numbers}, numbers)

    def broken(self, thing: str) -> str:
        """Is out of order."""
        self._kept("broken", None, thing)
        raise error("function_failed", f"nothing is known of {thing}")

    # Rewards

    def short(self, inputs: Mapping[str, Any], fields: Mapping[str, Any]) -> float:
        """More for fewer characters of the last field."""
        return self._kept("short", 1000.0 - len(str(list(fields.values())[-1])), inputs, fields)

    def second(self, inputs: Mapping[str, Any], fields: Mapping[str, Any]) -> float:
        """The second attempt is the best, whatever it says."""
        self._rewards += 1
        return self._kept("second", 1.0 if self._rewards == 2 else self._rewards / 100, inputs, fields)

    def moody(self, inputs: Mapping[str, Any], fields: Mapping[str, Any]) -> float:
        """Fails at the first attempt."""
        self._rewards += 1
        reward = self._kept("moody", float(self._rewards), inputs, fields)
        if self._rewards == 1:
            raise error("function_failed", "no reward for the first")
        return reward

    def hopeless(self, inputs: Mapping[str, Any], fields: Mapping[str, Any]) -> float:
        """Fails at each attempt."""
        self._kept("hopeless", None, inputs, fields)
        raise error("function_failed", "no reward at all")

    # Programs

    def answer(self, question: str) -> dict[str, object]:
        """What needs no part."""
        return self._kept("answer", {"answer": question.upper(), "n": len(question)}, question)

    def refuse(self, question: str) -> dict[str, object]:
        """Gives no answer."""
        self._kept("refuse", None, question)
        raise error("function_failed", "not this question")

    # Retrievers

    def find(self, query: str, k: int) -> list[str]:
        """As many texts as are wanted."""
        return self._kept("find", [f"{n + 1} of {query}" for n in range(k)], query, k)

    def one(self, query: str, k: int) -> list[str]:
        """A single text, however many are wanted."""
        return self._kept("one", [f"only {query}"], query, k)

    def nothing(self, query: str, k: int) -> list[str]:
        """Cannot be reached."""
        self._kept("nothing", None, query, k)
        raise error("function_failed", "the index is gone")

    # Language models

    def varied(self, question: Question) -> Answer:
        """The offline model, which never answers a question twice in the same words."""
        self._requests += 1
        said = self._sim.answer([*question.texts, ("user", str(self._requests))], question.temperature)
        self._kept("varied", None, question.texts, dict(question.config))
        return Answer(said.text, said.tokens_in, said.tokens_out)

    def scripted(self, question: Question) -> Answer:
        """What the case says, in the format of the chat adapter."""
        self._requests += 1
        self._kept("scripted", None, question.texts, dict(question.config))
        if self._requests > len(self.case.script):
            raise error("function_failed", "the script is over")
        return Answer(said(self.case.script[self._requests - 1]), 100 + self._requests, self._requests)

    def _kept(self, name: str, answer: T, *args: object) -> T:
        self.asked.append((name, *(without_frames(arg) for arg in args)))
        return answer


def differences(expected: Run, given: Run) -> dict[str, tuple[object, object]]:
    """Where two runs differ: what was expected there and what came, by path."""
    found: dict[str, tuple[object, object]] = {}
    for name in Run.__dataclass_fields__:
        _compare(getattr(expected, name), getattr(given, name), name, found)
    return found


def _compare(expected: Any, given: Any, path: str, found: dict[str, tuple[object, object]]) -> None:
    if isinstance(expected, dict) and isinstance(given, dict):
        for name in [*expected, *(given.keys() - expected.keys())]:
            _compare(expected.get(name, "nothing"), given.get(name, "nothing"), f"{path}.{name}", found)
    elif isinstance(expected, list) and isinstance(given, list):
        for n, (one, other) in enumerate(itertools.zip_longest(expected, given, fillvalue="nothing")):
            _compare(one, other, f"{path}[{n}]", found)
    elif type(expected) is not type(given) or expected != given:
        found[path] = (expected, given)


def said(fields: Said) -> str:
    """An answer in the format of the chat adapter; of a field `text` alone, only that."""
    if list(fields) == ["text"]:
        return str(fields["text"])
    rows = {**fields, "completed": ""}
    return "\n\n".join(f"[[ ## {name} ## ]]\n{_text_of(value)}" for name, value in rows.items())


def _text_of(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_FRAMES: Final = re.compile(r"Traceback \(most recent call last\):(?:\\n|\n)(?:  .*?(?:\\n|\n))+")


def without_frames(value: Any) -> Any:
    """Without the lines of code that DSPy shows a model of a tool that failed: those are not the same."""
    match value:
        case str():
            return _FRAMES.sub("", value)
        case Mapping():
            return {name: without_frames(member) for name, member in value.items()}
        case dspy.Tool():
            return {"name": value.name, "desc": value.desc, "args": value.args}
        case Tagged():
            return value.value
        case pydantic.BaseModel():
            # Not `model_dump`: some are written as a text.
            return {name: without_frames(getattr(value, name)) for name in type(value).model_fields}
        case list() | tuple():
            return [without_frames(member) for member in value]
        case _:
            return value


# DSPy alone ------------------------------------------------------------------------------


class _Function:
    """A source of answers that is a function."""

    def __init__(self, function: Callable[[Question], Answer]) -> None:
        self._function = function

    def ask(self, question: Question) -> Answer:
        """What it gives."""
        return self._function(question)

    async def aask(self, question: Question) -> Answer:
        """As `ask`."""
        return self.ask(question)

    def stream(self, question: Question) -> Generator[str | Answer]:
        """Nobody streams here."""
        raise NotImplementedError

    def astream(self, question: Question) -> AsyncGenerator[str | Answer]:
        """As `stream`."""
        raise NotImplementedError


def _source(host: Host, name: str) -> Source:
    if name in ("varied", "scripted"):
        return _Function(getattr(host, name))
    return SimSource(SimModel(SimOptions(seed=SEED, error_rate=1.0 if name == "down" else 0.0)))


ADAPTERS: Final[Mapping[str, Any]] = {
    "chat": dspy.ChatAdapter,
    "json": dspy.JSONAdapter,
    "xml": dspy.XMLAdapter,
}


def plainly(case: Case, **settings: Any) -> Run:
    """The case with DSPy alone, in this thread.

    Args:
        case: The case.
        settings: Of DSPy, beside the language model and the adapter.
    """
    host = Host(case)
    source = _source(host, case.lm)
    run, trace = Run(asked=host.asked), list[Any]()
    model = str(LMS[case.lm]["model"])  # type: ignore[index]
    lm: Any = dspy.LM(
        model, cache=False, num_retries=0, engine=Engine(source), async_engine=AsyncEngine(source)
    )
    adapter = ADAPTERS[case.options.get("adapter", "chat")]()
    settings = {"lm": lm, "adapter": adapter, "trace": trace, "disable_history": True, **settings}
    extras = {"config": case.options["config"]} if "config" in case.options else {}
    program = case.plain(host)
    with dspy.context(**settings), dspy.track_usage() as tracker:
        _teach(program, case.learned)
        try:
            prediction = _called(program, {**case.inputs, **extras})
        except Exception as failure:
            if case.fails is None or not isinstance(failure, case.fails[1]):
                raise
            run.code = case.fails[0]
        else:
            _tell(run, prediction)
            run.steps = _steps(program, trace) if case.wants_trace else None
            run.spent = _spent(tracker.usage_data.values())
    run.state = _state(program)
    return run


def _teach(program: Any, learned: Mapping[str, Mapping[str, Any]]) -> None:
    predictors = dict(program.named_predictors())
    for name, state in learned.items():
        if "source" in state:
            program.load_state({"module_src": state["source"]})
            continue
        predictor = predictors[name]
        predictor.signature = predictor.signature.with_instructions(state["instructions"])
        predictor.demos = [dspy.Example(demo) for demo in state.get("demos", ())]


def _called(program: Any, inputs: dict[str, Any]) -> Any:
    """As a user of DSPy calls it: on an event loop where it has an async form, and runs no code."""
    is_async = hasattr(program, "aforward") and not hasattr(program, "_interpreter_factory")
    prediction = asyncio.run(program.acall(**inputs)) if is_async else program(**inputs)
    if prediction is None:
        raise LookupError("no attempt gave a prediction")
    return prediction


def _tell(run: Run, prediction: Any) -> None:
    run.fields = without_frames(prediction.toDict())
    completions = getattr(prediction, "completions", None)
    run.completions = (
        [dict(one.items()) for one in completions] if completions and len(completions) > 1 else []
    )


def _spent(by_model: Iterable[list[dict[str, Any]]]) -> dict[str, object]:
    requests = [request for requests in by_model for request in requests]
    tokens_in = sum(request["prompt_tokens"] for request in requests)
    tokens_out = sum(request["completion_tokens"] for request in requests)
    cost_usd = round((tokens_in * USD_IN + tokens_out * USD_OUT) / 1_000_000, 9)
    return {"lm_calls": len(requests), "tokens_in": tokens_in, "tokens_out": tokens_out, "cost_usd": cost_usd}


def _steps(program: Any, trace: list[Any]) -> list[object]:
    """Predictors go by signature: modules that try again run copies of their parts."""
    names = {id(predictor.signature): name for name, predictor in program.named_predictors()}
    return [
        without_frames([names.get(id(one.signature)), dict(inputs), outputs.toDict()])
        for one, inputs, outputs in trace
    ]


def _state(program: Any) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state.json")
        program.save(str(path))
        return json.loads(path.read_text())


# Programs of the host --------------------------------------------------------------------

Ask = Callable[..., Awaitable[Any]]
"""Asks a part of a program, by name, with its inputs as keywords; gives what can be read by field."""


async def drafted(ask: Ask, question: str) -> dict[str, object]:
    """A draft, and a check of it."""
    draft = await ask("draft", question=question)
    check = await ask("check", answer=draft["answer"])
    return {"answer": draft["answer"], "note": check["note"]}


async def twice(ask: Ask, text: str) -> dict[str, object]:
    """The same part again with what it gave."""
    first = await ask("sort", text=text)
    second = await ask("sort", text=" ".join(first["labels"]))
    return {"labels": [*first["labels"], *second["labels"]], "ok": second["ok"]}


FORWARDS: Final[Mapping[str, Callable[..., Awaitable[dict[str, object]]]]] = {
    "drafted": drafted,
    "twice": twice,
}


class WithParts(dspy.Module):  # type: ignore[misc]
    """A module of DSPy's with one of `FORWARDS`.

    Args:
        forward: Which.
        parts: Modules by name.
    """

    def __init__(self, forward: str, **parts: Any) -> None:
        super().__init__()
        self.steps = FORWARDS[forward]
        for name, part in parts.items():
            setattr(self, name, part)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """As the host's function does it."""

        async def ask(part: str, **asked: Any) -> Any:
            return await getattr(self, part).acall(**asked)

        return dspy.Prediction(**await self.steps(ask, **inputs))


# Through the bridge ----------------------------------------------------------------------


class Stage:
    """The functions that a server knows; those of the case at hand answer."""

    def __init__(self) -> None:
        self.host: Host
        self.client: Client

    def functions(self) -> dict[str, Callable[..., Any]]:
        """By the names in specs."""
        tools = ("probe", "look", "total", "broken", "answer", "refuse", "find", "one", "nothing")
        rewards = ("short", "second", "moody", "hopeless")
        return {
            **{name: self._tool(name) for name in tools},
            **{name: self._reward(name) for name in rewards},
            **{name: self._model(name) for name in ("varied", "scripted")},
            **{name: self._forward(name) for name in ("drafted", "twice")},
        }

    def _tool(self, name: str) -> Callable[..., Any]:
        def tool(**args: object) -> object:
            return getattr(self.host, name)(**args)

        return tool

    def _reward(self, name: str) -> Callable[..., Any]:
        def reward(inputs: dict[str, Any], prediction: Tagged) -> float:
            read: Any = from_wire(prediction, "prediction")
            return float(getattr(self.host, name)(from_wire(inputs, "inputs"), dict(read.items())))

        return reward

    def _forward(self, name: str) -> Callable[..., Any]:
        """The same lines as DSPy's `forward`: a part is asked through the client."""

        async def ask(part: str, **inputs: object) -> dict[str, Any]:
            return await self.client.part(part, inputs)

        async def forward(**inputs: Any) -> dict[str, object]:
            return await FORWARDS[name](ask, **inputs)

        return forward

    def _model(self, name: str) -> Callable[..., Any]:
        def answer(
            model: str, messages: list[dict[str, Any]], config: dict[str, object], **_tools: object
        ) -> dict[str, object]:
            asked = [(message["role"], message["content"]) for message in messages]
            given: Answer = getattr(self.host, name)(Question(model, asked, config))
            return {"text": given.text, "tokens_in": given.tokens_in, "tokens_out": given.tokens_out}

        return answer


async def bridged(client: Client, stage: Stage, case: Case, *, stored: bool) -> Run:
    """The case through a server.

    Args:
        client: Of it.
        stage: Whose functions it knows.
        case: The case.
        stored: As a stored program, with steps; else one that comes with the call.
    """
    stage.host = Host(case)
    stage.client = client
    run = Run(asked=stage.host.asked)
    payload: dict[str, Any] = {"inputs": dict(case.inputs), "lm": case.lm, **case.options}
    meta: dict[str, Any] = {}
    if stored:
        created: Any = await client.call(
            "program.create", {"spec": dict(case.spec), "state": dict(case.learned)}
        )
        meta["program"] = created["program"]
        payload["trace"] = case.wants_trace
    else:
        payload["spec"] = dict(case.spec)
    try:
        outcome = await client.outcome("program.predict", payload, **meta)
    except DSPexError as failure:
        if case.fails is None:
            raise
        run.code = failure.code
    else:
        prediction: Any = from_wire(outcome.value, "prediction")
        _tell(run, prediction)
        run.spent = {name: outcome.meta.get(name, 0) for name in ("lm_calls", "tokens_in", "tokens_out")}
        run.spent["cost_usd"] = round(float(outcome.meta.get("cost_usd") or 0.0), 9)
        if payload.get("trace"):
            run.steps = [_step(step) for step in outcome.value.value["trace"]]  # type: ignore[attr-defined]
    if stored:
        exported: Any = await client.call("program.export", {"format": "dspy"}, **meta)
        run.state = json.loads(exported["document"])
    return run


def _step(step: Mapping[str, Any]) -> object:
    read: Any = from_wire(dict(step), "step")
    return without_frames([read["predictor"], read["inputs"], dspy.Prediction(**read["outputs"]).toDict()])
