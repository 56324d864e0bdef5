"""CLUSTERS of failures: rows that went wrong in the same way, by error, metric and part. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast

from .records import Fact

MAX_EXAMPLES: Final = 10
"""Rows that a cluster names."""

MAX_CLUSTERS: Final = 10_000
"""Kinds of failures that are told apart; further ones are not counted. An error's message may be any text."""

MAX_SHAPE_CHARACTERS: Final = 200

OF_F1: Final = frozenset(("precision", "recall"))
"""Parts that are no metrics of their own: that both are low says nothing that the whole does not."""

_QUOTED: Final = re.compile(r"'[^']{0,500}'|\"[^\"]{0,500}\"|`[^`]{0,500}`")
_NUMBER: Final = re.compile(r"[-+]?\d[\d.,_]*")
_INDEX: Final = re.compile(r"\[\d+\]")


def shape_of(message: str) -> str:
    """A message without what differs from row to row: numbers and what stands in quotes."""
    text = _NUMBER.sub("#", _QUOTED.sub("'…'", message[: 4 * MAX_SHAPE_CHARACTERS]))
    return text[:MAX_SHAPE_CHARACTERS]


class Kind(NamedTuple):
    """What went wrong.

    Attributes:
        kind: `error`: the program's; `metric_error`: a metric gave no score; `score`: it gave a bad one.
        metric: Which metric.
        part: Which part of it, names from the outside in with dots between.
        code: Of the error.
        message: Its shape.
        field: That it names.
    """

    kind: str
    metric: str | None
    part: str | None
    code: str | None
    message: str | None
    field: str | None


@dataclass(slots=True)
class Cluster:
    """Rows of one kind of failure."""

    rows: list[int] = field(default_factory=list[int])
    total: float = 0.0


class Clusters:
    """What rows have come to.

    Args:
        below: A score that is lower fails, where there is no verdict.
    """

    def __init__(self, below: float) -> None:
        self._below = below
        self._found: dict[Kind, Cluster] = {}
        self._failing = 0

    def may_fail(self, fact: Fact) -> bool:
        """Whether a row is worth reading: by what is known of it, something went wrong."""
        return fact.code is not None or any(
            score is None or not self._is_good(score, passed)
            for score, passed in zip(fact.scores, fact.passed, strict=True)
        )

    def add(self, row: Mapping[str, object]) -> None:
        """A row as it is stored."""
        kinds = list(self._kinds(row))
        self._failing += bool(kinds)
        for kind, score in kinds:
            cluster = self._found.get(kind)
            if cluster is None:
                if len(self._found) >= MAX_CLUSTERS:
                    continue
                cluster = self._found[kind] = Cluster()
            cluster.rows.append(cast("int", row["index"]))
            cluster.total += score

    def _kinds(self, row: Mapping[str, object]) -> Iterator[tuple[Kind, float]]:
        failure = row.get("error")
        if isinstance(failure, dict):
            yield _kind_of("error", None, cast("dict[str, object]", failure)), 0.0
            return
        for name, told in cast("dict[str, dict[str, object]]", row.get("scores") or {}).items():
            if "error" in told:
                yield _kind_of("metric_error", name, cast("dict[str, object]", told["error"])), 0.0
            else:
                yield from self._bad_parts(name, told, ())

    def _bad_parts(
        self, metric: str, told: Mapping[str, object], path: tuple[str, ...]
    ) -> Iterator[tuple[Kind, float]]:
        """The innermost parts that are bad; the whole where none of its parts is."""
        score = float(cast("float", told.get("score") or 0.0))
        if self._is_good(score, cast("bool | None", told.get("passed"))):
            return
        parts = cast("dict[str, dict[str, object]]", told.get("parts") or {})
        if parts.keys() == OF_F1:
            parts = {}
        bad = [one for name, part in parts.items() for one in self._bad_parts(metric, part, (*path, name))]
        yield from bad or [(Kind("score", metric, ".".join(path) or None, None, None, None), score)]

    def _is_good(self, score: float, passed: bool | None) -> bool:
        return score >= self._below if passed is None else passed

    def told(self, limit: int, rows: int) -> dict[str, object]:
        """The largest clusters first, as values of the wire.

        Args:
            limit: At most so many.
            rows: How many the evaluation has had.
        """
        by_size = sorted(self._found.items(), key=lambda one: (-len(one[1].rows), min(one[1].rows)))
        return {
            "rows": rows,
            "failing": self._failing,
            "clusters": [_told(kind, cluster, rows) for kind, cluster in by_size[:limit]],
        }


def _kind_of(kind: str, metric: str | None, failure: Mapping[str, object]) -> Kind:
    details = cast("dict[str, object]", failure.get("details") or {})
    part, named = details.get("part"), details.get("field")
    return Kind(
        kind,
        metric,
        part if isinstance(part, str) else None,
        str(failure.get("code")),
        shape_of(str(failure.get("message"))),
        _INDEX.sub("[#]", named[:MAX_SHAPE_CHARACTERS]) if isinstance(named, str) else None,
    )


def _told(kind: Kind, cluster: Cluster, rows: int) -> dict[str, object]:
    count = len(cluster.rows)
    return {
        **kind._asdict(),
        "count": count,
        "share": count / rows,
        "mean": cluster.total / count if kind.kind == "score" else None,
        "rows": sorted(cluster.rows)[:MAX_EXAMPLES],
    }
