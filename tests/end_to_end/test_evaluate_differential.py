"""`evaluation.run` and `dspy.Evaluate`: the same program, rows and metric give the same scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast

import dspy
import pytest
from dspy.evaluate import SemanticF1, answer_exact_match
from tests.support.reference import SEED
from tests.support.servers import serving

from dspex_bridge.lms.answering import AnsweringLM
from dspex_bridge.sim import SimModel, SimOptions, SimSource
from dspex_pool.client import Client

pytestmark = pytest.mark.slow

LMS: Final[Mapping[str, object]] = {"default": {"model": "sim/test", "options": {"seed": SEED}}}
ROWS: Final = 60
KINDS: Final = ("good", "bad", "odd")
_MODULES: Final[dict[str, Any]] = {"Predict": dspy.Predict, "ChainOfThought": dspy.ChainOfThought}


class Case(NamedTuple):
    """A program, a metric of both, and what rows look like.

    Attributes:
        name: What is particular about it.
        module, signature: The program.
        metric: As a spec.
        plain: As DSPy calls it.
        row: Makes a row of its number.
        failure_score: Of rows without a score.
    """

    name: str
    module: str
    signature: str
    metric: dict[str, object]
    plain: Callable[..., Any]
    row: Callable[[int], dict[str, object]]
    failure_score: float = 0.0


def mood_row(number: int) -> dict[str, object]:
    return {"question": f"How is {number}?", "answer": KINDS[number % 3]}


def unlabelled_row(number: int) -> dict[str, object]:
    """Every fourth has no answer to hold against."""
    row = mood_row(number)
    return row if number % 4 else {"question": row["question"]}


def number_row(number: int) -> dict[str, object]:
    return {"question": f"How many is {number}?", "count": number % 7}


def response_row(number: int) -> dict[str, object]:
    return {"question": f"Who is {number}?", "response": f"He is {number}."}


def same_answer(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.answer == prediction.answer)


def near_count(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(abs(example.count - prediction.count) <= 30)


MOOD: Final = "question -> answer: Literal['good', 'bad', 'odd']"
CASES: Final = (
    Case(
        "exact",
        "Predict",
        MOOD,
        {"metric": "exact_match", "options": {"field": "answer"}},
        same_answer,
        mood_row,
    ),
    Case(
        "of DSPy",
        "ChainOfThought",
        MOOD,
        {"metric": "answer_exact_match"},
        answer_exact_match,
        mood_row,
    ),
    Case(
        "with failures",
        "Predict",
        MOOD,
        {"metric": "answer_exact_match"},
        answer_exact_match,
        unlabelled_row,
        0.25,
    ),
    Case(
        "of numbers",
        "Predict",
        "question -> count: int",
        {"metric": "numeric", "options": {"field": "count", "absolute": 30}},
        near_count,
        number_row,
    ),
    Case(
        "of a judge",
        "Predict",
        "question -> response",
        {"metric": "SemanticF1"},
        SemanticF1(),
        response_row,
    ),
)


def plainly(case: Case) -> tuple[float, list[float]]:
    """What DSPy gives: its score, and that of each row."""
    rows = [dspy.Example(case.row(number)).with_inputs("question") for number in range(ROWS)]
    lm = AnsweringLM("sim/test", SimSource(SimModel(SimOptions(seed=SEED))))
    program = _MODULES[case.module](case.signature)
    evaluate = dspy.Evaluate(
        devset=rows,
        metric=case.plain,
        num_threads=4,
        display_progress=False,
        max_errors=ROWS,
        failure_score=case.failure_score,
    )
    with dspy.context(lm=lm, disable_history=True):
        result: Any = evaluate(program)
    return result.score, [float(score) for _, _, score in result.results]


async def bridged(client: Client, case: Case) -> tuple[float, list[float]]:
    """What a server gives."""
    given = {
        "evaluation": case.name,
        "spec": {"module": case.module, "signature": case.signature},
        "rows": [case.row(number) for number in range(ROWS)],
        "input_keys": ["question"],
        "metrics": {"m": case.metric},
        "failure_score": case.failure_score,
    }
    made = cast("dict[str, Any]", await client.call("evaluation.run", given))
    page = {"evaluation": case.name, "limit": ROWS}
    rows = cast("dict[str, Any]", await client.call("evaluation.rows", page))["rows"]
    scores = [row["scores"].get("m", {}).get("score", case.failure_score) for row in rows]
    return round(100 * made["scores"]["m"]["mean"], 2), scores


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_the_score_is_that_of_dspy(case: Case) -> None:
    """The whole, and row by row; and they are not all alike."""
    async with serving("--workers", "2", lms=LMS) as client:
        score, scores = await bridged(client, case)
    wanted, wanted_scores = plainly(case)
    assert wanted_scores == pytest.approx(scores)
    assert wanted == pytest.approx(score, abs=0.011)
    assert len(set(scores)) > 1
