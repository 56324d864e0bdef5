"""Which rows are found, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_pool.evaluation.operations import GetEvaluationRows
from dspex_pool.evaluation.queries import chosen
from dspex_pool.evaluation.reader import Found
from dspex_pool.evaluation.records import Fact, Head
from dspex_protocol import CallerError

HEAD = Head(
    evaluation="e",
    digest=b"",
    attempt=1,
    program=None,
    version=None,
    dataset=None,
    dataset_version=None,
    select=None,
    checksum="",
    metrics=["m", "n"],
    failure_score=0.0,
    lm=None,
    note=None,
    state="done",
    rows=5,
    journal="j",
    created_ms=0,
)
ROWS: list[tuple[Any, ...]] = [
    (3, 30, None, 9.0, [0.5, 1.0], [None, True]),
    (0, 0, None, 1.0, [1.0, None], [None, None]),
    (2, 20, "deadline", None, [None, None], [None, None]),
    (1, 10, None, 5.0, [0.0, 0.0], [None, False]),
    (4, 40, None, 5.0, [0.5, 0.0], [None, False]),
]
FACTS = [Found(Fact(*row), 1, place) for place, row in enumerate(ROWS)]


def found(**wish: Any) -> list[int]:
    return [one.fact.index for one in chosen(GetEvaluationRows(evaluation="e", **wish), HEAD, FACTS)]


@pytest.mark.parametrize(
    ("wish", "wanted"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"descending": True}, [4, 3, 2, 1, 0]),
        ({"error": True}, [2]),
        ({"error": False}, [0, 1, 3, 4]),
        ({"indexes": [4, 1, 9]}, [1, 4]),
        ({"metric": "m", "sort": "score"}, [1, 3, 4, 0, 2]),
        ({"metric": "m", "sort": "score", "descending": True}, [0, 3, 4, 1, 2]),
        ({"metric": "m", "min": 0.5}, [0, 3, 4]),
        ({"metric": "m", "max": 0.5}, [1, 3, 4]),
        ({"metric": "m", "min": 0.5, "max": 0.5, "sort": "worker_ms"}, [4, 3]),
        ({"metric": "n", "passed": False}, [1, 4]),
        ({"metric": "n", "passed": True}, [3]),
        ({"metric": "n", "scored": False}, [0, 2]),
        ({"sort": "worker_ms"}, [0, 1, 4, 3, 2]),
    ],
)
def test_rows_are_found(wish: dict[str, Any], wanted: list[int]) -> None:
    """What lacks what is sorted by comes last, either way; equal ones by index."""
    assert wanted == found(**wish)


@pytest.mark.parametrize("wish", [{"passed": True}, {"sort": "score"}, {"min": 0.1}, {"metric": "x"}])
def test_a_metric_that_is_not_clear_is_refused(wish: dict[str, Any]) -> None:
    """With the names that there are."""
    with pytest.raises(CallerError) as refused:
        found(**wish)
    assert "metric" == refused.value.details["field"]
    assert "m, n" in refused.value.message
