"""How far an evaluation is, on a terminal: a bar of rich's where it is installed, else a line."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from dspex_pool.cli.readable import plain

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class Progress:
    """Counts rows as they come; says nothing where nobody looks.

    Args:
        rows: How many there are, those of earlier runs too.
        name: Of the evaluation.
        output: Where it is drawn, if that is a terminal.
    """

    def __init__(self, rows: int, name: str, output: TextIO | None = None) -> None:
        self._rows = rows
        self._name = plain(name)
        self._output = sys.stderr if output is None else output
        self._is_shown = self._output.isatty()
        self._came = 0
        self._failed = 0
        self._totals: dict[str, float] = {}
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._is_shown and importlib.util.find_spec("rich") is not None:
            self._bar = _new_bar(self._output)
            self._task = self._bar.add_task(self._name, total=self._rows, text="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._is_shown and self._came:
            print(file=self._output)

    def take(self, row: Mapping[str, Any]) -> None:
        """A row has come."""
        self._came += 1
        self._failed += row["error"] is not None
        for name, score in row["scores"].items():
            self._totals[name] = self._totals.get(name, 0.0) + float(score.get("score") or 0.0)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=1, text=self.text())
        elif self._is_shown:
            line = f"\r{self._came} of {self._rows}, {self.text()}"
            print(line, end="", file=self._output, flush=True)

    def text(self) -> str:
        """What is known so far: failures, and the mean of each metric over the rows that have come."""
        means = [f"{plain(name)} {total / self._came:.3f}" for name, total in self._totals.items()]
        return ", ".join([f"{self._failed} failed", *means])


def _new_bar(output: TextIO) -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    # Without markup: names are whatever somebody called things.
    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        TimeRemainingColumn(),
        console=Console(file=output),
    )
