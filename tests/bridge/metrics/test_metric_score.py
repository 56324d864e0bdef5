"""`metric.score` in a worker: rows in order, each with a score or an error, whatever others do."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from tests.support.hops import Hop, worker_here
from tests.support.metrics import spec

from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.metrics import operation
from dspex_bridge.worker.serve import WorkerProcess
from dspex_protocol import CANCEL, DSPexError, Tagged, error

RIGHT: Final = spec("exact_match", field="answer")
HOST: Final = spec("host", function="judge")
PICKY: Final = {"module": "Predict", "signature": "question, answer -> score: int, why: str"}

HostAnswer = Callable[[dict[str, Any]], Awaitable[object]]


def rows(*pairs: tuple[object, object]) -> list[dict[str, object]]:
    """Answers that were wanted, and answers that came."""
    return [{"example": {"answer": wanted}, "prediction": {"answer": came}} for wanted, came in pairs]


@asynccontextmanager
async def asked(answer: HostAnswer, **lms: object) -> AsyncGenerator[tuple[Hop, WorkerProcess]]:
    """A worker whose host has the function `judge`."""

    async def call_host(name: str, args: Any) -> object:
        return await answer(dict(args))

    async with worker_here(lms or None) as (hop, worker):
        functions = HostFunctions(call_host, asyncio.get_running_loop())
        functions.configure(["judge"])
        worker.programs.builder.functions = functions
        yield hop, worker


def codes(told: dict[str, Any]) -> list[object]:
    """Of each row its score, or the code of its error."""
    return [row["error"]["code"] if "error" in row else row["score"] for row in told["results"]]


async def test_rows_keep_their_order_and_are_summed_up() -> None:
    """Also those without a score, which do not count for the mean."""
    given = [*rows(("a", "a"), ("a", "b")), {"example": {}, "prediction": {"answer": "a"}}, *rows((1, 1))]
    async with worker_here() as (hop, _):
        told = await hop.call("metric.score", {"metric": RIGHT, "rows": given})
    assert [1.0, 0.0, "metric_failed", 1.0] == codes(told)
    assert (4, 3, 1, 2, 2 / 3) == tuple(told[key] for key in ("rows", "scored", "failed", "passed", "mean"))
    assert {"score": 1.0, "passed": True, "feedback": None, "parts": {}} == told["results"][0]
    assert {} == told["usage"]


async def test_no_rows_check_the_metric() -> None:
    """Nothing is scored; what is wrong with the metric is told."""
    async with worker_here() as (hop, _):
        told = await hop.call("metric.score", {"metric": RIGHT, "rows": []})
        assert (0, None, None, []) == (told["rows"], told["mean"], told["passed"], told["results"])
        refused = await hop.failure("metric.score", {"metric": spec("oracle"), "rows": []})
        assert ("invalid_argument", "metric.metric") == (refused.code, refused.details["field"])
        refused = await hop.failure("metric.score", {"metric": HOST, "rows": []})
        assert ("unknown_function", "metric.options.function") == (refused.code, refused.details["field"])
        judge = spec("judge", program=PICKY, lm="nobody")
        refused = await hop.failure("metric.score", {"metric": judge, "rows": []})
        assert ("unknown_lm", "metric.options.lm") == (refused.code, refused.details["field"])


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"example": {}}, "rows[1].prediction"),
        ({"example": 3, "prediction": {}}, "rows[1].example"),
        ({"example": {}, "prediction": Tagged("example", {"fields": {}})}, "rows[1].prediction"),
        ({"example": {}, "prediction": {}, "trace": []}, "rows[1].trace"),
    ],
)
async def test_what_is_no_row_is_refused_by_its_place(row: dict[str, object], field: str) -> None:
    """And none is scored."""
    async with worker_here() as (hop, _):
        refused = await hop.failure("metric.score", {"metric": RIGHT, "rows": [*rows((1, 1)), row]})
    assert ("invalid_argument", field) == (refused.code, refused.details["field"])


async def test_examples_and_predictions_of_dspys_are_rows() -> None:
    """As they come from a prediction."""
    example = Tagged("example", {"fields": {"answer": "a"}, "inputs": []})
    prediction = Tagged("prediction", {"fields": {"answer": "a"}, "usage": {}})
    given = [{"example": example, "prediction": prediction}]
    async with worker_here() as (hop, _):
        assert [1.0] == codes(await hop.call("metric.score", {"metric": RIGHT, "rows": given}))


async def test_a_function_of_the_host_gets_the_row_and_gives_a_score() -> None:
    """A number, a boolean, a map with feedback, or a prediction."""
    answers: list[object] = [
        0.25,
        True,
        {"score": 0.5, "feedback": "half"},
        {"score": 1, "passed": False},
        Tagged("prediction", {"fields": {"score": 0.75, "feedback": "of DSPy's"}}),
    ]
    heard: list[dict[str, Any]] = []

    async def judge(args: dict[str, Any]) -> object:
        heard.append(args)
        return answers[args["example"]["answer"]]

    async with asked(judge) as (hop, _):
        told = await hop.call("metric.score", {"metric": HOST, "rows": rows(*((n, "x") for n in range(5)))})
    assert [0.25, 1.0, 0.5, 1.0, 0.75] == codes(told)
    assert [None, True, None, False, None] == [row["passed"] for row in told["results"]]
    assert [None, None, "half", None, "of DSPy's"] == [row["feedback"] for row in told["results"]]
    assert {"example": {"answer": 0}, "prediction": {"answer": "x"}} in heard


@pytest.mark.parametrize(
    ("answer", "field", "got"),
    [
        (float("nan"), "answer", "nan"),
        (float("inf"), "answer", "inf"),
        (1.5, "answer", "1.5"),
        (-1, "answer", "-1"),
        ("good", "answer", "string 'good'"),
        (None, "answer", "nothing"),
        ([1], "answer", "an array"),
        ({}, "answer.score", "nothing"),
        ({"score": "1"}, "answer.score", "string '1'"),
        ({"score": 1, "passed": 1}, "answer.passed", "1"),
        ({"score": 1, "feedback": 1}, "answer.feedback", "1"),
        ({"score": 1, "grade": 1}, "answer", "unknown field 'grade'"),
        (Tagged("prediction", {"fields": {"answer": 1}}), "answer.score", "nothing"),
    ],
)
async def test_nonsense_of_the_host_is_an_error_of_its_row(answer: object, field: str, got: str) -> None:
    """The other rows have their scores; the part is named."""

    async def judge(args: dict[str, Any]) -> object:
        return 1.0 if args["example"]["answer"] else answer

    metric = spec("any", parts={"right": RIGHT, "host": HOST})
    async with asked(judge) as (hop, _):
        told = await hop.call("metric.score", {"metric": metric, "rows": rows((1, 1), (0, 0), (1, 1))})
    assert [1.0, "metric_failed", 1.0] == codes(told)
    details = told["results"][1]["error"]["details"]
    assert (field, "host", "host") == (details["field"], details["part"], details["metric"])
    assert details["got"].startswith(got)


async def test_a_function_that_fails_is_an_error_of_its_row() -> None:
    """With its own code, and without a key that its words had."""

    async def judge(args: dict[str, Any]) -> object:
        raise error("function_failed", "no: sk-abcdefghijklmnopqrstuvwx")

    async with asked(judge) as (hop, _):
        told = await hop.call("metric.score", {"metric": spec("negate", metric=HOST), "rows": rows((1, 1))})
    failed = told["results"][0]["error"]
    assert ("function_failed", "metric") == (failed["code"], failed["details"]["part"])
    assert "the metric host (metric): no: [redacted]" == failed["message"]


async def test_a_row_that_hangs_ends_at_its_deadline_and_names_the_part() -> None:
    """The others do not wait for it, and the host is told to stop."""
    stopped: list[object] = []

    async def judge(args: dict[str, Any]) -> object:
        if args["example"]["answer"] == 1:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.append(args["example"]["answer"])
        return 1.0

    metric = spec("weighted", parts={"right": RIGHT, "host": HOST})
    payload = {"metric": metric, "rows": rows((0, 0), (1, 1), (2, 2)), "row_deadline_ms": 50}
    async with asked(judge) as (hop, _):
        told = await hop.call("metric.score", payload)
    assert [1.0, "metric_timeout", 1.0] == codes(told)
    failed = told["results"][1]["error"]
    assert (["host"], True) == (failed["details"]["parts"], failed["retryable"])
    assert "its parts host did not answer" in failed["message"]
    assert [1] == stopped


async def test_rows_are_asked_about_at_once_as_many_as_wanted() -> None:
    """No more, and those that are done make room."""
    running = most = 0
    gate = asyncio.Event()

    async def judge(args: dict[str, Any]) -> object:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            asyncio.get_running_loop().call_soon(gate.set)  # when all that could begin have begun
        await gate.wait()
        running -= 1
        return args["example"]["answer"] / 10

    payload = {"metric": HOST, "rows": rows(*((n, 0) for n in range(10))), "parallelism": 3}
    async with asked(judge) as (hop, _):
        told = await hop.call("metric.score", payload)
    assert [n / 10 for n in range(10)] == codes(told)
    assert 3 == most


async def test_the_parts_of_a_row_are_asked_at_once_and_one_that_fails_ends_the_others() -> None:
    """Nobody pays for a score that cannot be."""
    both = asyncio.Event()
    ended: list[str] = []
    begun: list[str] = []

    async def judge(args: dict[str, Any]) -> object:
        begun.append("")
        if len(begun) == 2:
            both.set()
            raise error("function_failed", "no")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("")
        return 1.0

    metric = spec("all", parts={"one": HOST, "two": HOST})
    async with asked(judge) as (hop, _):
        told = await hop.call("metric.score", {"metric": metric, "rows": rows((1, 1))})
    assert ["function_failed"] == codes(told)
    assert (1, True) == (len(ended), both.is_set())


async def test_a_judge_scores_on_its_scale() -> None:
    """By an output of its signature, with another as feedback; what it cost is the call's."""
    judge = spec("judge", program=PICKY, scale=[0, 1000], feedback="why", inputs={"answer": "example.answer"})
    given = [{"example": {"question": "q", "answer": "a"}, "prediction": {"answer": n}} for n in (1, 2)]
    async with worker_here() as (hop, _):
        inputs = {"question": "q", "answer": "a"}
        alone = (await hop.call("program.predict", {"spec": PICKY, "inputs": inputs})).value["fields"]
        told = await hop.call("metric.score", {"metric": judge, "rows": given})
        upside_down = spec("judge", program=PICKY, scale=[1000, 0], inputs={"answer": "example.answer"})
        turned = await hop.call("metric.score", {"metric": upside_down, "rows": given})
    assert [alone["score"] / 1000] * 2 == codes(told)
    assert [alone["why"]] * 2 == [row["feedback"] for row in told["results"]]
    assert [1 - alone["score"] / 1000] * 2 == pytest.approx(codes(turned))
    assert (2, "default") == (told["usage"]["lm_calls"], told["usage"]["lm"])


async def test_a_judge_off_its_scale_gives_no_score() -> None:
    """It is told which number came."""
    judge = spec("judge", program=PICKY, scale=[5000, 5001])
    given = [{"example": {"question": "q"}, "prediction": {"answer": "a"}}]
    async with worker_here() as (hop, _):
        told = await hop.call("metric.score", {"metric": judge, "rows": given})
    details = told["results"][0]["error"]["details"]
    assert ("judge.score", "a number from 5000 to 5001, or a boolean") == (
        details["field"],
        details["expected"],
    )


async def test_a_judge_asks_its_own_model() -> None:
    """And the call's where it names none; a yes is a verdict."""
    yes = {"module": "Predict", "signature": "answer -> score: bool"}
    lms = {"default": {"model": "sim/one"}, "strict": {"model": "sim/two"}}
    async with worker_here(lms) as (hop, _):
        for options, expected in (({}, "default"), ({"lm": "strict"}, "strict")):
            told = await hop.call(
                "metric.score", {"metric": spec("judge", program=yes, **options), "rows": rows((1, "a"))}
            )
            assert expected == told["usage"]["lm"]
            assert told["results"][0]["passed"] is bool(told["results"][0]["score"])
        told = await hop.call(
            "metric.score", {"metric": spec("judge", program=yes), "rows": rows((1, "a")), "lm": "strict"}
        )
        assert "strict" == told["usage"]["lm"]


async def test_a_judge_whose_model_fails_is_an_error_of_its_row() -> None:
    """As the model's error is."""
    yes = {"module": "Predict", "signature": "answer -> score: bool"}
    metric = spec("all", parts={"right": RIGHT, "judge": spec("judge", program=yes, lm="mine")})
    nobody = {"model": "openai/x", "api_base": "http://127.0.0.1:1/v1", "num_retries": 0}
    async with worker_here({"mine": nobody}) as (hop, _):
        told = await hop.call("metric.score", {"metric": metric, "rows": rows(("a", "a"))})
        row = {"example": {"question": "q", "response": "r"}, "prediction": {"response": "r"}}
        bare = await hop.call("metric.score", {"metric": spec("SemanticF1"), "rows": [row]})
    assert ("lm_unavailable", "judge") == (codes(told)[0], told["results"][0]["error"]["details"]["part"])
    assert ["lm_not_configured"] == codes(bare)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({}, "program"),
        ({"program": {"module": "Oracle"}}, "program.module"),
        ({"program": {"program": "qa"}}, "program.program"),
        ({"program": PICKY, "score": "grade"}, "score"),
        ({"program": PICKY, "score": "why"}, "score"),
        ({"program": PICKY, "feedback": "reason"}, "feedback"),
        ({"program": PICKY, "scale": [1, 1]}, "scale"),
        ({"program": PICKY, "scale": [1]}, "scale"),
        ({"program": PICKY, "inputs": {"text": "example.a"}}, "inputs.text"),
        ({"program": PICKY, "inputs": {"answer": "reply.a"}}, "inputs.answer"),
        ({"program": {"module": "ProgramOfThought", "signature": "answer -> score: int"}}, "program.module"),
    ],
)
async def test_a_judge_is_refused_by_the_path_of_what_is_wrong(
    options: dict[str, object], field: str
) -> None:
    """When the metric is made."""
    async with worker_here() as (hop, _):
        refused = await hop.failure("metric.score", {"metric": spec("judge", **options), "rows": []})
    assert ("invalid_argument", f"metric.options.{field}") == (refused.code, refused.details["field"])


async def test_a_cancelled_call_stops_between_rows() -> None:
    """Plain rows are measured a few at a time in a thread, and the others never."""
    given = rows(*(("a" * 20, "a" * 20) for _ in range(20_000)))
    async with worker_here() as (hop, _):
        call_id = await hop.start("metric.score", {"metric": spec("token_f1", field="answer"), "rows": given})
        await hop.say(CANCEL, call_id, None, {}, None)
        with pytest.raises(DSPexError, match="cancelled"):
            await hop.end(call_id)


async def test_rows_are_measured_a_while_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a thread, which cannot be stopped, soon sees that its call is over."""
    clock = itertools.count()
    pieces: list[int] = []

    async def in_thread(work: Callable[[], list[Any]]) -> list[Any]:
        found = work()
        pieces.append(len(found))
        return found

    monkeypatch.setattr(operation, "monotonic", lambda: next(clock) * operation.PIECE_S * 0.6)
    monkeypatch.setattr(operation, "in_thread", in_thread)
    async with worker_here() as (hop, _):
        told = await hop.call("metric.score", {"metric": RIGHT, "rows": rows(*((n, 3) for n in range(6)))})
    assert [2, 2, 2] == pieces
    assert [0.0, 0.0, 0.0, 1.0, 0.0, 0.0] == codes(told)


async def test_metrics_are_described() -> None:
    """With their options, whom they ask, and whose they are."""
    async with worker_here() as (hop, _):
        described = {row["name"]: row for row in (await hop.call("system.describe"))["metrics"]}
    assert {"SemanticF1", "exact_match", "weighted", "judge", "host"} <= set(described)
    assert ("model", "dspy", True) == tuple(
        described["SemanticF1"][key] for key in ("asks", "kind", "available")
    )
    assert described["regex"]["options"]["pattern"]["required"]
    assert 0.66 == described["SemanticF1"]["options"]["threshold"]["default"]
