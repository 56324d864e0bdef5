"""A comparison as Markdown: what it comes to, differences, and the rows that differ most."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from .comparing import comparison_facts, method_text, significant_text, standing_of, verdict_of
from .comparisons import comparison_of
from .evaluation_markdown import MAX_ROWS, cost_table
from .evaluation_words import brief
from .figures import chance_text, count_text, interval_text, percent_text, signed_text
from .markdown import facts, heading, paragraph, sections, table
from .shapes import Record, legible, maps_of, text_of


class ComparisonMarkdown:
    """Writes one: what it comes to, differences, and the rows that differ most."""

    def __init__(self, record: Record, evaluations: Sequence[Record] = ()) -> None:
        self._comparison = comparison_of(record, evaluations)
        self._farthest: list[tuple[float, int, float, Record]] = []
        self._seen = 0

    def begin(self) -> str:
        """Nothing yet."""
        return ""

    def add(self, rows: Sequence[Record]) -> str:
        """Look at some rows, under the first metric."""
        for row in rows if self._comparison.metrics else ():
            self._seen += 1
            difference = standing_of(row, self._comparison.metrics[0], self._comparison).difference
            if difference:
                entry = (abs(difference), -self._seen, difference, row)
                keep = heapq.heappush if len(self._farthest) < MAX_ROWS else heapq.heappushpop
                keep(self._farthest, entry)
        return ""

    def end(self) -> str:
        """All of it."""
        comparison = self._comparison
        verdicts = [(pair, verdict_of(pair, comparison)) for pair in comparison.pairs]
        return "".join(
            sections(
                (
                    heading(1, " against ".join(reversed(comparison.names))),
                    facts(comparison_facts(comparison)),
                    *[paragraph(f"{pair.metric}: {said.claim} {said.reason}") for pair, said in verdicts],
                    self._pairs(),
                    paragraph(method_text(comparison)),
                    cost_table(comparison.sides, comparison.names),
                    self._rows_that_differ(),
                )
            )
        )

    def _pairs(self) -> str:
        comparison = self._comparison
        head = (
            "metric",
            "of",
            "difference",
            f"{percent_text(comparison.confidence)} interval",
            "p",
            "p, of all",
            "significant",
            "wins",
            "ties",
            "losses",
        )
        rows = [
            (
                pair.metric,
                f"{pair.b} less {pair.a}",
                signed_text(pair.difference),
                interval_text(pair.low, pair.high, signed=True),
                chance_text(pair.p),
                chance_text(pair.p_holm),
                significant_text(pair),
                count_text(pair.wins),
                count_text(pair.ties),
                count_text(pair.losses),
            )
            for pair in comparison.pairs
        ]
        return heading(2, "Differences") + table(head, rows, numbers=(2, 3, 4, 5, 7, 8, 9))

    def _rows_that_differ(self) -> str | None:
        if not self._farthest:
            return None
        metric, names = self._comparison.metrics[0], self._comparison.names
        rows = [
            (
                text_of(row.get("row")),
                brief(row.get("example")),
                *[brief(legible(side).get("prediction")) for side in maps_of(row.get("sides"))],
                signed_text(difference),
            )
            for _, _, difference, row in sorted(self._farthest, key=lambda entry: entry[:2], reverse=True)
        ]
        width = max(len(row) for row in rows)
        head = ("row", "given", *(names if width == 3 + len(names) else ()), "difference")
        title = heading(2, f"Rows that differ most, by {metric}")
        return title + table(head, [row for row in rows if len(row) == len(head)], numbers=(len(head) - 1,))
