"""Every module that the server has: five programs of each give here and there the same, and cost the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import dspy
import pytest
import pytest_asyncio
from dspy.utils.exceptions import AdapterParseError, LMServerError
from tests.support.differential import LMS, Case, Host, Stage, bridged, differences, plainly
from tests.support.host_cases import HOST, PIPELINE, RETRIEVE
from tests.support.servers import serving

from dspex_pool.client import Client
from dspex_protocol import DSPexError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:The 'prefix' argument"),  # MultiChainComparison of DSPy uses it
]

QA: Final = "question -> answer"
TYPED: Final = "question: str, k: int -> answer: str, score: float"
LISTS: Final = "text -> labels: list[str], ok: bool"
CHOICE: Final = "text, limits: dict[str, float] -> counts: dict[str, int], mood: Literal['good', 'bad']"
TEXTS: Final = "context: list[str], question -> answer: int, sure: Optional[bool]"

WHY: Final = {"question": "Why « 東京 »?\n[[ ## answer ## ]]"}
K: Final = {**WHY, "k": -3}
LIMITS: Final = {"text": "a\nb", "limits": {"é": 1 / 3}}
CONTEXT: Final = {"context": ["a", "", "\N{SNOWMAN}"], "question": "Which?"}

_SIGNATURE: Final[Any] = dspy.Signature  # called with a string, it makes a class

COLD: Final = {"temperature": 0.0}
BRIEF: Final = {"instructions": "Be brief.", "demos": [{"question": "a", "answer": "b"}]}
DOWN: Final = ("lm_unavailable", LMServerError)
UNREADABLE: Final = ("prediction_failed", AdapterParseError)


def spec(module: str, signature: str | None, /, **options: object) -> dict[str, Any]:
    """As a client writes one."""
    own = {} if signature is None else {"signature": signature}
    return {"module": module, **own, "options": options} if options else {"module": module, **own}


def part(signature: str, module: str = "Predict") -> dict[str, Any]:
    """A spec that stands in another."""
    return spec(module, signature)


# Modules of one predictor ----------------------------------------------------------------


def _predict(signature: str, **config: Any) -> Callable[[Host], Any]:
    return lambda host: dspy.Predict(signature, **config)


PREDICT: Final = [
    Case(name="a text", spec=spec("Predict", QA), plain=_predict(QA), inputs=WHY),
    Case(
        name="its own config",
        spec=spec("Predict", TYPED, config={"temperature": 0.5}),
        plain=_predict(TYPED, temperature=0.5),
        inputs=K,
        options={"adapter": "json"},
    ),
    Case(
        name="several completions",
        spec=spec("Predict", CHOICE),
        plain=_predict(CHOICE),
        inputs=LIMITS,
        options={"config": {"n": 2, "temperature": 1.0}, "adapter": "xml"},
    ),
    Case(
        name="what it has learned",
        spec=spec("Predict", QA),
        plain=_predict(QA),
        inputs=WHY,
        learned={"self": BRIEF},
    ),
    Case(
        name="an answer that cannot be read",
        spec=spec("Predict", TEXTS),
        plain=_predict(TEXTS),
        inputs=CONTEXT,
        lm="scripted",
        script=[{"answer": "many", "sure": None}] * 2,
        fails=UNREADABLE,
    ),
]


def _thought(signature: str, **options: Any) -> Callable[[Host], Any]:
    return lambda host: dspy.ChainOfThought(signature, **options)


CHAIN_OF_THOUGHT: Final = [
    Case(name="a text", spec=spec("ChainOfThought", QA), plain=_thought(QA), inputs=WHY),
    Case(
        name="reasons in a list",
        spec=spec("ChainOfThought", TEXTS, rationale_field_type="list[str]"),
        plain=_thought(TEXTS, rationale_field_type=list[str]),
        inputs=CONTEXT,
    ),
    Case(
        name="its own config and JSON",
        spec=spec("ChainOfThought", LISTS, config=COLD),
        plain=_thought(LISTS, **COLD),
        inputs={"text": "x"},
        options={"adapter": "json"},
    ),
    Case(
        name="what it has learned",
        spec=spec("ChainOfThought", QA),
        plain=_thought(QA),
        inputs=WHY,
        learned={"predict": {**BRIEF, "demos": [{"question": "a", "reasoning": "r", "answer": "b"}]}},
    ),
    Case(
        name="a model that is down",
        spec=spec("ChainOfThought", QA),
        plain=_thought(QA),
        inputs=WHY,
        lm="down",
        fails=DOWN,
    ),
]

ATTEMPTS: Final = [{"reasoning": " r\nmore", "answer": "a"}, {"rationale": "s", "answer": "b"}]
SCORED: Final = [{"reasoning": "r", "answer": "a", "score": n / 2} for n in range(4)]


def _compared(signature: str, **options: Any) -> Callable[[Host], Any]:
    return lambda host: dspy.MultiChainComparison(signature, **options)


MULTI_CHAIN_COMPARISON: Final = [
    Case(
        name="two",
        spec=spec("MultiChainComparison", QA, M=2),
        plain=_compared(QA, M=2),
        inputs={**WHY, "completions": ATTEMPTS},
    ),
    Case(
        name="three, as DSPy has it",
        spec=spec("MultiChainComparison", QA),
        plain=_compared(QA),
        inputs={**WHY, "completions": [*ATTEMPTS, {"reasoning": "", "answer": ""}]},
    ),
    Case(
        name="four of numbers",
        spec=spec("MultiChainComparison", TYPED, M=4, temperature=0.2, config={"max_tokens": 100}),
        plain=_compared(TYPED, M=4, temperature=0.2, max_tokens=100),
        inputs={**K, "completions": SCORED},
    ),
    Case(
        name="what it has learned",
        spec=spec("MultiChainComparison", QA, M=2),
        plain=_compared(QA, M=2),
        inputs={**WHY, "completions": ATTEMPTS},
        learned={"predict": {"instructions": "Compare."}},
        lm="scripted",
        script=[{"rationale": "both", "answer": "a"}],
    ),
    Case(
        name="a model that is down",
        spec=spec("MultiChainComparison", QA, M=2),
        plain=_compared(QA, M=2),
        inputs={**WHY, "completions": ATTEMPTS},
        lm="down",
        fails=DOWN,
    ),
]


# Agents ----------------------------------------------------------------------------------

TEXT: Final = {"type": "string"}
PROBE: Final[dict[str, Any]] = {
    "name": "probe",
    "desc": "Takes what the offline model calls its arguments.",
    "args": {"sim_a": TEXT, "sim_b": {**TEXT, "default": "b"}, "sim_c": {**TEXT, "default": "c"}},
}
LOOK: Final[dict[str, Any]] = {
    "name": "look",
    "desc": "Tells how many.",
    "args": {"thing": TEXT, "least": {"type": "integer", "default": 2}},
}
TOTAL: Final[dict[str, Any]] = {
    "name": "total",
    "desc": "Adds up.",
    "args": {"numbers": {"items": {"type": "integer"}, "type": "array"}},
}
BROKEN: Final[dict[str, Any]] = {"name": "broken", "desc": "Is out of order.", "args": {"thing": TEXT}}


def turn(name: str, **args: object) -> dict[str, object]:
    """What the model of a ReAct says."""
    return {"next_thought": f"{name} it", "next_tool_name": name, "next_tool_args": args}


def _react(signature: str, *tools: str, **options: Any) -> Callable[[Host], Any]:
    return lambda host: dspy.ReAct(_SIGNATURE(signature), [getattr(host, name) for name in tools], **options)


REACT: Final = [
    Case(
        name="tools that the offline model finds",
        spec=spec("ReAct", QA, tools=[PROBE, LOOK], max_iters=6),
        plain=_react(QA, "probe", "look", max_iters=6),
        inputs=WHY,
    ),
    Case(
        name="typed and JSON",
        spec=spec("ReAct", TYPED, tools=[PROBE], max_iters=4),
        plain=_react(TYPED, "probe", max_iters=4),
        inputs=K,
        options={"adapter": "json"},
    ),
    Case(
        name="three tools, one that fails",
        spec=spec("ReAct", QA, tools=[LOOK, TOTAL, BROKEN]),
        plain=_react(QA, "look", "total", "broken"),
        inputs=WHY,
        lm="scripted",
        script=[
            turn("look", thing="ant", least=3),
            turn("broken", thing="bee"),
            turn("total", numbers=[1, 2, 2**60]),
            turn("finish"),
            {"reasoning": "r", "answer": "a"},
        ],
    ),
    Case(
        name="wrong arguments, and out of turns",
        spec=spec("ReAct", LISTS, tools=[LOOK, TOTAL], max_iters=3),
        plain=_react(LISTS, "look", "total", max_iters=3),
        inputs={"text": "x"},
        lm="scripted",
        script=[
            turn("look", thin="ant"),
            turn("total", numbers="many"),
            turn("look", thing="ant", least="one"),
            {"reasoning": "r", "labels": ["a", "b"], "ok": True},
        ],
        learned={"react": {"instructions": "Act."}, "extract.predict": {"instructions": "Extract."}},
    ),
    Case(
        name="no tool is chosen, and no answer given",
        spec=spec("ReAct", QA, tools=[LOOK]),
        plain=_react(QA, "look"),
        inputs=WHY,
        lm="scripted",
        script=[{"text": "I would rather not."}] * 4,
        fails=UNREADABLE,
    ),
]


def calls(*wanted: tuple[str, dict[str, object]]) -> dict[str, object]:
    """What the model of a ReActV2 says."""
    return {
        "next_thought": "hm",
        "tool_calls": {"tool_calls": [{"name": name, "args": args} for name, args in wanted]},
    }


def _react_v2(signature: str, *tools: str, **options: Any) -> Callable[[Host], Any]:
    return lambda host: dspy.ReActV2(
        _SIGNATURE(signature), [getattr(host, name) for name in tools], **options
    )


REACT_V2: Final = [
    Case(
        name="one tool",
        spec=spec("ReActV2", QA, tools=[LOOK]),
        plain=_react_v2(QA, "look"),
        inputs=WHY,
        lm="scripted",
        script=[calls(("look", {"thing": "ant"})), calls(("submit", {"answer": "two"}))],
    ),
    Case(
        name="several at once, typed",
        spec=spec("ReActV2", TYPED, tools=[LOOK, TOTAL]),
        plain=_react_v2(TYPED, "look", "total"),
        inputs=K,
        lm="scripted",
        script=[
            calls(("total", {"numbers": [3, 4]}), ("look", {"thing": "bee", "least": 1})),
            calls(("submit", {"answer": "seven", "score": 0.5})),
        ],
        learned={"react": {"instructions": "Act."}},
    ),
    Case(
        name="a tool that fails, and one that is not there",
        spec=spec("ReActV2", QA, tools=[BROKEN]),
        plain=_react_v2(QA, "broken"),
        inputs=WHY,
        lm="scripted",
        script=[
            calls(("broken", {"thing": "ant"}), ("look", {"thing": "ant"}), ("broken", {"think": "ant"})),
            calls(("submit", {"answer": "none"})),
        ],
    ),
    Case(
        name="made to submit",
        spec=spec("ReActV2", LISTS, tools=[LOOK], max_iters=1),
        plain=_react_v2(LISTS, "look", max_iters=1),
        inputs={"text": "x"},
        lm="scripted",
        script=[calls(("look", {"thing": "ant"})), calls(("submit", {"labels": ["a"], "ok": False}))],
    ),
    Case(
        name="never submits",
        spec=spec("ReActV2", QA, tools=[PROBE], max_iters=3),
        plain=_react_v2(QA, "probe", max_iters=3),
        inputs=WHY,
        fails=("program_failed", ValueError),
    ),
]


# Attempts --------------------------------------------------------------------------------


def _reward(host: Host, name: str) -> Callable[[Mapping[str, Any], Any], float]:
    def reward(inputs: Mapping[str, Any], prediction: Any) -> float:
        return float(getattr(host, name)(inputs, dict(prediction.items())))

    return reward


def _best(
    make: Callable[[], Any], count: int, name: str, threshold: float, **more: Any
) -> Callable[[Host], Any]:
    return lambda host: dspy.BestOfN(make(), count, _reward(host, name), threshold, **more)


def _refined(
    make: Callable[[], Any], count: int, name: str, threshold: float, **more: Any
) -> Callable[[Host], Any]:
    """DSPy shows the model the code of a reward; of one of the host it is told its words."""

    def make_it(host: Host) -> Any:
        module: Any = dspy.Refine(make(), count, _reward(host, name), threshold, **more)
        module.reward_fn_code = f"A function of the host: {name}"
        return module

    return make_it


def attempts(module: str, plain: Callable[..., Callable[[Host], Any]], fails: int) -> list[Case]:
    """Five programs of a module that makes several attempts."""

    def predict() -> Any:
        return dspy.Predict(QA)

    def options(count: int, reward: object, threshold: float, **more: object) -> dict[str, Any]:
        return {"N": count, "reward_fn": reward, "threshold": threshold, **more}

    return [
        Case(
            name="the best of all",
            spec=spec(module, None, module=part(QA), **options(4, "short", 1000.0)),
            plain=plain(predict, 4, "short", 1000.0),
            inputs=WHY,
            lm="varied",
        ),
        Case(
            name="the first that is enough",
            spec=spec(module, None, module=part(TYPED, "ChainOfThought"), **options(5, "second", 0.5)),
            plain=plain(lambda: dspy.ChainOfThought(TYPED), 5, "second", 0.5),
            inputs=K,
            lm="varied",
            learned={"module.predict": {"instructions": "Be brief."}},
        ),
        Case(
            name="the second is the best",
            spec=spec(module, None, module=part(LISTS), **options(3, "second", 2.0)),
            plain=plain(lambda: dspy.Predict(LISTS), 3, "second", 2.0),
            inputs={"text": "x"},
            lm="varied",
        ),
        Case(
            name="an attempt that fails",
            spec=spec(module, None, module=part(QA), **options(3, "moody", 3.0, fail_count=2)),
            plain=plain(predict, 3, "moody", 3.0, fail_count=2),
            inputs=WHY,
            lm="varied",
        ),
        Case(
            name="too many that fail",
            spec=spec(module, None, module=part(QA), **options(fails, "hopeless", 1.0, fail_count=1)),
            plain=plain(predict, fails, "hopeless", 1.0, fail_count=1),
            inputs=WHY,
            lm="varied",
            fails=("function_failed", DSPexError),
        ),
    ]


class ByVote(dspy.Module):  # type: ignore[misc]
    """`dspy.majority` over a module, as a user of DSPy would write it."""

    def __init__(self, module: Any, count: int, field: str | None = None) -> None:
        super().__init__()
        self.module = module
        self.count = count
        self.field = field

    def forward(self, **inputs: Any) -> Any:
        """One attempt after the other."""
        voters: list[Any] = []
        for number in range(self.count):
            voter = self.module.deepcopy()
            voter.set_lm(dspy.settings.lm.copy(rollout_id=number, temperature=1.0))
            voters.append(voter(**inputs))
        field = self.field or list(voters[0].keys())[-1]
        is_text = isinstance(voters[0][field], str)
        return dspy.majority(voters, field=field) if is_text else dspy.majority(voters, repr, field)


def _vote(make: Callable[[], Any], count: int, field: str | None = None) -> Callable[[Host], Any]:
    return lambda host: ByVote(make(), count, field)


MAJORITY: Final = [
    Case(
        name="of texts",
        spec=spec("Majority", None, module=part(QA), N=3),
        plain=_vote(lambda: dspy.Predict(QA), 3),
        inputs=WHY,
        lm="scripted",
        script=[{"answer": "Rome"}, {"answer": "the paris"}, {"answer": "Paris"}],
    ),
    Case(
        name="of answers that all differ",
        spec=spec("Majority", None, module=part(TYPED), N=4),
        plain=_vote(lambda: dspy.Predict(TYPED), 4),
        inputs=K,
        lm="varied",
    ),
    Case(
        name="of booleans",
        spec=spec("Majority", None, module=part(LISTS, "ChainOfThought"), N=5),
        plain=_vote(lambda: dspy.ChainOfThought(LISTS), 5),
        inputs={"text": "x"},
        lm="varied",
        learned={"module.predict": {"instructions": "Be brief."}},
    ),
    Case(
        name="of another field",
        spec=spec("Majority", None, module=part(CHOICE), N=5, field="counts"),
        plain=_vote(lambda: dspy.Predict(CHOICE), 5, "counts"),
        inputs=LIMITS,
        lm="varied",
    ),
    Case(
        name="a model that is down",
        spec=spec("Majority", None, module=part(QA), N=2),
        plain=_vote(lambda: dspy.Predict(QA), 2),
        inputs=WHY,
        lm="down",
        fails=DOWN,
    ),
]


# The table -------------------------------------------------------------------------------

CASES: Final[Mapping[str, list[Case]]] = {
    "BestOfN": attempts("BestOfN", _best, 4),
    "ChainOfThought": CHAIN_OF_THOUGHT,
    "Host": HOST,
    "Majority": MAJORITY,
    "MultiChainComparison": MULTI_CHAIN_COMPARISON,
    "Pipeline": PIPELINE,
    "Predict": PREDICT,
    "ReAct": REACT,
    "ReActV2": REACT_V2,
    "Refine": attempts("Refine", _refined, 4),
    "Retrieve": RETRIEVE,
}
ELSEWHERE: Final = frozenset({"CodeAct", "Flex", "KNN", "ProgramOfThought", "RLM", "Ensemble", "KNNFewShot"})
"""Those that run code are in `test_differential_code`, those of KNN in `test_knn.py`; what optimizers alone
make is held against DSPy's in `tests/bridge/optimizers/test_other_results.py`."""

PROGRAMS: Final = [
    pytest.param(case, id=f"{module}: {case.name}") for module, cases in CASES.items() for case in cases
]
UNTAUGHT: Final = [
    pytest.param(case, id=f"{module}: {case.name}")
    for module, cases in CASES.items()
    for case in cases
    if not case.learned
]
"""What a program has learned is kept with it, so these alone can come with a call."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server() -> AsyncIterator[tuple[Client, Stage]]:
    """One for all programs, and who answers for its host."""
    stage = Stage()
    async with serving(functions=stage.functions(), lms=LMS, limit_s=600) as client:
        yield client, stage


async def test_every_module_of_the_server_is_here(server: tuple[Client, Stage]) -> None:
    """With five programs; one of a newer DSPy is to be added, unless the server says why it has none."""
    client, _ = server
    described: Any = await client.call("system.describe", {})
    rows = {row["name"]: row for row in described["modules"]}
    available = {name for name, row in rows.items() if row["available"]}
    assert (set(), set()) == (available - CASES.keys() - ELSEWHERE, CASES.keys() - available)
    assert all(row["reason"] for row in rows.values() if not row["available"])
    assert {} == {module: len(cases) for module, cases in CASES.items() if len(cases) < 5}


@pytest.mark.parametrize("case", PROGRAMS)
async def test_a_program_is_what_it_is_in_dspy(server: tuple[Client, Stage], case: Case) -> None:
    """Prediction or error, requests, tokens and cost, what the host is asked, steps and state."""
    client, stage = server
    expected = await asyncio.to_thread(plainly, case)
    assert {} == differences(expected, await bridged(client, stage, case, stored=True))


@pytest.mark.parametrize("case", UNTAUGHT)
async def test_it_is_the_same_when_it_comes_with_the_call(server: tuple[Client, Stage], case: Case) -> None:
    """The spec in the call, and nothing recorded."""
    client, stage = server
    expected = await asyncio.to_thread(plainly, case)
    given = await bridged(client, stage, case, stored=False)
    expected.steps = expected.state = None
    assert {} == differences(expected, given)
