"""A client in Python: for tests, the command line and load. The same protocol as any other.

async with Client.start() as client:
    prediction = await client.predict({"module": "Predict", "signature": "question -> answer"},
                                      {"question": "Why?"})
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, Unpack

from dspex_protocol import (
    CALL,
    CANCEL,
    CREDIT,
    FAIL,
    ITEM,
    NIL,
    NOTE,
    REPLY,
    DSPexError,
    Envelope,
    Meta,
    Oversized,
    Scalar,
    WireError,
    decode_envelope,
    decode_failure,
    decode_value,
    encode,
    encode_value,
    error,
)
from dspex_protocol.limits import MAX_FRAME_BYTES, PROTOCOL
from dspex_protocol.states import CALL as CALL_TABLE
from dspex_protocol.states import CallEvent, CallState, IllegalMove, move

from .addresses import read_socket
from .client_functions import ClientFunctions, calling_id
from .link import Link
from .offers import Offer, hello_payload
from .replies import (
    END,
    STREAM_CREDIT,
    Outcome,
    Pending,
    Prediction,
    Stream,
    fields_of,
    prediction_call,
    prediction_of,
)

HELLO_TIMEOUT_S: Final = 60.0
CONNECT_AGAIN_S: Final = 0.01


class Client:
    """One connection to a server.

    Built on descriptors by `Client(read_fd, write_fd, loop)`; usually `Client.start`
    starts a server of its own, or `Client.connect` finds one at its socket.

    Attributes:
        welcome: The server's reply to hello.
        notes: NOTEs that came, newest last, at most 1,000.
        strays: Frames for calls that were not open: 0 but for races with cancel.
    """

    def __init__(self, read_fd: int, write_fd: int, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._dirty: list[Link] = []
        self._flush_due = False
        self._pending: dict[int, Pending] = {}
        self._last_id = 0
        self._functions = ClientFunctions(loop, self._send)
        self._lost: DSPexError | None = None
        self._process: asyncio.subprocess.Process | None = None
        self.welcome: dict[str, object] = {}
        self.notes: list[tuple[str, object]] = []
        self.strays = 0
        self.link = Link(loop, read_fd, write_fd, self._dirty, MAX_FRAME_BYTES)
        self.link.on_bodies = self._take
        self.link.on_end = self._end
        self.link.start()

    # Starting and ending

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        *,
        command: Sequence[str] = (),
        flags: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        stderr: int | None = None,
        **offer: Unpack[Offer],
    ) -> AsyncGenerator[Self, None]:
        """Start a server, greet it, and end it afterwards.

        Args:
            command: How to start it; by default `python -m dspex_pool serve`.
            flags: Settings of the server, such as `("--workers", "4")`.
            environment: Added to this process's own.
            stderr: Descriptor for the server's log; by default this process's own stderr.
            offer: What the server is told of; `offers.Offer`.
        """
        argv = [*(command or (sys.executable, "-m", "dspex_pool", "serve")), *flags]
        server_in, our_out = os.pipe()
        our_in, server_out = os.pipe()
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=server_in,
            stdout=server_out,
            stderr=stderr,
            env={**os.environ, **(environment or {})},
        )
        os.close(server_in)
        os.close(server_out)
        client = cls(our_in, our_out, asyncio.get_running_loop())
        client._process = process
        try:
            await client.hello(**offer)
            yield client
        finally:
            await client.aclose()

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, address: str, **offer: Unpack[Offer]) -> AsyncGenerator[Self, None]:
        """Join the clients of a server that listens, and hang up afterwards.

        Args:
            address: `unix:PATH`.
            offer: What the server is told of; `offers.Offer`.

        Raises:
            CallerError: `invalid_argument` for another kind of address.
            OSError: when nobody listens there.
            TimeoutError: when the server does not take the connection in time.
        """
        connection = await _connect(read_socket(address, "address"))
        client = cls(connection, connection, asyncio.get_running_loop())
        try:
            await client.hello(**offer)
            yield client
        finally:
            await client.aclose()

    async def hello(self, **offer: Unpack[Offer]) -> None:
        """Greet the server, and tell it what this client offers.

        Raises:
            DSPexError: what its FAIL said, or `handshake_failed` when it does not answer
                as a DSPex server.
        """
        self._functions.by_name = dict(offer.get("functions") or {})
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            welcome = await self.call("system.hello", hello_payload(offer))
        if not isinstance(welcome, dict) or welcome.get("protocol") != PROTOCOL:  # pyright: ignore[reportUnknownMemberType]
            raise error("handshake_failed", "what answered is no DSPex server")
        self.welcome = welcome

    @property
    def server_pid(self) -> int:
        """The pid of the process that `start` started: the guardian."""
        assert self._process is not None
        return self._process.pid

    async def aclose(self) -> None:
        """Hang up; a server that this client started ends, and is waited for."""
        self.link.close()
        self._end(None)
        self._functions.cancel_all()
        if self._process is not None:
            await self._process.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, reason: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.aclose()

    # Calls

    async def call(self, method: str, payload: object = None, **meta: Scalar) -> object:
        """Call a method and return its result.

        Args:
            method: Such as `system.info`.
            payload: What it takes.
            meta: Such as `deadline_ms=1000`.

        Raises:
            DSPexError: what the FAIL said, or `connection_lost`.
        """
        return (await self.outcome(method, payload, **meta)).value

    async def outcome(self, method: str, payload: object = None, **meta: Scalar) -> Outcome:
        """Like `call`, with the meta of the reply. Cancelling the task cancels the call."""
        call_id, pending = self.open(method, payload, dict(meta), items=None)
        try:
            return await pending.answer
        except asyncio.CancelledError:
            self.cancel(call_id)
            raise

    async def predict(
        self, program: str | Mapping[str, object] | None, inputs: Mapping[str, object], **options: Any
    ) -> dict[str, object]:
        """Run a program and return its prediction's fields.

        Args:
            program: Id of a stored program, or a spec `{module, signature, options}`; None in a
                session, which has its program.
            inputs: Value by input field.
            options: `lm`, `config`, `adapter`, `on_violation`, `trace`, `history`; anything else is
                meta, such as `deadline_ms`, `session`, `version` or `tag`.
        """
        return (await self.prediction(program, inputs, **options)).fields

    async def prediction(
        self, program: str | Mapping[str, object] | None, inputs: Mapping[str, object], **options: Any
    ) -> Prediction:
        """Like `predict`, with all that the prediction says besides its fields."""
        payload, meta = prediction_call(program, inputs, options)
        return prediction_of(await self.outcome("program.predict", payload, **meta))

    async def part(self, name: str, inputs: Mapping[str, object], **meta: Scalar) -> dict[str, object]:
        """Run a part of the program in whose `forward` the calling function is.

        Returns:
            The fields of its prediction.

        Raises:
            DSPexError: also where the function is no program's `forward`.
        """
        payload = {"part": name, "inputs": dict(inputs)}
        return fields_of(await self.call("part.predict", payload, **meta))

    def stream(
        self, program: str | Mapping[str, object] | None, inputs: Mapping[str, object], **options: Any
    ) -> Stream:
        """Run a program and stream its tokens and status, or what `events` names."""
        payload, meta = prediction_call(program, inputs, options)
        return self.stream_call("program.predict", payload, **meta)

    def stream_call(self, method: str, payload: object, **meta: Scalar) -> Stream:
        """Call any method with credit for items."""
        credited: Meta = {"credit": STREAM_CREDIT, **meta}
        call_id, pending = self.open(method, payload, credited, items=asyncio.Queue())
        return Stream(call_id, self, pending)

    def open(
        self, method: str, payload: object, meta: Meta, items: asyncio.Queue[object] | None
    ) -> tuple[int, Pending]:
        """Send a CALL; the answer is a future."""
        if self._lost is not None:
            raise self._lost
        parent = calling_id()
        if parent is not None and "parent" not in meta:
            meta = meta | {"parent": parent}
        encoded = encode_value(payload)
        self._last_id += 1
        call_id = self._last_id
        pending = self._pending[call_id] = Pending(self._loop.create_future(), items)
        self._send(encode(CALL, call_id, method, meta, encoded))
        return call_id, pending

    def cancel(self, call_id: int) -> None:
        """Ask the server to stop a call; it still ends with one outcome."""
        pending = self._pending.get(call_id)
        if pending is not None and pending.state is CallState.OPEN:
            pending.state = move(CALL_TABLE, pending.state, CallEvent.CANCEL)
            self._send(encode(CANCEL, call_id, None, {}, NIL))

    def credit(self, call_id: int, count: int) -> None:
        """Let a stream go on."""
        if call_id in self._pending:
            self._send(encode(CREDIT, call_id, None, {"n": count}, NIL))

    def send_raw(self, data: bytes) -> None:
        """Put bytes on the wire as they are: for tests of bad input."""
        self._send(data)

    def _send(self, frame: bytes) -> None:
        self.link.send(frame)
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        while self._dirty:
            self._dirty.pop().flush()

    # Frames

    def _take(self, bodies: list[bytes | Oversized]) -> None:
        for body in bodies:
            if isinstance(body, Oversized):
                continue
            try:
                envelope = decode_envelope(body)
            except WireError as fault:  # then nothing that follows can be trusted
                self._end(fault)
                self.link.close()
                return
            payload = body[envelope.payload_at :]
            match envelope.kind:
                case kind if kind in (REPLY, FAIL):
                    self._ended(envelope, payload)
                case kind if kind == ITEM:
                    self._item(envelope, payload)
                case kind if kind == CALL:
                    self._functions.begin(envelope.id, payload, envelope.meta.get("credit"))
                case kind if kind == CANCEL:
                    self._functions.cancel(envelope.id)
                case kind if kind == CREDIT:
                    self._functions.add_credit(envelope.id, envelope.meta.get("n"))
                case kind if kind == NOTE:
                    self.notes.append((envelope.method or "", decode_value(payload)))
                    del self.notes[:-1000]
                case _:
                    pass

    def _ended(self, envelope: Envelope, payload: bytes) -> None:
        pending = self._pending.pop(envelope.id, None)
        if pending is None:
            self.strays += 1
            return
        pending.state = move(CALL_TABLE, pending.state, CallEvent.OUTCOME)
        self._settle(pending, envelope, payload)
        if pending.items is not None:
            pending.items.put_nowait(END)

    def _settle(self, pending: Pending, envelope: Envelope, payload: bytes) -> None:
        if pending.answer.done():
            return
        if envelope.kind == FAIL:
            pending.answer.set_exception(decode_failure(payload))
            return
        try:
            pending.answer.set_result(Outcome(value=decode_value(payload), meta=envelope.meta))
        except DSPexError as refusal:
            pending.answer.set_exception(refusal)

    def _item(self, envelope: Envelope, payload: bytes) -> None:
        pending = self._pending.get(envelope.id)
        if pending is None or pending.items is None:
            self.strays += 1
            return
        if envelope.meta.get("seq") != pending.next_seq:
            raise IllegalMove(f"item {envelope.meta.get('seq')} came, {pending.next_seq} was next")
        pending.next_seq += 1
        pending.items.put_nowait(decode_value(payload))

    def _end(self, reason: WireError | None) -> None:
        if self._lost is not None:
            return
        why = (
            "the server has ended the connection"
            if reason is None
            else f"the server broke the protocol: {reason}"
        )
        self._lost = error("connection_lost", why)
        for pending in self._pending.values():
            if not pending.answer.done():
                pending.answer.set_exception(self._lost)
                pending.answer.exception()  # nobody may be waiting any more
            if pending.items is not None:
                pending.items.put_nowait(END)
        self._pending.clear()


async def _connect(path: str) -> int:
    """A connection to the socket at a path, as a descriptor."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            while True:
                try:
                    connection.connect(path)
                except BlockingIOError:  # its queue is full, of which the kernel says no end
                    await asyncio.sleep(CONNECT_AGAIN_S)
                else:
                    return connection.detach()
