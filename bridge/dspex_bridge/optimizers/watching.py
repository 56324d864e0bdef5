"""Seeing what an optimizer does, by what DSPy tells its callbacks. Some have ways of their own."""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import dspy
from dspy.utils.callback import BaseCallback

from .telling import Teller

_BOOTSTRAPPING: Final = ("BootstrapFewShot", "LabeledFewShot", "KNNFewShot")
_SEEN: Final = "_seen_by_dspex"
_TELLING: Final = ("GEPA",)
"""Optimizers that tell of their candidates by themselves."""


class Watcher(BaseCallback):
    """Sees what an optimizer evaluates, in the thread that optimizes.

    Args:
        teller: Is told.
        on_failure: Is told each exception that a module has raised, once; from any thread.
    """

    def __init__(self, teller: Teller, on_failure: Callable[[Exception], None] = lambda reason: None) -> None:
        self._teller = teller
        self._on_failure = on_failure
        self._compiles: list[str] = []
        self._evaluated: dict[str, Mapping[str, Any]] = {}
        self._thread = threading.get_ident()

    def begin(self) -> None:
        """The thread that calls this is the one that optimizes."""
        self._thread = threading.get_ident()

    @property
    def _step(self) -> str | None:
        return self._compiles[-1] if len(self._compiles) > 1 else None

    def asked(self) -> None:
        """A language model is asked; in whatever thread."""
        if threading.get_ident() != self._thread or self._evaluated or not self._compiles:
            return
        phase = "bootstrap" if self._compiles[-1] in _BOOTSTRAPPING else "propose"
        self._teller.phase(phase, self._step)

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """A module has run; one within another raises the same exception."""
        if isinstance(exception, Exception) and not hasattr(exception, _SEEN):
            setattr(exception, _SEEN, True)
            self._on_failure(exception)

    def on_compile_start(self, call_id: str, instance: Any, inputs: Mapping[str, Any]) -> None:
        """An optimizer begins, maybe within another."""
        self._compiles.append(type(instance).__name__)

    def on_compile_end(self, call_id: str, outputs: Any, exception: Exception | None = None) -> None:
        """It has ended."""
        if self._compiles:
            self._compiles.pop()

    def on_evaluate_start(self, call_id: str, instance: Any, inputs: Mapping[str, Any]) -> None:
        """A program is tried."""
        self._evaluated[call_id] = {
            "program": inputs.get("program"),
            "full": (inputs.get("callback_metadata") or {}).get("metric_key") != "eval_minibatch",
        }
        if self._compiles:
            self._teller.phase("evaluate", self._step)

    def on_evaluate_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """It was."""
        what = self._evaluated.pop(call_id, None)
        if what is None or outputs is None or not self._compiles or self._compiles[-1] in _TELLING:
            return
        scores = [float(score) for _, _, score in outputs.results]
        self._teller.trial(
            sum(scores) / len(scores), len(scores), what["program"], full=what["full"], step=self._step
        )


class GEPAWatcher:
    """What GEPA tells its own callbacks: candidates on the validation set, and how much it has used.

    Args:
        teller: Is told.
        build: A program of a candidate's texts.
    """

    def __init__(self, teller: Teller, build: Callable[[Mapping[str, str]], dspy.Module]) -> None:
        self._teller = teller
        self._build = build

    def on_valset_evaluated(self, event: Mapping[str, Any]) -> None:
        """A candidate has its scores."""
        scores = event["scores_by_val_id"]
        self._teller.trial(
            event["average_score"],
            len(scores),
            self._build(event["candidate"]),
            full=len(scores) == event["total_valset_size"],
        )

    def on_budget_updated(self, event: Mapping[str, Any]) -> None:
        """Rows were scored."""
        self._teller.used(event["metric_calls_used"], event["metric_calls_remaining"])


class BatchWatcher:
    """Sees programs that are tried with `dspy.Parallel`, as SIMBA does, and not with `dspy.Evaluate`.

    Args:
        teller: Is told.
        rows: How many there are.
    """

    def __init__(self, teller: Teller, rows: int) -> None:
        self._teller = teller
        self._rows = rows

    def parallel(self) -> type[dspy.Parallel]:
        """What is to stand for `dspy.Parallel` meanwhile."""
        watcher = self

        class Observed(dspy.Parallel):
            def forward(self, exec_pairs: list[Any], num_threads: int | None = None) -> Any:
                outputs: Any = super().forward(exec_pairs, num_threads)
                watcher.tried(exec_pairs, outputs)
                return outputs

        return Observed

    def tried(self, pairs: Sequence[tuple[Any, Any]], outputs: Sequence[Any]) -> None:
        """A batch has ended: each program that saw several rows in it was a candidate."""
        programs = [_program_in(run) for run, _ in pairs]
        both = zip(programs, outputs, strict=True)
        for _, group in itertools.groupby(both, key=lambda one: id(one[0])):
            tried = list(group)
            if len(tried) > 1 and tried[0][0] is not None:
                scores = [float(output["score"]) for _, output in tried]
                self._teller.trial(
                    sum(scores) / len(scores),
                    len(scores),
                    tried[0][0],
                    full=len(scores) == self._rows,
                )


def _program_in(run: Any) -> Any:
    """The program that a function of SIMBA's runs on a row."""
    return inspect.getclosurevars(run).nonlocals.get("program") if inspect.isfunction(run) else None
