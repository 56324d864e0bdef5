"""Running a metric over a row, and saying which part of it failed."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, TypeAlias, TypeVar, assert_never

from dspex_protocol.errors import DSPexError, error

from ..failures import redact_failure, to_failure
from .metric import Asking, Composed, Metric, Plain
from .rows import Row
from .scores import Score

Path: TypeAlias = tuple[str, ...]

T = TypeVar("T")


class PartFailed(Exception):
    """A part of a metric gave no score; why is the cause.

    Attributes:
        metric: What kind of metric it is.
        path: Names of the parts down to it; empty for the whole.
    """

    def __init__(self, metric: str, path: Path) -> None:
        super().__init__(f"the metric {metric} failed")
        self.metric = metric
        self.path = path


def measure(metric: Metric, row: Row, path: Path = ()) -> Score:
    """The score by a metric that asks nobody; in this thread.

    Raises:
        PartFailed: naming the part.
    """
    with _naming(metric, path):
        match metric:
            case Plain():
                return metric.measure(row)
            case Composed():
                return metric.combine(
                    {name: measure(part, row, (*path, name)) for name, part in metric.parts.items()}
                )
            case Asking():
                raise AssertionError(f"{metric.name} asks somebody")
            case _:
                assert_never(metric)


class Scoring:
    """One row being scored by a metric that asks somebody.

    Parts that ask nobody are measured in threads: a long one is not to hold up the event loop.
    """

    def __init__(self) -> None:
        self._asking: dict[Path, str] = {}

    async def within(self, metric: Metric, row: Row, limit_s: float | None) -> Score:
        """The score, in this time.

        Raises:
            PartFailed: naming the part.
            DSPexError: `metric_timeout`, naming the parts that have not answered.
        """
        try:
            async with asyncio.timeout(limit_s):
                return await self.score(metric, row)
        except TimeoutError:
            parts = [".".join(path) for path in self._asking if path]
            which = f"its parts {', '.join(parts)}" if parts else "it"
            raise error(
                "metric_timeout",
                f"the metric {metric.name} gave no score in {limit_s} s: {which} did not answer",
                details={"metric": metric.name, "parts": parts},
            ) from None

    async def score(self, metric: Metric, row: Row, path: Path = ()) -> Score:
        """The score, whatever time that takes.

        Raises:
            PartFailed: naming the part.
        """
        if not metric.asks:
            return await in_thread(lambda: measure(metric, row, path))
        with _naming(metric, path):
            if isinstance(metric, Composed):
                return metric.combine(await self._of_parts(metric, row, path))
            assert isinstance(metric, Asking)
            self._asking[path] = metric.name
            score = await metric.ask(row)
            del self._asking[path]  # not where it is stopped: then it is one of those that did not answer
            return score

    async def _of_parts(self, metric: Composed, row: Row, path: Path) -> Mapping[str, Score]:
        """All parts at once; the first that fails ends the others."""
        tasks: dict[str, asyncio.Task[Score]] = {}
        failed: BaseExceptionGroup[BaseException] | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for name, part in metric.parts.items():
                    tasks[name] = group.create_task(self.score(part, row, (*path, name)))
        except BaseExceptionGroup as several:
            failed = several
        if failed is not None:
            raise failed.exceptions[0]  # with what caused it, which `from None` would take away
        return {name: task.result() for name, task in tasks.items()}


async def in_thread(work: Callable[[], T]) -> T:
    """Run something in a thread of the event loop's, with the context of the task that wants it."""
    run = functools.partial(copy_context().run, work)
    return await asyncio.get_running_loop().run_in_executor(None, run)


@contextmanager
def _naming(metric: Metric, path: Path) -> Generator[None]:
    try:
        yield
    except PartFailed:
        raise
    except Exception as reason:  # whatever a metric of somebody else's raises
        raise PartFailed(metric.name, path) from reason


def failure_of(exc: Exception) -> DSPexError:
    """The error of a row, ready to leave the process."""
    failure = (
        _named(exc, to_failure(exc.__cause__ or exc)) if isinstance(exc, PartFailed) else to_failure(exc)
    )
    redact_failure(failure)
    return failure


def _named(failed: PartFailed, failure: DSPexError) -> DSPexError:
    raised = failure.code == "program_failed"
    part = ".".join(failed.path)
    which = f"{failed.metric} ({part})" if part else failed.metric
    what = failure.message.replace("the program raised", "it raised", 1) if raised else failure.message
    details: dict[str, Any] = {**failure.details, "metric": failed.metric}
    return error(
        "metric_failed" if raised else failure.code,
        f"the metric {which}: {what}",
        details=details | ({"part": part} if part else {}),
        retryable=failure.retryable,
        maybe_executed=failure.maybe_executed,
        retry_after_ms=failure.retry_after_ms,
    )
