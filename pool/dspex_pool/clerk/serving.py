"""SERVING: the clerk's process: calls come, the handlers of their methods run, what these need is asked for.

Handlers run in one event loop, a slice of work at a time, so that each cancel is heard within the slice.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar, cast

from dspex_pool import endings
from dspex_pool.calls import Call
from dspex_pool.evaluation.methods import EvaluationMethods
from dspex_pool.experiments.records import Run
from dspex_pool.experiments.shelf import Shelf
from dspex_pool.greeting import HELLO_ID
from dspex_pool.jobs.shelf import Shelf as JobShelf
from dspex_pool.link import Link
from dspex_pool.ports import Stored
from dspex_pool.program_methods import Encoded, Handler
from dspex_pool.reports.methods import ReportMethods
from dspex_pool.reports.text import SendPiece
from dspex_pool.worker import Callback
from dspex_protocol import (
    CALL,
    CANCEL,
    FAIL,
    REPLY,
    DSPexError,
    Envelope,
    Meta,
    Oversized,
    WireError,
    decode_envelope,
    decode_failure,
    decode_value,
    encode,
    encode_failure,
    encode_value,
    error,
)
from dspex_protocol.frame import HEADER_BYTES
from dspex_protocol.limits import PROTOCOL, VERSION

from . import questions
from .far_store import FarStore

T = TypeVar("T")

MAX_FRAME: Final = 2**32 - 1
"""From the supervisor, which is not doubted: entries of the store, as many as one read has."""


class Client:
    """The client of one call, as far as the clerk knows it; `calls.Caller`.

    Args:
        link: To the supervisor.
        max_frame_bytes: Largest frame that the client accepts.
    """

    def __init__(self, link: Link, max_frame_bytes: int) -> None:
        self.link = link
        self.max_frame_bytes = max_frame_bytes
        self.calls: dict[int, Call] = {}
        self.callbacks: dict[int, Callback] = {}
        self.tenant = ""
        self.is_clogged = False

    def next_callback_id(self) -> int:
        """It is never called from here."""
        return 0

    def call_ended(self) -> None:
        """The supervisor tells it."""


class Slices:
    """Tasks of this process; `ports.Tasks`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine to its end."""
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def promise(self) -> asyncio.Future[Any]:
        """A future of the loop."""
        return self._loop.create_future()

    async def apart(self, work: Callable[[], T], /) -> T:
        """Do it here, after what has come meanwhile."""
        await asyncio.sleep(0)
        return work()


class Clerk:
    """All of the process. Build it, then `await run()`.

    Args:
        wire: Its descriptor.
        loop: Its event loop.
    """

    def __init__(self, wire: int, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ended: asyncio.Future[None] = loop.create_future()
        self._tasks = Slices(loop)
        self._link = Link(loop, wire, wire, [], MAX_FRAME)
        self._link.on_bodies = self._take
        self._link.on_end = self._end
        self._max_frame_bytes = MAX_FRAME
        self._calls: dict[int, tuple[Call, asyncio.Task[None]]] = {}
        self._questions: dict[int, asyncio.Future[bytes]] = {}
        self._last_question = 0
        self._handlers = self._build()

    def _build(self) -> Mapping[str, Handler]:
        store = FarStore(self._ask)
        # Nothing that reads makes an id or looks at the clock.
        stored = Stored(store=store, tasks=self._tasks, wall_ms=lambda: 0, new_id=str)
        evaluations = EvaluationMethods(stored)
        jobs = JobShelf(store, wall_ms=stored.wall_ms, new_id=stored.new_id)
        experiments = Shelf(store, new_id=stored.new_id, wall_ms=stored.wall_ms)

        async def runs(experiment: str) -> list[Run]:
            await self._ask(questions.RUNS, encode_value(experiment))
            return await experiments.runs(experiment)

        reports = ReportMethods(stored, evaluations, jobs, experiments, runs, self._pieces)
        return {**evaluations.handlers, **reports.handlers}

    async def run(self) -> None:
        """Serve until the supervisor is gone."""
        self._link.start()
        await self._ended

    def _end(self, reason: WireError | None) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    # From the supervisor

    def _take(self, bodies: list[bytes | Oversized]) -> None:
        for body in bodies:
            assert isinstance(body, bytes)
            envelope = decode_envelope(body)
            payload = body[envelope.payload_at :]
            if envelope.kind == CALL:
                self._begin(envelope, payload)
            elif envelope.kind == CANCEL and envelope.id in self._calls:
                call, task = self._calls[envelope.id]
                call.caller = None
                task.cancel()
            elif envelope.kind in (REPLY, FAIL):
                self._answered(envelope, payload)

    def _begin(self, envelope: Envelope, payload: bytes) -> None:
        if envelope.id == HELLO_ID:
            self._greet(payload)
            return
        assert envelope.method is not None
        limit = envelope.meta["max_frame_bytes"]
        assert isinstance(limit, int)
        call = Call(Client(self._link, limit), envelope.id, envelope.method, envelope.meta, payload, 0.0)
        self._calls[call.id] = call, self._loop.create_task(self._answer(call))

    def _greet(self, payload: bytes) -> None:
        hello = cast("dict[str, int]", decode_value(payload))
        self._max_frame_bytes = hello["max_frame_bytes"]
        welcome = {
            "protocol": PROTOCOL,
            "version": VERSION,
            "pid": os.getpid(),
            "methods": sorted(self._handlers),
            "effects": [],
        }
        self._send(encode(REPLY, HELLO_ID, None, {}, encode_value(welcome)))

    async def _answer(self, call: Call) -> None:
        try:
            value = await self._handlers[call.method](call)
            payload = value.payload if isinstance(value, Encoded) else encode_value(value)
            frame = encode(REPLY, call.id, None, {}, payload)
            if len(frame) - HEADER_BYTES > self._max_frame_bytes:
                raise endings.too_large(len(frame) - HEADER_BYTES, self._max_frame_bytes)
        except asyncio.CancelledError:
            frame = _fail(call.id, error("cancelled", "the call has ended"))
        except DSPexError as failure:
            frame = _fail(call.id, failure)
        except Exception as fault:  # here a task ends: without a word of it the call would stay open
            frame = _fail(call.id, error("internal", f"{call.method} failed: {type(fault).__name__}"))
        del self._calls[call.id]
        self._send(frame)

    # To the supervisor

    def _send(self, frame: bytes) -> None:
        self._link.send(frame)
        self._link.flush()

    async def _ask(self, question: str, payload: bytes, meta: Meta | None = None) -> bytes:
        self._last_question += 1
        number = self._last_question
        answer: asyncio.Future[bytes] = self._tasks.promise()
        self._questions[number] = answer
        self._send(encode(CALL, number, question, meta or {}, payload))
        try:
            return await answer
        finally:
            del self._questions[number]

    def _answered(self, envelope: Envelope, payload: bytes) -> None:
        answer = self._questions.get(envelope.id)
        if answer is None or answer.done():  # who asked was cancelled
            return
        if envelope.kind == FAIL:
            answer.set_exception(decode_failure(payload))
        else:
            answer.set_result(payload)

    @contextmanager
    def _pieces(self, call: Call) -> Generator[SendPiece]:
        yield partial(self._send_piece, call.id)

    async def _send_piece(self, call_id: int, piece: bytes) -> None:
        await self._ask(questions.PIECE, piece, {"call": call_id})


def _fail(call_id: int, failure: DSPexError) -> bytes:
    return encode(FAIL, call_id, None, {}, encode_failure(failure))
