"""QUERIES: which rows of an evaluation are wanted, in which order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dspex_protocol import invalid_argument

from .operations import GetEvaluationRows
from .reader import Found
from .records import Fact, Head

OF_A_METRIC = ("scored", "passed", "min", "max")
"""What is asked of the scores of one metric, which must be named unless there is only one."""


def chosen(wish: GetEvaluationRows, head: Head, facts: Sequence[Found]) -> list[Found]:
    """The rows that are wanted, in order.

    Raises:
        CallerError: `invalid_argument` for a metric that the evaluation has not.
    """
    place = _place_of(wish, head)
    indexes = None if wish.indexes is None else set(wish.indexes)
    found = [
        one
        for one in facts
        if (indexes is None or one.fact.index in indexes) and _fits(one.fact, wish, place)
    ]
    return _in_order(found, wish, place)


def place_of(metric: str, head: Head, field: str = "metric") -> int:
    """Which of an evaluation's metrics one is.

    Raises:
        CallerError: `invalid_argument`.
    """
    if metric not in head.metrics:
        raise invalid_argument(field, f"one of the metrics {', '.join(head.metrics)}", metric)
    return head.metrics.index(metric)


def _place_of(wish: GetEvaluationRows, head: Head) -> int:
    if wish.metric is not None:
        return place_of(wish.metric, head)
    asks = [name for name in OF_A_METRIC if getattr(wish, name) is not None]
    asks += ["sort"] if wish.sort == "score" else []
    if asks and len(head.metrics) > 1:
        raise invalid_argument("metric", f"which of {', '.join(head.metrics)} is meant by {asks[0]}", None)
    return 0


def _fits(fact: Fact, wish: GetEvaluationRows, place: int) -> bool:
    score = fact.scores[place]
    return (
        wish.error in (None, fact.code is not None)
        and wish.scored in (None, score is not None)
        and wish.passed in (None, fact.passed[place])
        and (wish.min is None or (score is not None and score >= wish.min))
        and (wish.max is None or (score is not None and score <= wish.max))
    )


def _in_order(found: list[Found], wish: GetEvaluationRows, place: int) -> list[Found]:
    """Rows that lack what they are sorted by come last either way; equal ones by index."""
    keys: dict[str, Callable[[Fact], float | None]] = {
        "index": lambda fact: fact.index,
        "score": lambda fact: fact.scores[place],
        "worker_ms": lambda fact: fact.worker_ms,
    }
    key = keys[wish.sort]
    sign = -1 if wish.descending else 1

    def order(one: Found) -> tuple[bool, float, int]:
        value = key(one.fact)
        return value is None, 0.0 if value is None else sign * value, one.fact.index

    return sorted(found, key=order)
