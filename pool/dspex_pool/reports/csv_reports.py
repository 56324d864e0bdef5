"""Reports as CSV (RFC 4180): a row for each row, a column for each field and score.

A spreadsheet takes a text that begins with = + - @, a tab or a line end for a formula, which may send
the sheet elsewhere. Such a text gets an apostrophe before it. Numbers that we write do not.
Its characters are marked as in every report (`marks`): the exact texts are in the JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from dspex_pool.notation import to_json

from .comparing import standing_of
from .comparisons import comparison_of
from .evaluations import evaluation_of
from .figures import number_of
from .marks import marked
from .shapes import Record, is_map, legible, list_of, map_of, maps_of, moment_of

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
USAGE: Final = ("lm_calls", "lm_ms", "tokens_in", "tokens_out", "cost_usd")
OF_A_SCORE: Final = ("score", "passed", "feedback")
MAX_FIELDS: Final = 256
"""Columns of examples, and as many of predictions."""

Cell = object


class Fields:
    """Which fields rows have, in the order in which they are met: the columns, which stand first in a file.

    Attributes:
        examples: Of examples.
        predictions: Of predictions.
        params: Of runs.
        metrics: Of runs.
    """

    def __init__(self) -> None:
        self.examples: dict[str, None] = {}
        self.predictions: dict[str, None] = {}
        self.params: dict[str, None] = {}
        self.metrics: dict[str, None] = {}

    def look(self, rows: Iterable[Record]) -> None:
        """Look at some rows."""
        for row in rows:
            self._note(self.examples, row.get("example"))
            self._note(self.params, row.get("params"))
            if "run" in row:
                self._note(self.metrics, row.get("metrics"))
            for side in (row, *maps_of(row.get("sides"))):
                self._note(self.predictions, legible(side).get("prediction"))

    @staticmethod
    def _note(known: dict[str, None], fields: object) -> None:
        for name in map_of(fields):
            if len(known) < MAX_FIELDS:
                known[name] = None


def line(cells: Iterable[Cell]) -> str:
    """A record of the file."""
    return ",".join(map(_written, cells)) + "\r\n"


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula. Blanks before one do not hide it."""
    return f"'{text}" if text.lstrip(" \u00a0").startswith(FORMULA) else text


def _written(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    number = number_of(cell)
    if number is not None and isinstance(cell, int | float):
        return str(cell) if number.is_integer() and isinstance(cell, int) else repr(number)
    text = marked(harmless(cell if isinstance(cell, str) else _json(cell)))
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n\r') else text


def _json(value: object) -> str:
    return json.dumps(to_json(value), ensure_ascii=False)


class EvaluationCsv:
    """Writes the rows of one.

    Args:
        record: The evaluation.
        fields: What its rows have: all of them were looked at.
    """

    def __init__(self, record: Record, fields: Fields) -> None:
        self._metrics = [scores.metric for scores in evaluation_of(record).scores]
        self._fields = fields

    def begin(self) -> str:
        """The names of the columns."""
        return line(
            (
                *("index", "row"),
                *[f"example.{name}" for name in self._fields.examples],
                *[f"prediction.{name}" for name in self._fields.predictions],
                *[f"{metric}.{key}" for metric in self._metrics for key in (*OF_A_SCORE, "error")],
                *("error.code", "error.message", *USAGE, "worker_ms"),
            )
        )

    def add(self, rows: Sequence[Record]) -> str:
        """Some rows."""
        return "".join(line(self._cells(row)) for row in rows)

    def end(self) -> str:
        """Nothing more."""
        return ""

    def _cells(self, row: Record) -> Iterable[Cell]:
        yield from (row.get("index"), row.get("row"))
        yield from _of(row.get("example"), self._fields.examples)
        yield from _of(legible(row).get("prediction"), self._fields.predictions)
        for metric in self._metrics:
            said = map_of(map_of(row.get("scores")).get(metric))
            yield from _of(said, OF_A_SCORE)
            yield map_of(said.get("error")).get("message")
        yield from _of(row.get("error"), ("code", "message"))
        yield from _of(row.get("usage"), USAGE)
        yield row.get("worker_ms")


class ComparisonCsv:
    """Writes the rows of one; a column for each side."""

    def __init__(self, record: Record, evaluations: Sequence[Record], fields: Fields) -> None:
        self._comparison = comparison_of(record, evaluations)
        self._fields = fields

    def begin(self) -> str:
        """The names of the columns."""
        names, metrics = self._comparison.names, self._comparison.metrics
        return line(
            (
                *("index", "row"),
                *[f"example.{name}" for name in self._fields.examples],
                *[f"{name}: {field}" for name in names for field in self._fields.predictions],
                *[f"{name}: {metric}" for metric in metrics for name in names],
                *([f"difference of {metric}" for metric in metrics] if len(names) == 2 else ()),
            )
        )

    def add(self, rows: Sequence[Record]) -> str:
        """Some rows."""
        return "".join(line(self._cells(row)) for row in rows)

    def end(self) -> str:
        """Nothing more."""
        return ""

    def _cells(self, row: Record) -> Iterable[Cell]:
        names, metrics = self._comparison.names, self._comparison.metrics
        yield from (row.get("index"), row.get("row"))
        yield from _of(row.get("example"), self._fields.examples)
        sides = list_of(row.get("sides"))
        for n in range(len(names)):
            side = map_of(sides[n] if n < len(sides) else None)
            yield from _of(legible(side).get("prediction"), self._fields.predictions)
        for metric in metrics:
            scores = list_of(map_of(row.get("scores")).get(metric))
            yield from (scores[n] if n < len(scores) else None for n in range(len(names)))
        if len(names) == 2:
            yield from (standing_of(row, metric, self._comparison).difference for metric in metrics)


class RunsCsv:
    """Writes the runs of an experiment.

    Args:
        fields: What they have: all of them were looked at.
    """

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def begin(self) -> str:
        """The names of the columns."""
        params = [f"param.{name}" for name in self._fields.params]
        metrics = [f"metric.{name}" for name in self._fields.metrics]
        return line(("number", "run", "state", "created", "ended", *params, *metrics, "note"))

    def add(self, rows: Sequence[Record]) -> str:
        """Some runs."""
        return "".join(line(self._cells(row)) for row in rows)

    def end(self) -> str:
        """Nothing more."""
        return ""

    def _cells(self, run: Record) -> Iterable[Cell]:
        yield from (run.get("number"), run.get("run"), run.get("state"))
        yield from (moment_of(run.get("created")), moment_of(run.get("ended")))
        yield from _of(run.get("params"), self._fields.params)
        metrics = map_of(run.get("metrics"))
        yield from (map_of(metrics.get(name)).get("last") for name in self._fields.metrics)
        yield run.get("note")


class EventsCsv:
    """Writes the events of a job."""

    def begin(self) -> str:
        """The names of the columns."""
        return line(("n", "at", "type", "score", "more"))

    def add(self, rows: Sequence[Record]) -> str:
        """Some events."""
        return "".join(line(_event_cells(row)) for row in rows)

    def end(self) -> str:
        """Nothing more."""
        return ""


def _event_cells(row: Record) -> Iterable[Cell]:
    rest = {key: value for key, value in row.items() if key not in ("n", "at", "type", "score")}
    return (row.get("n"), moment_of(row.get("at")), row.get("type"), row.get("score"), rest)


def _of(parts: object, keys: Iterable[str]) -> Iterable[Cell]:
    known: Mapping[str, object] = map_of(parts) if is_map(parts) else {}
    return [known.get(key) for key in keys]
