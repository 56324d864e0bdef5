"""COMPARISON: evaluations of the same rows, held against each other row by row. Pure."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Final

from dspex_protocol import encode_value, invalid_argument

from . import records, statistics
from .operations import CompareEvaluations
from .queries import place_of
from .reader import Found
from .records import Head, Request

SAME: Final = ("checksum", "select", "rows")
"""What must be the same for rows to be the same: a checksum is of all rows in their order."""

NAMED: Final = ("dataset", "dataset_version", "checksum")
"""Where checksums differ, the first of these that differs says most."""


Pair = Generator[None, None, dict[str, object]]
"""What a pair comes to by a metric, slice by slice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the evaluations.

    Attributes:
        head: It.
        request: Its metrics.
        facts: Its rows.
    """

    head: Head
    request: Request
    facts: Sequence[Found]


def check_rows(heads: Sequence[Head]) -> None:
    """Refuse evaluations that are not of the same rows, or not done.

    Raises:
        CallerError: `invalid_argument` naming which one, and what differs.
    """
    first = heads[0]
    seen: set[str] = set()
    for number, head in enumerate(heads):
        path = f"evaluations[{number}]"
        if head.evaluation in seen:
            raise invalid_argument(path, "each evaluation once", head.evaluation)
        seen.add(head.evaluation)
        if head.state != records.DONE:
            raise invalid_argument(f"{path}.state", "an evaluation that is done", head.state)
        differing = next((name for name in SAME if getattr(first, name) != getattr(head, name)), None)
        if differing == "checksum":
            differing = next(name for name in NAMED if getattr(first, name) != getattr(head, name))
        if differing is not None:
            expected = (
                f"the {differing} of {first.evaluation!r}, which is {_short(getattr(first, differing))}"
            )
            raise invalid_argument(f"{path}.{differing}", expected, getattr(head, differing))


def shared_metrics(wish: CompareEvaluations, sides: Sequence[Side]) -> tuple[list[str], list[str]]:
    """The metrics that are compared, and the names of those that are left out.

    A metric is compared where all evaluations have one of that name and with the same spec.

    Raises:
        CallerError: `invalid_argument` where one that was asked for is not so, or none is.
    """
    names = list(dict.fromkeys(name for side in sides for name in side.head.metrics))
    same = [name for name in names if _is_same(name, sides)]
    for number, name in enumerate(wish.metrics or ()):
        if name not in same:
            raise invalid_argument(f"metrics[{number}]", "a metric that all of them have, and the same", name)
    taken = same if wish.metrics is None else list(dict.fromkeys(wish.metrics))
    if not taken:
        raise invalid_argument(
            "evaluations", "at least one metric that all of them have, and the same", names
        )
    return taken, [name for name in names if name not in same]


def _is_same(name: str, sides: Sequence[Side]) -> bool:
    specs = [side.request.metrics.get(name) for side in sides]
    return all(name in side.request.metrics for side in sides) and all(
        encode_value(spec) == encode_value(specs[0]) for spec in specs
    )


def aligned(metric: str, side: Side) -> list[float | None]:
    """The scores of a metric, by index."""
    place = place_of(metric, side.head)
    scores: list[float | None] = [None] * side.head.rows
    for found in side.facts:
        scores[found.fact.index] = found.fact.scores[place]
    return scores


class Comparison:
    """What is worked out, a slice of one pair and metric after the other, since that may take long.

    Args:
        wish: How.
        sides: What.
        metrics: By which.
    """

    def __init__(self, wish: CompareEvaluations, sides: Sequence[Side], metrics: Sequence[str]) -> None:
        self._wish = wish
        self._sides = sides
        self._metrics = metrics
        self._scores = {name: [aligned(name, side) for side in sides] for name in metrics}
        self._pairs: dict[str, list[dict[str, object]]] = {name: [] for name in metrics}

    @property
    def comparisons(self) -> int:
        """How many pairs and metrics there are together."""
        return len(self._metrics) * len(self._sides) * (len(self._sides) - 1) // 2

    def pieces(self) -> Iterator[Callable[[], None]]:
        """The work: each is a part of a second, to be done before the next one is asked for."""
        for name in self._metrics:
            for a, b in combinations(range(len(self._sides)), 2):
                work, done = self._pair(name, a, b), list[dict[str, object]]()
                while not done:
                    yield partial(_go_on, work, done)
                self._pairs[name] += done

    def _values(self, name: str, side: int) -> list[float]:
        counts_for = self._sides[side].head.failure_score
        return [counts_for if score is None else score for score in self._scores[name][side]]

    def _pair(self, name: str, a: int, b: int) -> Pair:
        wish, (of_a, of_b) = self._wish, (self._values(name, a), self._values(name, b))
        differences = [second - first for first, second in zip(of_a, of_b, strict=True)]
        low, high = statistics.interval_of(
            differences, seed=wish.seed, confidence=wish.confidence, resamples=wish.resamples
        )
        return {
            "a": self._sides[a].head.evaluation,
            "b": self._sides[b].head.evaluation,
            "rows": len(differences),
            "mean_a": statistics.mean_of(of_a),
            "mean_b": statistics.mean_of(of_b),
            "difference": statistics.mean_of(differences),
            "low": low,
            "high": high,
            "p": (yield from statistics.p_value(differences, seed=wish.seed)),
            "wins": sum(one > 0 for one in differences),
            "losses": sum(one < 0 for one in differences),
            "ties": sum(one == 0 for one in differences),
        }

    def metrics(self) -> Mapping[str, list[dict[str, object]]]:
        """Of each metric all pairs; when all pieces are done.

        P-values are adjusted over all of them: whoever makes twenty comparisons finds one in twenty.
        """
        pairs = [pair for name in self._metrics for pair in self._pairs[name]]
        adjusted = statistics.holm([float(str(pair["p"])) for pair in pairs])
        for pair, p in zip(pairs, adjusted, strict=True):
            pair["p_holm"] = p
            pair["significant"] = p < 1 - self._wish.confidence
        return self._pairs

    def rows(self) -> list[dict[str, object]]:
        """Of each row all scores, in the order of the evaluations."""
        rows = {found.fact.index: found.fact.row for found in self._sides[0].facts}
        return [
            {
                "index": index,
                "row": row,
                "scores": {name: [side[index] for side in self._scores[name]] for name in self._metrics},
            }
            for index, row in sorted(rows.items())
        ]


def _go_on(work: Pair, done: list[dict[str, object]]) -> None:
    try:
        next(work)
    except StopIteration as end:
        done.append(end.value)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 64 else f"{text[:63]}…"
