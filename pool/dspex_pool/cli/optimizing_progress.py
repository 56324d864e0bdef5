"""How far an optimizer is, on a terminal: a bar of rich's where it is installed, else a line."""

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


class OptimizingProgress:
    """Hears what a job tells; says nothing where nobody looks.

    Args:
        name: Of the optimizer.
        output: Where it is drawn, if that is a terminal.

    Attributes:
        trials: The scores so far, in their order.
    """

    def __init__(self, name: str, output: TextIO | None = None) -> None:
        self._name = plain(name)
        self._output = sys.stderr if output is None else output
        self._is_shown = self._output.isatty()
        self._figures: dict[str, Any] = {}
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self.trials: list[float] = []

    def __enter__(self) -> Self:
        if self._is_shown and importlib.util.find_spec("rich") is not None:
            self._bar = _new_bar(self._output)
            self._task = self._bar.add_task(self._name, total=None, text="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._is_shown:
            print(file=self._output)

    def take(self, item: Mapping[str, Any]) -> None:
        """What `job.follow` gives: an event, or the latest figures."""
        event = item.get("event")
        if event is not None and event.get("type") == "trial" and isinstance(event.get("score"), int | float):
            self.trials.append(float(event["score"]))
        self._figures.update(item.get("progress") or {})
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, total=self._total, text=self.text())
        elif self._is_shown:
            print(f"\r{self._name}: {self.text()}", end="", file=self._output, flush=True)

    @property
    def _done(self) -> float:
        return float(self._figures.get("done") or 0)

    @property
    def _total(self) -> float | None:
        total = self._figures.get("total")
        return float(total) if isinstance(total, int | float) and total > 0 else None

    def text(self) -> str:
        """Phase, trials, the best score, and what it has cost so far."""
        words = [plain(str(self._figures["phase"]))] if self._figures.get("phase") else []
        if self.trials:
            words.append(f"{len(self.trials)} trials, best {max(self.trials):.3f}")
        words.append(f"{self._figures.get('lm_calls') or 0} LM calls")
        if self._figures.get("usd"):
            words.append(f"${self._figures['usd']:.4f}")
        return ", ".join(words)


def _new_bar(output: TextIO) -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    # Without markup: names are whatever somebody called things.
    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(file=output),
    )
