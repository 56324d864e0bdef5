"""A job as Markdown: how it stands, scores, trials, what came of it, and its events by type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from .evaluation_words import MAX_CLUSTERS, usage_of
from .figures import score_text
from .job_page import rows_text
from .job_words import error_text, instructions_of, job_facts, job_scores, job_title
from .markdown import block, facts, heading, paragraph, sections, table
from .shapes import Record, map_of, text_of
from .trials import Trials, best_so_far

MAX_TRIALS: Final = 30


class JobMarkdown:
    """Writes one: how it stands, scores, trials, what came of it, and its events by type."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._events: Counter[str] = Counter()
        self._found = Trials(record)

    def begin(self) -> str:
        """Nothing yet."""
        return ""

    def add(self, rows: Sequence[Record]) -> str:
        """Count some events."""
        self._found.add(rows)
        self._events.update(text_of(row.get("type")) or "none" for row in rows)
        return ""

    def end(self) -> str:
        """All of it."""
        record = self._record
        failed = error_text(record)
        spent = usage_of(
            map_of(record.get("spent")) or map_of(map_of(record.get("result")).get("usage")), None
        )
        scores = job_scores(record)
        return "".join(
            sections(
                (
                    heading(1, f"Job: {job_title(record)}"),
                    facts(job_facts(record)),
                    paragraph(failed) if failed else None,
                    heading(2, "Scores") + facts(scores) if scores else None,
                    heading(2, "Cost") + facts(spent) if any(spent.values()) else None,
                    self._trials(),
                    self._instructions(),
                    self._counts(),
                )
            )
        )

    def _trials(self) -> str | None:
        trials = self._found.all
        if not trials:
            return None
        best = best_so_far(trials)
        rows = [
            (trial.name, score_text(trial.score), rows_text(trial), score_text(best[n]), trial.summary)
            for n, trial in enumerate(trials[:MAX_TRIALS])
        ]
        title = f"The first {MAX_TRIALS} of {len(trials)} trials" if len(trials) > MAX_TRIALS else "Trials"
        return heading(2, title) + table(
            ("trial", "score", "on rows", "best so far", "candidate"), rows, numbers=(1, 2, 3)
        )

    def _instructions(self) -> str | None:
        result = map_of(self._record.get("result"))
        found = instructions_of(map_of(map_of(result.get("program")).get("state")))
        parts = [heading(3, name) + block(text) + "\n" for name, text in found.items()]
        return heading(2, "Instructions of the result") + "".join(parts) if parts else None

    def _counts(self) -> str | None:
        if not self._events:
            return None
        rows = [(name, f"{count:,}") for name, count in self._events.most_common(MAX_CLUSTERS)]
        return heading(2, "Events") + table(("type", "events"), rows, numbers=(1,))
