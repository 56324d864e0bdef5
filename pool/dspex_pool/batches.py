"""BATCHES: calls that the supervisor spreads over the workers row by row: `batch.run`, `evaluation.run`.

The client's call stays here and takes no place; each row is a call of its own, in the lane `batch`
unless the client named another, that waits, runs, is repeated and is given up as calls are. What
rows there are and what becomes of their outcomes is a `batch_plan.Plan`'s business; what follows from
what is `batch.py`'s to say; here it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from dspex_protocol import ITEM, DSPexError, Meta, decode_failure, encode, error

from . import batch as rules
from . import endings
from .batch import AfterRow, Batch
from .batch_plan import DEFAULT_PARALLELISM, Plan
from .batch_rows import Row
from .outcomes import Outcomes
from .stored_calls import name_version

if TYPE_CHECKING:
    from .calls import Call, Caller
    from .logs import Log
    from .ports import Tasks

MAX_BATCHES: Final = 1024
"""Batches that may be open: they take no place themselves, so nothing else would bound them."""

ANSWER_BYTES: Final = 1024
"""What an answer with all rows in it holds besides them, at most."""


class Start(Protocol):
    """Opens and places a row's call; `switchboard.Switchboard.start_row` is it."""

    def __call__(self, call: Call, /) -> None:
        """Do it. Raises DSPexError where there is no room, and then nothing has changed."""
        ...


Planner = Callable[["Call"], Coroutine[Any, Any, Plan]]
"""Makes the plan of a call. Raises DSPexError where there is none."""


class Running:
    """One batch under way.

    Attributes:
        call: The client's.
        host: Who made it.
        plan: What was asked for.
        batch: How far it is.
        rows: The rows that run, by index.
        is_ending: All is settled, and the answer is on its way.
    """

    def __init__(self, call: Call, host: Caller, plan: Plan, parallelism: int) -> None:
        self.call = call
        self.host = host
        self.plan = plan
        self.rows: dict[int, Row] = {}
        self.is_going_on = False
        self.is_ending = False
        wants_items = bool(call.meta.get("credit"))  # not what came since: it was opened without
        self.wants_entries = wants_items or plan.keeps
        self.batch = Batch(
            rows=plan.rows,
            parallelism=plan.settings.parallelism or parallelism,
            max_errors=plan.settings.max_errors,
            keeps=plan.keeps and not wants_items,
        )

    @property
    def is_open(self) -> bool:
        """Whether its client has had no outcome yet."""
        return self.call.caller is not None


class BatchPause:
    """A batch that found no room; it is looked at again."""

    __slots__ = ("running",)

    def __init__(self, running: Running) -> None:
        self.running = running


class Batches:
    """The batches that are open.

    Args:
        places: How many places all workers have, for the default parallelism.
        tasks: Where plans are made.
        planners: Who makes them, by method.
        outcomes: How calls end.
        clock: The time, in seconds.
        log: For operators.
        remind: Has `look_again` called with that thing at a time.
        start: Opens and places a row.
        give_up: Answers a call with an error; whoever is at work on it is stopped.
        flush: Writes what was sent.
    """

    def __init__(
        self,
        *,
        places: int,
        tasks: Tasks,
        planners: Mapping[str, Planner],
        outcomes: Outcomes,
        clock: Callable[[], float],
        log: Log,
        remind: Callable[[BatchPause, float], None],
        start: Start,
        give_up: Callable[[Call, DSPexError], None],
        flush: Callable[[], None],
    ) -> None:
        self._parallelism = min(places, DEFAULT_PARALLELISM)
        self._tasks = tasks
        self._planners = planners
        self._outcomes = outcomes
        self._clock = clock
        self._log = log
        self._remind = remind
        self._start = start
        self._give_up = give_up
        self._flush = flush
        self._open: dict[Call, Running] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_full(self) -> bool:
        """Whether no more batches may be opened."""
        return len(self._open) >= MAX_BATCHES

    # Its beginning and its end

    def begin(self, call: Call) -> None:
        """Run a batch that has been admitted, and whose program is there."""
        self._tasks.start(self._begin(call))

    async def _begin(self, call: Call) -> None:
        try:
            plan = await self._planners[call.method](call)
        except DSPexError as refusal:
            if call.caller is not None:
                self._give_up(call, refusal)
        except Exception as fault:
            # Here a task ends: without a word of it the call would stay open until its deadline.
            self._log.error("batch_failed", reason=type(fault).__name__)
            if call.caller is not None:
                self._give_up(call, error("internal", f"{call.method} failed: {type(fault).__name__}"))
        else:
            if call.caller is None:  # it has ended meanwhile
                plan.left()
            else:
                self._open[call] = running = Running(call, call.caller, plan, self._parallelism)
                plan.begin(lambda: self._wake(running), lambda failure: self._break_off(running, failure))
                self._go_on(running)
        self._flush()

    def closed(self, call: Call) -> None:
        """A batch has ended: nobody waits for its rows any more."""
        running = self._open.pop(call, None)
        if running is not None:
            for row in list(running.rows.values()):
                self._give_up(row.call, endings.cancelled(row.call, "asked"))
            running.plan.left()

    def rung_of(self, call: Call) -> str:
        """How far the server goes where a batch, or what else is in no worker, is cancelled."""
        running = self._open.get(call)
        return "left" if running is not None and running.rows else "queued"

    def late(self, call: Call) -> DSPexError | None:
        """The error of a batch whose time is over, with how far it was."""
        running = self._open.get(call)
        return None if running is None else _late(running)

    # Its rows

    def _wake(self, running: Running) -> None:
        """Its plan has something new."""
        self._go_on(running)
        self._flush()

    def _break_off(self, running: Running, failure: DSPexError) -> None:
        if running.is_open:
            self._give_up(running.call, failure)
            self._flush()

    def _go_on(self, running: Running) -> None:
        """Begin as many rows as may run now, and end the batch where there is nothing more to come."""
        if running.is_going_on or not running.is_open:
            return  # a row has ended as it was begun, or with the batch
        running.is_going_on = True
        try:
            while running.is_open and not running.host.is_clogged:
                row = rules.next_row(running.batch, self._clock(), running.plan.at_hand)
                if row is None:
                    break
                self._begin_row(running, row)
        finally:
            running.is_going_on = False
        if running.is_open and running.batch.is_over and not running.is_ending:
            running.is_ending = True
            running.plan.end(running.batch, lambda payload, meta: self._reply(running, payload, meta))

    def _begin_row(self, running: Running, index: int) -> None:
        now_s, outer = self._clock(), running.call
        limit_ms = running.plan.settings.row_deadline_ms
        deadline_s = outer.deadline_s if limit_ms is None else min(outer.deadline_s, now_s + limit_ms / 1000)
        row = Row(
            outer,
            running.host,
            index,
            running.plan.method,
            running.plan.payload_of(index),
            entry_bytes=running.plan.entry_bytes(index),
            now_s=now_s,
            deadline_s=deadline_s,
            ended=lambda row: self._row_ended(running, row),
        )
        if outer.record is not None:
            name_version(row.call, outer.record)
        rules.begin(running.batch, index)
        running.rows[index] = row
        try:
            self._start(row.call)
        except DSPexError as refusal:
            del running.rows[index]
            self._failed(running, row, refusal)

    def _row_ended(self, running: Running, row: Row) -> None:
        del running.rows[row.index]
        if not running.is_open:
            return
        if row.is_done:
            self._keep(running, row, None)
        else:
            self._failed(running, row, decode_failure(row.payload))
        self._go_on(running)

    def _failed(self, running: Running, row: Row, failure: DSPexError) -> None:
        match rules.judge(running.batch, failure):
            case AfterRow.AGAIN:
                rules.put_back(running.batch, row.index, failure, self._clock())
                self._remind(BatchPause(running), running.batch.paused_until_s)
            case AfterRow.END:
                self._give_up(running.call, failure)
            case AfterRow.KEEP:
                self._keep(running, row, failure)

    def _keep(self, running: Running, row: Row, failure: DSPexError | None) -> None:
        running.plan.keep(row, failure, lambda entry, is_done: self._settle(running, row, entry, is_done))

    def _settle(self, running: Running, row: Row, entry: bytes | None, is_done: bool) -> None:
        if not running.is_open:
            return
        if not running.wants_entries:
            entry = None
        rules.settle(running.batch, row.index, entry, row.meta, is_done=is_done)
        self._send_entries(running)
        size, limit = running.batch.entry_bytes + ANSWER_BYTES, running.host.max_frame_bytes
        if running.batch.keeps and size > limit:  # why run the others, if nobody can be told
            self._give_up(running.call, endings.too_large(size, limit, maybe_executed=running.call.committed))

    # What its client hears

    def _send_entries(self, running: Running) -> None:
        call = running.call
        while call.credit > 0 and (entry := rules.take_entry(running.batch)) is not None:
            running.host.link.send(encode(ITEM, call.id, None, {"seq": call.next_seq}, entry))
            call.next_seq += 1
            call.credit -= 1
            call.committed = True

    def _reply(self, running: Running, payload: bytes, meta: Meta) -> None:
        if running.is_open:
            self._outcomes.reply_encoded(running.call, payload, meta)

    # What lets it go on

    def add_credit(self, call: Call) -> None:
        """The client takes more items."""
        running = self._open.get(call)
        if running is not None:
            self._send_entries(running)
            self._go_on(running)

    def client_reads_again(self, host: Caller) -> None:
        """A client that had not read has caught up."""
        for running in [running for running in self._open.values() if running.host is host]:
            self._go_on(running)

    def look_again(self, pause: BatchPause) -> None:
        """There may be room now."""
        if pause.running.is_open:
            self._go_on(pause.running)


def _late(running: Running) -> DSPexError:
    batch = running.batch
    left = f"{batch.left} of {batch.rows} rows had no outcome"
    return error(
        "deadline",
        f"{running.call.method} was not done when its time was over; {left}",
        maybe_executed=running.call.committed,
        details={
            "where": "worker" if running.rows else "queue",
            "done": batch.done,
            "failed": batch.failed,
            "left": batch.left,
        },
    )
