"""Modules that run code, in the sandbox, beside the same in DSPy alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

import dspy
import pytest
from dspy.utils import DummyLM
from tests.support.interpreters import PlainInterpreter

from dspex_bridge.code.interpreters import Interpreters, Lease
from dspex_bridge.code.sandbox import Lacking
from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.modules.running import run_module
from dspex_bridge.programs.builder import Builder
from dspex_bridge.programs.live import LiveProgram
from dspex_bridge.programs.records import Spec
from dspex_bridge.signatures.signatures import build_signature
from dspex_protocol import DSPexError, error

pytestmark = [
    pytest.mark.slow,
    # DSPy's own interpreter leaves its pipes to be collected.
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
        "ignore::DeprecationWarning",  # of what its sub-agents are made
    ),
]

LOOK: Final[dict[str, object]] = {
    "name": "look",
    "desc": "Tells how many.",
    "args": {"thing": {"type": "string"}, "least": {"type": "integer", "default": 2}},
}


@pytest.fixture(scope="module")
def interpreters() -> Iterator[Interpreters]:
    """Shared by these tests, so that a process is ready when the next begins."""
    made = Interpreters()
    yield made
    made.close()


@pytest.fixture(scope="module", autouse=True)
def plain_interpreters() -> Iterator[None]:
    """Of DSPy alone: one process serves most programs."""
    yield
    PlainInterpreter.end_all()


@pytest.fixture
async def lease(interpreters: Interpreters) -> AsyncIterator[Lease]:
    made = interpreters.lease()
    yield made
    made.close()


async def here(program: LiveProgram, lease: Lease, answers: list[Any], **inputs: Any) -> Any:
    """Through the bridge's build of it."""
    with dspy.context(lm=DummyLM(answers), adapter=dspy.ChatAdapter(), interpreter_factory=lease):
        return await run_module(program.for_one_call().module, inputs, is_async=program.template.runs_async)


def alone(make: Callable[[], Any], answers: list[Any], **inputs: Any) -> Any:
    """DSPy by itself."""
    with dspy.context(lm=DummyLM(answers), adapter=dspy.ChatAdapter()):
        return make()(**inputs)


def builder(function: Callable[[Mapping[str, Any]], object] | None = None) -> Builder:
    async def call_host(name: str, args: Mapping[str, object]) -> object:
        assert function is not None
        await asyncio.sleep(0)
        return function(args)

    functions = HostFunctions(call_host, asyncio.get_running_loop())
    functions.configure(["look"] if function else [])
    return Builder(functions=functions)


ADDS: Final = "```python\ntotal = sum(range(5))\nSUBMIT({'answer': total})\n```"
BREAKS: Final = "```python\nprint(1 / 0)\n```"


async def test_a_program_of_thought_is_dspys(lease: Lease) -> None:
    """Code that is corrected; more of them run behind a server, in `test_differential_code.py`."""
    signature = "question -> answer: int"
    answers: list[dict[str, object]] = [
        {"reasoning": "r", "generated_code": BREAKS},
        {"reasoning": "s", "generated_code": ADDS},
        {"reasoning": "done", "answer": "10"},
    ]
    program = builder().build(Spec(module="ProgramOfThought", signature=signature))
    given = await here(program, lease, answers, question="sum?")
    expected = await asyncio.to_thread(
        alone,
        lambda: dspy.ProgramOfThought(build_signature(signature), interpreter_factory=PlainInterpreter),
        answers,
        question="sum?",
    )
    assert expected.toDict() == given.toDict()


async def test_code_that_never_works_fails_as_in_dspy(lease: Lease) -> None:
    """After `max_iters` attempts."""
    program = builder().build(
        Spec(module="ProgramOfThought", signature="question -> answer", options={"max_iters": 2})
    )
    with pytest.raises(RuntimeError, match="Max hops reached"):
        await here(program, lease, [{"reasoning": "r", "generated_code": BREAKS}] * 2, question="?")


RLM_TURNS: Final[list[dict[str, object]]] = [
    {
        "reasoning": "look",
        "code": "```python\nprint(len(text), look('ant'), look(thing='bee', least=3))\n```",
    },
    {"reasoning": "ask", "code": "```python\nprint(llm_query('what is it?'))\n```"},
    {"response": "a list of animals"},
    {"reasoning": "done", "code": "```python\nSUBMIT(answer=text[:3], count=7)\n```"},
]


def look(thing: str, least: int = 2) -> str:
    """Tells how many."""
    return f"{thing}: at least {least}"


async def test_a_recursive_model_is_dspys(lease: Lease) -> None:
    """Its variables, its questions, and a tool that is a function of the host."""
    asked: list[Mapping[str, Any]] = []

    def on_host(args: Mapping[str, Any]) -> object:
        asked.append(args)
        return look(**args)

    signature = "text -> answer, count: int"
    program = builder(on_host).build(Spec(module="RLM", signature=signature, options={"tools": [LOOK]}))
    given = await here(program, lease, RLM_TURNS, text="ants and bees")
    args: Any = LOOK["args"]
    tool = dspy.Tool(look, name="look", desc="Tells how many.", args=args)
    expected = await asyncio.to_thread(
        alone,
        lambda: dspy.RLM(build_signature(signature), tools=[tool], interpreter_factory=PlainInterpreter),
        RLM_TURNS,
        text="ants and bees",
    )
    assert expected.toDict() == given.toDict()
    assert ("ant", 7) == (given.answer, given.count)
    assert [{"thing": "ant", "least": 2}, {"thing": "bee", "least": 3}] == asked


async def test_a_recursive_model_asks_sub_agents(lease: Lease) -> None:
    """Which its code builds, and DSPy runs in the worker."""
    code = "import dspy\nr = dspy.Predict('question -> answer: int')(question='?')\nSUBMIT(answer=r.answer)"
    turns = [{"reasoning": "r", "code": code}, {"answer": "5"}]
    program = builder().build(Spec(module="RLM", signature="question -> answer: int"))
    given = await here(program, lease, turns, question="?")
    assert 5 == given.answer


CODE_ACT_TURNS: Final[list[dict[str, object]]] = [
    {"generated_code": "```python\nfound = look('ant', least=4)\nprint(found)\n```", "finished": False},
    {"generated_code": "```python\nprint(found + '!')\n```", "finished": True},
    {"reasoning": "r", "answer": "4"},
]


async def test_an_agent_that_writes_code_is_dspys(lease: Lease) -> None:
    """DSPy runs the source of a function in the sandbox; here it is the host's, and all else is the same."""
    program = builder(lambda args: look(**args)).build(
        Spec(module="CodeAct", signature="question -> answer", options={"tools": [LOOK]})
    )
    given = await here(program, lease, CODE_ACT_TURNS, question="How many?")
    args: Any = LOOK["args"]
    tool = dspy.Tool(look, name="look", desc="Tells how many.", args=args)

    def make() -> Any:
        act = dspy.CodeAct(
            build_signature("question -> answer"), [look], interpreter_factory=PlainInterpreter
        )
        act.codeact.signature = dspy.CodeAct(build_signature("question -> answer"), [tool]).codeact.signature
        return act

    expected = await asyncio.to_thread(alone, make, CODE_ACT_TURNS, question="How many?")
    assert expected.toDict() == given.toDict()
    assert '"ant: at least 4!\\n"' == given.trajectory["code_output_1"]


async def test_a_tool_that_fails_is_told_to_the_code(lease: Lease) -> None:
    """As an exception that it may catch; the model sees what it prints."""

    def failing(args: Mapping[str, Any]) -> object:
        raise error("function_failed", "the host is out of order")

    turns = [
        {"generated_code": "```python\nlook('ant')\n```", "finished": True},
        {"reasoning": "r", "answer": "none"},
    ]
    program = builder(failing).build(
        Spec(module="CodeAct", signature="question -> answer", options={"tools": [LOOK]})
    )
    given = await here(program, lease, turns, question="?")
    assert "the host is out of order" in given.trajectory["observation_0"]


@pytest.mark.parametrize("module", ["CodeAct", "RLM", "ProgramOfThought"])
async def test_without_a_sandbox_nothing_is_run(module: str) -> None:
    """A typed error says what is not there, before a model is asked."""
    options: dict[str, object] = {"tools": [LOOK]} if module == "CodeAct" else {}
    program = builder(lambda args: 1).build(
        Spec(module=module, signature="question -> answer", options=options)
    )
    lacking = Interpreters(find=lambda: Lacking(what="Deno is not installed", advice="install it"))
    with pytest.raises(DSPexError) as refused:
        await here(program, lacking.lease(), [], question="?")
    assert ("not_permitted", "Deno is not installed") == (
        refused.value.code,
        refused.value.details["lacking"],
    )


async def test_the_host_may_do_without_a_sandbox() -> None:
    """When it said so at the start; a sandbox that is there is used even then."""
    unsafe = Interpreters(unsafe=True, find=lambda: Lacking(what="none", advice="none"))
    lease = unsafe.lease()
    program = builder().build(Spec(module="ProgramOfThought", signature="question -> answer"))
    answers = [{"reasoning": "r", "generated_code": ADDS}, {"reasoning": "done", "answer": "10"}]
    given = await here(program, lease, answers, question="?")
    lease.close()
    assert "10" == given.answer
    safe = Interpreters(unsafe=True).lease()
    assert "Pyodide" in safe.execution_instructions


async def test_nothing_of_one_session_is_there_in_the_next(interpreters: Interpreters) -> None:
    """Neither variables, nor modules, nor files."""

    def leave(lease: Lease) -> object:
        return lease().execute("import sys\nsys.secret = x = 1\nopen('/tmp/x', 'w').write('1')")

    def find(lease: Lease) -> object:
        code = "import os, sys\nprint(hasattr(sys, 'secret'), 'x' in globals(), os.path.exists('/tmp/x'))"
        return lease().execute(code)

    first, second = interpreters.lease(), interpreters.lease()
    await asyncio.to_thread(leave, first)
    first.close()
    assert "False False False\n" == await asyncio.to_thread(find, second)
    second.close()
