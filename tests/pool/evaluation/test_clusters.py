"""Failures are put together by what they are, and not by the numbers in them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from dspex_pool.evaluation import clusters
from dspex_pool.evaluation.clusters import Clusters, shape_of
from dspex_pool.evaluation.records import Fact


def error(code: str, message: str, **details: object) -> dict[str, object]:
    return {"code": code, "message": message, "details": details}


def score(value: float, *, passed: bool | None = None, **parts: object) -> dict[str, object]:
    return {"score": value, "passed": passed, "feedback": None, "parts": parts}


def told(*rows: Mapping[str, object], below: float = 0.5, limit: int = 100) -> dict[str, object]:
    found = Clusters(below)
    for index, row in enumerate(rows):
        found.add({"index": index, "error": None, "scores": {}, **row})
    return found.told(limit, len(rows))


def kinds(answer: dict[str, object]) -> list[tuple[object, ...]]:
    found = answer["clusters"]
    assert isinstance(found, list)
    return [(one["kind"], one["metric"], one["part"], one["count"], one["rows"]) for one in found]


@pytest.mark.parametrize(
    ("message", "shape"),
    [
        ("answer: expected 'yes', got 'no'", "answer: expected '…', got '…'"),
        ("row 17 took 1,234.5 s of -2", "row # took # s of #"),
        ("it said \"a 'b' c\" and `d`", "it said '…' and '…'"),
        ("x" * 5000, "x" * 200),
        ("it's late", "it's late"),
        ("'" * 5000, "'…'" * 66 + "'…"),
    ],
)
def test_a_shape_has_neither_numbers_nor_quotes(message: str, shape: str) -> None:
    """And it is bounded."""
    assert shape == shape_of(message)


def test_errors_are_together_where_they_are_alike() -> None:
    """By code, field and shape; the largest first."""
    answer = told(
        {"error": error("prediction_failed", "expected 'a', got 'b'", field="list[3].x")},
        {"error": error("prediction_failed", "expected 'c', got 'd'", field="list[17].x")},
        {"error": error("prediction_failed", "expected 'c', got 'd'", field="other")},
        {"error": error("deadline", "after 3 s"), "scores": {"m": score(0)}},
        {"scores": {"m": score(1)}},
    )
    assert [
        ("error", None, None, 2, [0, 1]),
        ("error", None, None, 1, [2]),
        ("error", None, None, 1, [3]),
    ] == kinds(answer)
    first = answer["clusters"]
    assert isinstance(first, list)
    assert ("prediction_failed", "list[#].x", "expected '…', got '…'", 0.4) == tuple(
        first[0][key] for key in ("code", "field", "message", "share")
    )
    assert (5, 4) == (answer["rows"], answer["failing"])


def test_a_bad_score_is_of_the_innermost_part_that_is_bad() -> None:
    """Of a metric made of others, by the names down to it; of a plain one, the whole."""
    mixed = score(
        0.4,
        passed=False,
        tone=score(0.2, words=score(0, passed=False), pace=score(0.9)),
        length=score(1, passed=True),
    )
    answer = told(
        {"scores": {"m": mixed, "plain": score(0.49)}},
        {"scores": {"m": mixed, "plain": score(0.5)}},
        {"scores": {"m": score(0.4, passed=False, tone=score(1))}},
        {"scores": {"m": score(0.1, passed=True), "f1": score(0, precision=score(0), recall=score(0))}},
        {"scores": {"m": {"error": error("metric_failed", "no 7", part="tone.words", field="x")}}},
    )
    assert [
        ("score", "m", "tone.words", 2, [0, 1]),
        ("score", "plain", None, 1, [0]),
        ("score", "m", None, 1, [2]),
        ("score", "f1", None, 1, [3]),
        ("metric_error", "m", "tone.words", 1, [4]),
    ] == kinds(answer)
    assert 5 == answer["failing"]


def test_a_cluster_names_its_first_rows_and_a_list_its_first_clusters() -> None:
    """However many there are."""
    answer = told(*({"scores": {"m": score(0)}} for _ in range(25)), limit=1)
    assert [("score", "m", None, 25, list(range(10)))] == kinds(answer)
    assert [] == told({"scores": {"m": score(0)}}, limit=0)["clusters"]


def test_only_so_many_kinds_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message may be any text; those that were met first are counted on."""
    monkeypatch.setattr(clusters, "MAX_CLUSTERS", 2)
    answer = told(*({"error": error("program_failed", word)} for word in ("a", "b", "c", "a")))
    assert [("error", None, None, 2, [0, 3]), ("error", None, None, 1, [1])] == kinds(answer)
    assert 4 == answer["failing"]


def test_what_is_good_is_not_read() -> None:
    """By the facts alone."""
    found = Clusters(0.5)
    facts = {
        "good": Fact(0, 0, None, 1.0, [0.5], [None]),
        "bad": Fact(0, 0, None, 1.0, [0.4], [None]),
        "passed": Fact(0, 0, None, 1.0, [0.1], [True]),
        "lacking": Fact(0, 0, None, 1.0, [None], [None]),
        "failed": Fact(0, 0, "deadline", None, [None], [None]),
    }
    assert ["bad", "lacking", "failed"] == [name for name, fact in facts.items() if found.may_fail(fact)]
