"""What of DSPy is another way while it optimizes, in a process that does nothing else."""

from __future__ import annotations

import importlib.util
import logging
import os
import random
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import dspy
from dspy.utils.parallelizer import ParallelExecutor


@contextmanager
def tamed(parallel: type[dspy.Parallel], seed: int) -> Generator[None]:
    """No second runs of slow rows, no draws without a seed, no progress bars.

    DSPy runs a row again that has taken two minutes while the first run goes on. In a job that would
    make it a matter of time which requests there are; and models have time limits of their own. And it
    leaves it to Optuna in one place to draw as it likes.

    Args:
        parallel: What stands for `dspy.Parallel` meanwhile.
        seed: Of what has none.
    """
    _sow(seed)
    with ExitStack() as stack:
        null = stack.enter_context(open(os.devnull, "w"))
        stack.enter_context(_attribute(ParallelExecutor, "timeout", property(_never, _ignored)))
        stack.enter_context(_attribute(dspy, "Parallel", parallel))
        if importlib.util.find_spec("optuna") is not None:
            import optuna

            optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would tell of each trial
            stack.enter_context(_attribute(optuna, "create_study", _seeded(optuna.create_study, seed)))
        # Bars and prints, and lines with rows and prompts in them. What went wrong is counted.
        logger = logging.getLogger("dspy")
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL)
        stack.enter_context(redirect_stdout(null))
        stack.enter_context(redirect_stderr(null))
        yield


@contextmanager
def _attribute(owner: Any, name: str, value: Any) -> Generator[None]:
    had = name in vars(owner)
    before = getattr(owner, name, None)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if had:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


def _never(executor: Any) -> int:
    return 0  # which DSPy takes for: no row is slow


def _ignored(executor: Any, value: object) -> None:
    return None


def _seeded(create_study: Callable[..., Any], seed: int) -> Callable[..., Any]:
    from optuna.samplers import TPESampler  # its own default, which takes a seed of the machine's

    def create(*, sampler: Any = None, **options: Any) -> Any:
        return create_study(sampler=TPESampler(seed=seed) if sampler is None else sampler, **options)

    return create


def _sow(seed: int) -> None:
    random.seed(seed)
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed)
