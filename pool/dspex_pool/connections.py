"""A CONNECTION: one client's connection, from hello to its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Protocol

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
    Hello,
    Oversized,
    Welcome,
    WireError,
    decode_envelope,
    decode_value,
    encode,
    encode_failure,
    encode_value,
    error,
    read_hello,
)
from dspex_protocol.limits import MAX_FRAME_BYTES
from dspex_protocol.records import read
from dspex_protocol.states import CONNECTION, ConnectionEvent, ConnectionState, move

from . import callbacks, metadata
from .calls import Call
from .history import Wanted
from .link import Link
from .operations import ListHistory, Recycle, Release, SpentBy
from .own_method import Nothing
from .switchboard import Switchboard
from .tenants import read_weights
from .worker import Callback

# A client that leaves this much unread gets no new work done until it has caught up …
CLOGGED_BYTES = 8 * 1024 * 1024
# … and beyond this it is not listened to either.
MAX_UNREAD_BYTES = 64 * 1024 * 1024
POOL_EVENTS = frozenset(("draining", "quarantined", "scaled", "zygote_died", "worker_boot_failed"))
"""What a host is told of the pool though it is about no one worker."""


class House(Protocol):
    """What a connection asks of the server around it."""

    def greet(self, connection: Connection, hello: Hello) -> Welcome:
        """Take what a client offers and say what it gets; may refuse."""
        ...

    def info(self) -> dict[str, object]:
        """A snapshot for `system.info`."""
        ...

    def recycle(self, worker: int | None) -> list[int]:
        """Replace a worker, or all; returns the numbers of those that will be."""
        ...

    def drain(self) -> None:
        """Let all open calls end, then end the server; `Connection.answer_drain` follows."""
        ...

    def leave(self, connection: Connection) -> None:
        """The client is to go, at its own word or the server's, and has had all its outcomes."""
        ...

    def lost(self, connection: Connection) -> None:
        """The client is gone."""
        ...


class Connection:
    """One client. Built on a link that is not started yet.

    Attributes:
        calls: Open calls of the client, by its id.
        callbacks: Open calls to the client, by our id.
        max_frame_bytes: Largest frame that the client accepts.
        number: It is the how manieth of this server.
        peer_pid: The client's process where it came by socket; None on stdio.
    """

    def __init__(
        self,
        link: Link,
        switchboard: Switchboard,
        house: House,
        number: int = 1,
        peer_pid: int | None = None,
    ) -> None:
        self.link = link
        self.peer_pid = peer_pid
        self.calls: dict[int, Call] = {}
        self.callbacks: dict[int, Callback] = {}
        self.max_frame_bytes = MAX_FRAME_BYTES
        self.tenant = f"client-{number}"
        self._number = number
        self._name = ""
        self.state = ConnectionState.NEW
        self._switchboard = switchboard
        self._house = house
        self._last_callback_id = 0
        self._goodbye_id: int | None = None
        self._drain_id: int | None = None
        self._notes: frozenset[str] = frozenset()
        self._local: dict[str, Callable[[Envelope, object], object]] = {
            "system.hello": self._hello,
            "system.ping": lambda envelope, value: value,
            "system.info": self._info,
            "system.goodbye": self._goodbye,
            "lm.usage": self._spent,
            "pool.recycle": self._recycle,
            "pool.drain": self._drain_all,
            "pool.quarantine": self._list_quarantine,
            "pool.release": self._release,
            "program.history": self._list_history,
        }
        link.on_bodies = self.take
        link.on_end = self._ended
        link.on_drained = self._drained

    @property
    def is_clogged(self) -> bool:
        """Whether the client has stopped reading."""
        return self.link.unread_bytes > CLOGGED_BYTES

    @property
    def awaits_drain(self) -> bool:
        """Whether it asked for a drain that is not over."""
        return self._drain_id is not None

    def next_callback_id(self) -> int:
        """A new id for a call to this client."""
        self._last_callback_id += 1
        return self._last_callback_id

    def take(self, bodies: list[bytes | Oversized]) -> None:
        """Handle the frames of one read."""
        for body in bodies:
            if isinstance(body, Oversized):
                self._oversized(body)
                continue
            try:
                envelope = decode_envelope(body)
            except WireError as fault:
                self._fault(fault)
                continue
            if envelope.kind == CALL:
                self._call(envelope, body[envelope.payload_at :])
            else:
                self._other(envelope, body)
        if self.link.unread_bytes > MAX_UNREAD_BYTES:
            self.link.pause()
        self._switchboard.flush()

    def _other(self, envelope: Envelope, body: bytes) -> None:
        kind = envelope.kind
        if kind in (REPLY, FAIL):
            callbacks.answer(self, envelope, body[envelope.payload_at :])
        elif kind == ITEM:
            callbacks.item(self, envelope, body[envelope.payload_at :])
        elif kind == CANCEL:
            self._switchboard.cancel(self, envelope.id)
        elif kind == CREDIT:
            self._switchboard.add_credit(self, envelope.id, envelope.meta)

    def _call(self, envelope: Envelope, payload: bytes) -> None:
        if envelope.id in self.calls:
            self._fault(
                WireError("call_id_reused", f"call {envelope.id} is still open; the new one is dropped")
            )
            return
        try:
            self._check_state(envelope.method)
            local = self._local.get(envelope.method or "")
            if local is None:
                self._switchboard.admit(self, envelope, payload)
            else:
                self._run_local(local, envelope, payload)
        except DSPexError as refusal:
            self._switchboard.outcomes.refuse(refusal)
            self.fail(envelope.id, refusal)

    def _check_state(self, method: str | None) -> None:
        if self.state is ConnectionState.OPEN:
            return
        if self.state is ConnectionState.DRAINING:
            raise error("draining", "the server is ending; no new calls are taken")
        if method != "system.hello":
            raise error("handshake_required", "the first call must be system.hello")

    def _run_local(
        self, local: Callable[[Envelope, object], object], envelope: Envelope, payload: bytes
    ) -> None:
        metadata.check_all(envelope.meta)
        result = local(envelope, decode_value(payload))
        if result is not _LATER:
            self.link.send(encode(REPLY, envelope.id, None, {}, encode_value(result)))

    def fail(self, call_id: int, failure: DSPexError) -> None:
        """End a call that was never admitted."""
        self.link.send(encode(FAIL, call_id, None, {}, encode_failure(failure)))

    def note(self, method: str, value: object) -> None:
        """Tell the client something."""
        self.link.send(encode(NOTE, 0, method, {}, encode_value(value)))

    def tell(self, level: str, event: str, fields: dict[str, object]) -> None:
        """Tell a client what the log says, where it wants to know.

        Lines about a worker, and some others, are events of the pool as well.
        """
        plain = {
            name: value if isinstance(value, int | float) else str(value) for name, value in fields.items()
        }
        if "event" in self._notes and ("worker" in fields or event in POOL_EVENTS):
            self.note("pool.event", {"event": event, **plain})
        if "log" in self._notes:
            self.note("log.line", {"level": level, "event": event, **plain})

    def snapshot(self) -> dict[str, object]:
        """Who it is and what it has, as plain values."""
        return {
            "client": self._number,
            "name": self._name,
            "tenant": self.tenant,
            "transport": "stdio" if self.peer_pid is None else "unix",
            "peer_pid": self.peer_pid,
            "open_calls": len(self.calls),
        }

    @property
    def number(self) -> int:
        """By which it is told from others, as in `snapshot`."""
        return self._number

    def drain(self) -> None:
        """The server is to end: take no more calls; leave when the open ones have ended."""
        if self.state is ConnectionState.OPEN:
            self.state = move(CONNECTION, self.state, ConnectionEvent.GOODBYE)
            self.call_ended()

    def close(self, code: str, message: str) -> None:
        """End the connection now, with a last word and no more outcomes."""
        if self.state is ConnectionState.CLOSED:
            return
        self.note("system.closing", {"code": code, "message": message})
        self.link.flush()
        self.hang_up()

    def hang_up(self) -> None:
        """End the connection; what the client had asked for is given up."""
        if self.state is ConnectionState.CLOSED:
            return
        self.link.close()
        self._ended(None)

    def call_ended(self) -> None:
        """One of its calls has had its outcome."""
        if self.state is not ConnectionState.DRAINING or self.calls:
            return
        if self._goodbye_id is not None:
            self.link.send(encode(REPLY, self._goodbye_id, None, {}, NIL))
            self._goodbye_id = None
        elif self._drain_id is None:  # else it is answered when the others have left too
            self.note("system.closing", {"code": "draining", "message": "the server was told to end"})
        self._house.leave(self)

    def answer_drain(self) -> None:
        """All clients have had all their outcomes: tell this one, if it is who asked for that."""
        if self._drain_id is not None:
            self.link.send(encode(REPLY, self._drain_id, None, {}, NIL))
            self._drain_id = None

    # Methods that the supervisor answers itself

    def _hello(self, envelope: Envelope, value: object) -> object:
        if self.state is not ConnectionState.NEW:
            raise error("handshake_repeated", "system.hello was called before on this connection")
        self.state = move(CONNECTION, self.state, ConnectionEvent.HELLO)
        try:
            hello = read_hello(value)
            read_weights(hello.tenants)  # before anything is taken of it
            welcome = self._house.greet(self, hello)
        except DSPexError:
            self.state = move(CONNECTION, self.state, ConnectionEvent.REFUSE)
            raise
        self.max_frame_bytes = hello.max_frame_bytes
        self.tenant = hello.tenant or self.tenant
        self._name = hello.client
        self._switchboard.placing.tenants.set_weights(self, hello.tenants)
        self._notes = frozenset(hello.notes)
        self.state = move(CONNECTION, self.state, ConnectionEvent.WELCOME)
        return asdict(welcome)

    def _info(self, envelope: Envelope, value: object) -> object:
        _check_nothing(value)
        return self._house.info()

    def _goodbye(self, envelope: Envelope, value: object) -> object:
        _check_nothing(value)
        self.state = move(CONNECTION, self.state, ConnectionEvent.GOODBYE)
        self._goodbye_id = envelope.id
        self.call_ended()
        return _LATER

    def _spent(self, envelope: Envelope, value: object) -> object:
        return self._switchboard.spending.snapshot(read(SpentBy, value or {}).limit)

    def _recycle(self, envelope: Envelope, value: object) -> object:
        return {"workers": self._house.recycle(read(Recycle, value or {}).worker)}

    def _drain_all(self, envelope: Envelope, value: object) -> object:
        _check_nothing(value)
        self._drain_id = envelope.id
        self._house.drain()
        return _LATER

    def _list_quarantine(self, envelope: Envelope, value: object) -> object:
        _check_nothing(value)
        return self._switchboard.list_quarantine()

    def _release(self, envelope: Envelope, value: object) -> object:
        fingerprint = read(Release, value or {}).fingerprint
        return {"released": self._switchboard.quarantine.release(fingerprint)}

    def _list_history(self, envelope: Envelope, value: object) -> object:
        wish = read(ListHistory, value or {})
        named = {key: envelope.meta.get(key) for key in ("program", "version", "session", "tenant")}
        return self._switchboard.history.list(
            Wanted({**named, "worker": wish.worker}, wish.limit, wish.before)
        )

    # Faults and the end

    def _oversized(self, frame: Oversized) -> None:
        limit = self.link.max_frame_bytes
        fault = WireError(
            "frame_too_large",
            f"a frame of {frame.length} bytes; the limit is {limit}",
            details={"length": frame.length, "limit": limit},
        )
        try:
            envelope = decode_envelope(frame.head)
        except WireError:
            self._fault(fault)
            return
        if envelope.kind == CALL and envelope.id not in self.calls:
            self.fail(envelope.id, fault)
        elif envelope.kind in (REPLY, FAIL):
            callbacks.answer(
                self, envelope._replace(kind=FAIL), encode_failure(error("function_failed", fault.message))
            )
        elif envelope.kind == ITEM:
            callbacks.break_off(self, envelope.id, callbacks.too_large_item(frame.length))
        else:
            self._fault(fault)

    def _fault(self, fault: WireError) -> None:
        """Answer a frame that broke a rule; the connection goes on."""
        self._switchboard.outcomes.refuse(fault)
        call_id = fault.details.get("id")
        if fault.details.get("kind") == CALL and isinstance(call_id, int) and call_id not in self.calls:
            self.fail(call_id, fault)
        else:
            self.note(
                "system.fault", {"code": fault.code, "message": fault.message, "details": dict(fault.details)}
            )

    def _drained(self) -> None:
        if not self.is_clogged:
            self.link.start()
            self._switchboard.client_reads_again(self)

    def _ended(self, reason: WireError | None) -> None:
        if self.state is ConnectionState.CLOSED:
            return
        if reason is not None:
            self.note("system.closing", {"code": reason.code, "message": reason.message})
        self.state = ConnectionState.CLOSED
        self._switchboard.client_gone(self)
        self._switchboard.placing.tenants.forget_weights(self)
        self._house.lost(self)
        self._switchboard.flush()  # the others' server goes on: its workers must hear of the cancels


def _check_nothing(value: object) -> None:
    read(Nothing, {} if value is None else value)


class _Later:
    """The result of a local method that answers by itself."""


_LATER = _Later()
