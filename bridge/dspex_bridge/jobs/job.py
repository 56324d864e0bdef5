"""A JOB as the work itself sees it: what it may ask of the supervisor, and what it tells it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from time import monotonic
from typing import Any, Final, TypeVar, cast

from dspex_protocol import DSPexError, decode_failure, encode_failure

from ..datasets.cutting import NO_ROWS
from ..datasets.reading import Before, ReadRows, read_and_cut
from ..worker.calls import CallTable, RunningCall
from .answers import Answers
from .budget import Budget, Cost, Purse
from .noting import Noting
from .outages import Outages

T = TypeVar("T")

PAGE: Final = 1000
"""Rows and answers of one message."""
PROGRESS_EVERY_S: Final = 0.2
"""Whoever looks on sees no more than that."""


class Job:
    """One attempt of one job.

    Args:
        calls: The wire.
        call: The call in which it runs.
        job: Its id.
        kind: What it is.
        attempt: How often it was begun, this time included.
        budget: What it may spend.
        spent: What the attempts before have spent.
        forgiven: How many answers there were when it was resumed.

    Attributes:
        id, kind, attempt, budget: As given.
        answers: Those of language models and host functions.
        outages: Which language models answer nobody.
        stopped: Is there, as an exception, when it must end at once, since its budget is spent or a model is
            away for too long.
    """

    def __init__(
        self,
        calls: CallTable,
        call: RunningCall,
        *,
        job: str,
        kind: str,
        attempt: int,
        budget: Budget,
        spent: Cost,
        forgiven: int = 0,
    ) -> None:
        self.id = job
        self.kind = kind
        self.attempt = attempt
        self.budget = budget
        self._calls = calls
        self._call = call
        self._loop = asyncio.get_running_loop()
        self.stopped: asyncio.Future[None] = self._loop.create_future()
        noting = Noting(lambda entries: self._ask("job.answered", entries=entries))
        self.answers = Answers(
            noting,
            Purse(budget, spent),
            self._loop,
            self._stop_soon,
            lambda: calls.tell(call, "job.asked", {}),
        )
        self.answers.forgiven = forgiven
        self.outages = Outages(self._loop, self)
        self._lock = threading.Lock()
        self._telling: set[asyncio.Task[object]] = set()
        self._events = 0
        self._best: float | None = None
        self._figures: dict[str, object] = {}
        self._told_s = 0.0
        self._is_telling = False

    async def load_answers(self) -> None:
        """Read what the attempts before have kept."""
        after = 0
        while True:
            page = _map(await self._ask("job.answers", after=after, limit=PAGE))
            entries = cast("list[bytes]", page["entries"])
            if not entries:
                return
            self.answers.load(entries)
            after = cast("int", page["last"])

    # What it asks for

    async def rows(
        self,
        dataset: str,
        version: int | None = None,
        select: Mapping[str, object] | None = None,
    ) -> list[dict[str, object]]:
        """All rows of a version of a dataset that a selection names.

        Without a version it is the newest one at the job's first look, in every attempt.

        Raises:
            DSPexError: as `dataset.rows`.
        """
        rows: list[dict[str, object]] = []
        asked: dict[str, object] = {"dataset": dataset, "limit": PAGE}
        if version is not None:
            asked["version"] = version
        if select is not None:
            asked["select"] = dict(select)
        offset: object = 0
        while offset is not None:
            page = _map(await self._ask("job.rows", **asked, offset=offset))
            rows += cast("list[dict[str, object]]", page["rows"])
            offset = page["next"]
        return rows

    async def program(
        self, program: str, version: int | None = None, tag: str | None = None
    ) -> tuple[int, dict[str, object]]:
        """A stored program: the number of its version, and its record, as `program.load` has it.

        Without a version it is, in every attempt, the newest one at the job's first look; with a tag the
        one that had it at the submission.

        Raises:
            DSPexError: `unknown_program` and others.
        """
        asked: dict[str, object] = {"program": program}
        if version is not None:
            asked["version"] = version
        if tag is not None:
            asked["tag"] = tag
        found = _map(await self._ask("job.program", **asked))
        return cast("int", found["version"]), cast("dict[str, object]", found["record"])

    async def store_rows(
        self,
        dataset: str,
        rows: Sequence[Mapping[str, object]],
        *,
        signature: Mapping[str, object],
        note: str,
    ) -> int:
        """Have rows stored as the next version of a dataset; its number. Once in the job's life.

        Raises:
            DSPexError: `invalid_argument` naming the row and field that does not fit the signature.
        """
        first = Before(chain=NO_ROWS, input_keys=None, signature=None)
        wanted = ReadRows(after=first, rows=[dict(row) for row in rows], signature=dict(signature))
        parts = await asyncio.to_thread(read_and_cut, wanted)
        made = _map(await self._ask("job.dataset", dataset=dataset, note=note, **parts))
        return cast("int", made["version"])

    # What it tells

    async def event(self, type_: str, **fields: object) -> None:
        """Tell of something that happened, for good; returns when it is kept.

        Events must be told in the same order in each attempt, so from one place at a time: the n-th one of
        an attempt is taken for the n-th one of the attempt before, and is kept once.

        Args:
            type_: What happened, in a word.
            fields: What there is to say of it.
        """
        with self._lock:
            self._events += 1
            number = self._events
            anew = {"anew": True} if self.answers.is_anew else {}
        self._check_goes_on()
        await self._ask("job.event", n=number, event={"type": type_, **fields}, **anew)

    async def best(self, score: float, content: object) -> bool:
        """Tell of a result that may be the best so far; returns when it is kept.

        Args:
            score: More is better.
            content: A program record and whatever describes it.

        Returns:
            Whether it was better than those before it in this attempt.
        """
        with self._lock:
            if self._best is not None and score <= self._best:
                return False
            self._best = score
        self._check_goes_on()
        await self._ask("job.best", score=float(score), content=content)
        return True

    def progress(self, **figures: object) -> None:
        """Tell how far it is; from any thread. What is told again replaces what was told before.

        Args:
            figures: phase, done, total, score, best_score, remaining_s, and others; what was spent is added.
        """
        with self._lock:
            self._figures.update(figures)
            if self._is_telling:
                return
            self._is_telling = True
        delay_s = max(0.0, self._told_s + PROGRESS_EVERY_S - monotonic())
        self._loop.call_soon_threadsafe(self._loop.call_later, delay_s, self.tell_progress)

    def tell_progress(self) -> None:
        """Send the latest figures now; on the event loop."""
        spent = self.answers.spent
        with self._lock:
            self._is_telling = False
            self._told_s = monotonic()
            figures = dict(self._figures)
        spent_figures = {"lm_calls": spent.lm_calls, "tokens": spent.tokens, "usd": spent.cost_usd}
        self._calls.tell(self._call, "job.progress", figures | spent_figures)

    # As `outages.Listener`

    def model_away(self, model: str, code: str) -> None:
        """As there; no event of this attempt, since another one need not come by it."""
        self.progress(waiting_for=model)
        self._say("job.model", model=model, code=code, is_away=True)

    def model_back(self, model: str) -> None:
        """As there."""
        self.progress(waiting_for=None)
        self._say("job.model", model=model, is_away=False)

    def give_up(self, reason: DSPexError) -> None:
        """As there."""
        self._stop(reason)

    def _say(self, method: str, **what: object) -> None:
        """Ask without waiting: it is the supervisor's own to keep."""
        telling = self._loop.create_task(self._ask(method, **what))
        self._telling.add(telling)
        telling.add_done_callback(self._said)

    def _said(self, telling: asyncio.Task[object]) -> None:
        self._telling.discard(telling)
        if not telling.cancelled():
            telling.exception()  # looked at, so that nobody complains that it was not

    # From threads

    def wait(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of one of the above, in a thread that waits: `job.wait(lambda: job.rows("mine"))`."""
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result()

    async def _ask(self, method: str, **what: object) -> object:
        return await self._calls.ask(self._call, method, what)

    def _check_goes_on(self) -> None:
        """Refuse to tell of what came after the end.

        DSPy takes a refused request for a bad score, and whoever resumes the job would find that among its
        events.
        """
        if self.stopped.done():
            self.stopped.result()

    def _stop_soon(self, reason: DSPexError) -> None:
        self._loop.call_soon_threadsafe(self._stop, reason)

    def _stop(self, reason: DSPexError) -> None:
        self.answers.refuse(reason)
        if not self.stopped.done():
            # A copy: the one that was raised may yet be raised elsewhere.
            self.stopped.set_exception(decode_failure(encode_failure(reason)))


def _map(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return cast("dict[str, object]", value)
