"""Five programs of each module that runs code: here in DSPy's own interpreter, there in the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

import dspy
import pytest
import pytest_asyncio
from tests.support.differential import LMS, Case, Host, Stage, bridged, differences, plainly
from tests.support.interpreters import PlainInterpreter
from tests.support.servers import serving

from dspex_pool.client import Client

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    # DSPy's own interpreter leaves its pipes to be collected.
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
        "ignore::DeprecationWarning",  # of what its sub-agents are made
    ),
]

QA: Final = "question -> answer"
NUMBERS: Final = "numbers: list[int] -> answer: float"
SEVERAL: Final = "text -> labels: list[str], count: int"
WHY: Final = {"question": "Why « 東京 »?"}
TEXT: Final = {"text": "ants and\nbees « é »"}
LOOK: Final[dict[str, Any]] = {
    "name": "look",
    "desc": "Tells how many.",
    "args": {"thing": {"type": "string"}, "least": {"type": "integer", "default": 2}},
}
_SIGNATURE: Final[Any] = dspy.Signature  # called with a string, it makes a class


def look(thing: str, least: int = 2) -> str:
    """Tells how many."""
    return f"{thing}: at least {least}"


def spec(module: str, signature: str, **options: object) -> dict[str, Any]:
    """As a client writes one."""
    return {"module": module, "signature": signature, "options": options}


def thinks(code: str) -> dict[str, object]:
    """What the model of a ProgramOfThought says."""
    return {"reasoning": "r", "generated_code": f"```python\n{code}\n```"}


def _thought(signature: str, **options: Any) -> Callable[[Host], Any]:
    return lambda host: dspy.ProgramOfThought(_SIGNATURE(signature), **options)


PROGRAM_OF_THOUGHT: Final = [
    Case(
        name="submits",
        spec=spec("ProgramOfThought", NUMBERS),
        plain=_thought(NUMBERS),
        inputs={"numbers": [1, 2, 2]},
        lm="scripted",
        script=[thinks("SUBMIT({'answer': sum(range(5)) / 4})"), {"reasoning": "r", "answer": 2.5}],
    ),
    Case(
        name="corrects itself",
        spec=spec("ProgramOfThought", QA),
        plain=_thought(QA),
        inputs=WHY,
        lm="scripted",
        script=[
            thinks("x = [1]\nprint(x[1])"),
            thinks("def f(:"),
            thinks("SUBMIT({'answer': 'é'})"),
            {"reasoning": "r", "answer": "é"},
        ],
    ),
    Case(
        name="only has a value, and has learned",
        spec=spec("ProgramOfThought", SEVERAL),
        plain=_thought(SEVERAL),
        inputs=TEXT,
        lm="scripted",
        script=[thinks("x = {'a': [1, 'é', None]}\nx"), {"reasoning": "r", "labels": ["a"], "count": 1}],
        learned={"code_generate.predict": {"instructions": "Write code."}},
    ),
    Case(
        name="a model that cannot write code",
        spec=spec("ProgramOfThought", QA, max_iters=2),
        plain=_thought(QA, max_iters=2),
        inputs=WHY,
        fails=("program_failed", RuntimeError),
    ),
    Case(
        name="prints, and is answered by the offline model",
        spec=spec("ProgramOfThought", QA, max_iters=1),
        plain=_thought(QA, max_iters=1),
        inputs=WHY,
        lm="scripted",
        script=[thinks("print('a')\nprint(10 ** 30)"), {"reasoning": "r", "answer": "a"}],
    ),
]


def acts(code: str, *, finished: bool) -> dict[str, object]:
    """What the model of a CodeAct says."""
    return {"generated_code": f"```python\n{code}\n```", "finished": finished}


def _act(signature: str, **options: Any) -> Callable[[Host], Any]:
    """DSPy runs the source of the tool in the sandbox, and so the host is not asked."""
    return lambda host: dspy.CodeAct(_SIGNATURE(signature), [look], **options)


CODE_ACT: Final = [
    Case(
        name="a tool, and what it found",
        spec=spec("CodeAct", QA, tools=[LOOK]),
        plain=_act(QA),
        inputs=WHY,
        lm="scripted",
        script=[
            acts("found = look('ant', least=4)\nprint(found)", finished=False),
            acts("print(found + '!')", finished=True),
            {"reasoning": "r", "answer": "4"},
        ],
    ),
    Case(
        name="code that fails",
        spec=spec("CodeAct", QA, tools=[LOOK]),
        plain=_act(QA),
        inputs=WHY,
        lm="scripted",
        script=[
            acts("print(1 / 0)", finished=False),
            acts("if:", finished=False),
            acts("print(look(thing='bee'))", finished=True),
            {"reasoning": "r", "answer": "2"},
        ],
    ),
    Case(
        name="typed, and out of turns",
        spec=spec("CodeAct", SEVERAL, tools=[LOOK], max_iters=1),
        plain=_act(SEVERAL, max_iters=1),
        inputs=TEXT,
        lm="scripted",
        script=[
            acts("[look('é'), {'a': None}]", finished=False),
            {"reasoning": "r", "labels": ["a", "b"], "count": 2},
        ],
    ),
    Case(
        name="what it has learned",
        spec=spec("CodeAct", QA, tools=[LOOK]),
        plain=_act(QA),
        inputs=WHY,
        lm="scripted",
        script=[acts("SUBMIT({'n': 3})", finished=True), {"reasoning": "r", "answer": "3"}],
        learned={"codeact": {"instructions": "Act."}, "extractor.predict": {"instructions": "Extract."}},
    ),
    Case(
        name="a model that cannot write code",
        spec=spec("CodeAct", QA, tools=[LOOK], max_iters=3),
        plain=_act(QA, max_iters=3),
        inputs=WHY,
    ),
]


def runs(code: str) -> dict[str, object]:
    """What the model of an RLM says."""
    return {"reasoning": "r", "code": f"```python\n{code}\n```"}


def _recursive(signature: str, *tools: str, **options: Any) -> Callable[[Host], Any]:
    return lambda host: dspy.RLM(
        _SIGNATURE(signature), tools=[getattr(host, name) for name in tools], **options
    )


RLM: Final = [
    Case(
        name="a tool and a question",
        spec=spec("RLM", SEVERAL, tools=[LOOK]),
        plain=_recursive(SEVERAL, "look"),
        inputs=TEXT,
        lm="scripted",
        script=[
            runs("print(len(text), look('ant'), look(thing='bee', least=3))"),
            runs("print(llm_query('what is it?'))"),
            {"text": "a list of animals"},
            runs("SUBMIT(labels=text.split(), count=7)"),
        ],
    ),
    Case(
        name="wrong answers first",
        spec=spec("RLM", SEVERAL),
        plain=_recursive(SEVERAL),
        inputs=TEXT,
        lm="scripted",
        script=[
            runs("SUBMIT(labels='a', count='many')"),
            runs("x = 1 / 0"),
            runs("SUBMIT(labels=['a'], count=1)"),
        ],
        learned={"generate_action": {"instructions": "Look for it."}},
    ),
    Case(
        name="a sub-agent",
        spec=spec("RLM", QA),
        plain=_recursive(QA),
        inputs=WHY,
        lm="scripted",
        script=[
            runs("import dspy\nr = dspy.Predict('q -> n: int')(q=question)\nSUBMIT(answer=str(r.n))"),
            {"n": 5},
        ],
    ),
    Case(
        name="too many questions",
        spec=spec("RLM", QA, max_llm_calls=2, max_output_chars=40),
        plain=_recursive(QA, max_llm_calls=2, max_output_chars=40),
        inputs=WHY,
        lm="scripted",
        script=[
            runs("print(llm_query_batched(['a', 'b', 'c']))"),
            runs("print('long ' * 50)"),
            runs("SUBMIT(answer='none')"),
        ],
    ),
    Case(
        name="a model that cannot write code",
        spec=spec("RLM", QA, max_iters=2),
        plain=_recursive(QA, max_iters=2),
        inputs=WHY,
    ),
]

COUNTS: Final = """class Counts(dspy.Module):
    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> word")

    def forward(self, **inputs):
        word = self.ask(question=inputs["question"]).word
        return dspy.Prediction(answer=f"{word} has {len(word)} letters")"""
SORTS: Final = """class Sorts(dspy.Module):
    def forward(self, **inputs):
        labels = sorted(inputs["text"].split())
        return dspy.Prediction(labels=labels, count=len(labels))"""
LOOKS: Final = """class Looks(dspy.Module):
    def forward(self, **inputs):
        return dspy.Prediction(answer=look(thing="ant", least=4))"""
FAILS: Final = """class Fails(dspy.Module):
    def forward(self, **inputs):
        return dspy.Prediction(answer=1 / 0)"""

NAMED: Final[dict[str, Any]] = {
    "name": "StringSignature",  # its class is named after it, in the source that a Flex begins with
    "inputs": [{"name": "question"}],
    "outputs": [{"name": "answer"}],
}


def _flexible(signature: str, *tools: str, **options: Any) -> Callable[[Host], Any]:
    make: Any = dspy.Flex
    return lambda host: make(
        _SIGNATURE(signature),
        tools=[getattr(host, name) for name in tools],
        interpreter_factory=PlainInterpreter,
        **options,
    )


FLEX: Final = [
    Case(
        name="as it comes",
        spec={"module": "Flex", "signature": NAMED},
        plain=_flexible(QA),
        inputs=WHY,
        lm="scripted",
        script=[{"answer": "because"}],
        wants_trace=False,
    ),
    Case(
        name="source that asks a model",
        spec=spec("Flex", QA),
        plain=_flexible(QA),
        inputs=WHY,
        lm="scripted",
        script=[{"word": "« 東京 »"}],
        learned={"self": {"source": COUNTS}},
        wants_trace=False,
    ),
    Case(
        name="source that asks nobody",
        spec=spec("Flex", SEVERAL),
        plain=_flexible(SEVERAL),
        inputs=TEXT,
        learned={"self": {"source": SORTS}},
        wants_trace=False,
    ),
    Case(
        name="a tool",
        spec=spec("Flex", QA, tools=[LOOK]),
        plain=_flexible(QA, "look"),
        inputs=WHY,
        learned={"self": {"source": LOOKS}},
        wants_trace=False,
    ),
    Case(
        name="source that fails",
        spec=spec("Flex", QA),
        plain=_flexible(QA),
        inputs=WHY,
        learned={"self": {"source": FAILS}},
        fails=("program_failed", Exception),
        wants_trace=False,
    ),
]

CASES: Final[Mapping[str, list[Case]]] = {
    "CodeAct": CODE_ACT,
    "Flex": FLEX,
    "ProgramOfThought": PROGRAM_OF_THOUGHT,
    "RLM": RLM,
}
PROGRAMS: Final = [
    pytest.param(case, id=f"{module}: {case.name}") for module, cases in CASES.items() for case in cases
]


@pytest.fixture(scope="module", autouse=True)
def plain_interpreters() -> Iterator[None]:
    """Of DSPy alone: one process serves most programs."""
    yield
    PlainInterpreter.end_all()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server() -> AsyncIterator[tuple[Client, Stage]]:
    """One worker, whose interpreters are started ahead."""
    stage = Stage()
    async with serving("--workers", "1", functions=stage.functions(), lms=LMS, limit_s=600) as client:
        yield client, stage


@pytest.mark.parametrize("case", PROGRAMS)
async def test_a_program_that_runs_code_is_what_it_is_in_dspy(
    server: tuple[Client, Stage], case: Case
) -> None:
    """Prediction or error, requests and cost, what models and tools are asked, steps and state."""
    client, stage = server
    settings = {"interpreter_factory": PlainInterpreter, "warn_on_type_mismatch": False}
    expected = await asyncio.to_thread(plainly, case, **settings)
    given = await bridged(client, stage, case, stored=True)
    if case in CODE_ACT:
        given.asked = [row for row in given.asked if "look" != row[0]]
    assert {} == differences(expected, given)
