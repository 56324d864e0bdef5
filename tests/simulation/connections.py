"""A client's end of one connection: frames out and in, and the calls that are open on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from dspex_protocol import (
    CALL,
    CANCEL,
    CREDIT,
    FAIL,
    ITEM,
    NIL,
    REPLY,
    FrameDecoder,
    Meta,
    decode_envelope,
    decode_value,
    encode,
    encode_value,
)

from .asks import Answer
from .links import WatchedLink
from .records import CallRecord, Violation
from .toil import FUNCTION

if TYPE_CHECKING:
    from dspex_pool.link import Link

    from .world import World


class Owner(Protocol):
    """Who decides what happens on a connection."""

    def outcome(self, call: CallRecord, kind: int, value: object) -> None:
        """A call has ended."""
        ...

    def item(self, call: CallRecord) -> None:
        """An item of a stream has come."""
        ...

    def called(self, callback_id: int, parent: CallRecord, nonce: int) -> None:
        """The server calls a function."""
        ...

    def called_by_job(self, callback_id: int, key: bytes) -> None:
        """A job calls a function."""
        ...

    def credited(self, callback_id: int, parent: CallRecord) -> None:
        """The server takes more items of a function."""
        ...

    def lost(self) -> None:
        """The server has hung up."""
        ...


class Connection:
    """One connection.

    Attributes:
        name: For people.
        link: The supervisor's end.
        open_calls: Calls without an outcome, by id.
        callbacks: Calls of the server that wait for an answer, by its id.
        answers: How far each answer has come.
        asked_by_jobs: Ids of calls of jobs that wait for an answer.
        is_lost: It has ended.
        said_goodbye: The client was about to end it.
        slow_until_s: Until when it did not read.
    """

    def __init__(self, world: World, name: str, owner: Owner, dirty: list[Link]) -> None:
        self.name = name
        self._world = world
        self._owner = owner
        descriptor, self._end = world.kernel.socket_pair()
        self.link = WatchedLink(world, descriptor, dirty)
        self.link.said = lambda frame: world.history.said_to_client(self, frame)
        self.link.was_closed = lambda: world.history.client_gone(self)
        self._decoder = FrameDecoder()
        self.open_calls: dict[int, CallRecord] = {}
        self.callbacks: dict[int, CallRecord] = {}
        self.answers: dict[int, Answer] = {}
        self.asked_by_jobs: set[int] = set()
        self.is_lost = False
        self.said_goodbye = False
        self.slow_until_s = 0.0
        self._written = 0
        self._under_way: deque[tuple[int, Callable[[], None]]] = deque()
        self._end.outgoing.when_taken = self._taken
        self._end.on_data = self._read
        self._end.on_end = self._hung_up_on
        self._end.start()

    # Out

    def call(self, call: CallRecord, meta: Meta, payload: bytes) -> None:
        """Make a call."""
        self._world.history.called(call)
        self.open_calls[call.id] = call
        call.bytes = len(payload)
        call.credit_sent = call.credit_arrived = int(meta.get("credit") or 0)
        frame = encode(CALL, call.id, call.method, meta, payload)
        self._write(frame, lambda: self._world.history.call_arrived(call))

    def cancel(self, call: CallRecord) -> None:
        """Give a call up."""
        if not self.is_lost:
            frame = encode(CANCEL, call.id, None, {}, NIL)
            self._write(frame, lambda: self._world.history.cancel_arrived(call))

    def allow(self, call: CallRecord, count: int) -> None:
        """Take further items."""
        call.credit_sent += count
        frame = encode(CREDIT, call.id, None, {"n": count}, NIL)
        self._write(frame, lambda: self._world.history.credit_arrived(call, count))

    def answer(self, callback_id: int, kind: int, value: object) -> None:
        """Answer a callback, one's own or none."""
        self._forget_callback(callback_id)
        self.write_bytes(encode(kind, callback_id, None, {}, encode_value(value)))

    def send_item(self, callback_id: int, seq: int, value: object) -> None:
        """Send a piece of an answer."""
        self.write_bytes(encode(ITEM, callback_id, None, {"seq": seq}, encode_value(value)))

    def _forget_callback(self, callback_id: int) -> None:
        self.callbacks.pop(callback_id, None)
        self.answers.pop(callback_id, None)
        self.asked_by_jobs.discard(callback_id)

    def write_bytes(self, data: bytes) -> None:
        """Write anything."""
        self._write(data, lambda: None)

    def _write(self, data: bytes, arrived: Callable[[], None]) -> None:
        if not self.is_lost:
            self._written += len(data)
            self._under_way.append((self._written, arrived))
            self._end.write(data)

    def _taken(self, count: int) -> None:
        while self._under_way and self._under_way[0][0] <= count:
            self._under_way.popleft()[1]()

    # In

    def read_slowly(self, pause_s: float) -> None:
        """Do not read for a while."""
        self.slow_until_s = max(self.slow_until_s, self._world.now_s + pause_s + 0.1)
        self._end.deafen()
        self._world.loop.call_later(pause_s, self._end.start)

    def _read(self, data: bytes) -> None:
        for body in self._decoder.feed(data):
            if not isinstance(body, bytes):
                raise Violation("P8", f"{self.name} is sent a frame of {body.length} bytes")
            kind, frame_id, _, meta, payload_at = decode_envelope(body)
            payload = body[payload_at:]
            if kind in (REPLY, FAIL):
                self._outcome(kind, frame_id, meta, payload)
            elif kind == ITEM:
                self._item(frame_id, meta, payload)
            elif kind == CALL:
                self._callback(frame_id, meta, payload)
            elif kind == CANCEL:
                self._forget_callback(frame_id)
            elif kind == CREDIT:
                self._credit(frame_id, meta)

    def _credit(self, callback_id: int, meta: Meta) -> None:
        answer = self.answers.get(callback_id)
        if answer is not None:  # else it is for one that was answered just now
            count = meta["n"]
            assert isinstance(count, int)
            answer.credit += count
            self._owner.credited(callback_id, self.callbacks[callback_id])

    def _outcome(self, kind: int, call_id: int, meta: Meta, payload: bytes) -> None:
        call = self.open_calls.pop(call_id, None)
        if call is None:
            raise Violation("P1", f"{self.name} hears an outcome for {call_id}, which is not open")
        value = decode_value(payload)
        self._world.history.outcome_seen(call, kind, dict(meta), value)
        self._owner.outcome(call, kind, value)

    def _item(self, call_id: int, meta: Meta, payload: bytes) -> None:
        call = self.open_calls.get(call_id)
        if call is None:
            raise Violation("P1", f"{self.name} hears an item for {call_id}, which is not open")
        self._world.history.item_seen(call, meta.get("seq"), decode_value(payload))
        self._owner.item(call)

    def _callback(self, callback_id: int, meta: Meta, payload: bytes) -> None:
        if "parent" not in meta:
            self._called_by_job(callback_id, decode_value(payload))
            return
        parent_id = meta.get("parent")
        parent = self.open_calls.get(parent_id) if isinstance(parent_id, int) else None
        value = decode_value(payload)
        args = value["args"] if isinstance(value, dict) else None
        if parent is None or not isinstance(args, dict) or not _is_within(parent, args["within"]):
            raise Violation("P2", f"{self.name} is called within {parent}: {value!r}")
        if callback_id in self.callbacks:
            raise Violation("P2", f"{self.name} is called twice with the id {callback_id}")
        self.callbacks[callback_id] = parent
        self.answers[callback_id] = Answer(
            nonce=args["nonce"], items=args.get("items", 0), credit=int(meta.get("credit") or 0)
        )
        self._owner.called(callback_id, parent, args["nonce"])

    def _called_by_job(self, callback_id: int, value: object) -> None:
        told = cast("dict[str, Any]", value)
        if told["function"] != FUNCTION or callback_id in self.asked_by_jobs:
            raise Violation("P2", f"{self.name} is called by a job: {callback_id} {told}")
        self.asked_by_jobs.add(callback_id)
        self._owner.called_by_job(callback_id, told["args"]["key"])

    # The end

    def hang_up(self) -> None:
        """End it, whatever is open."""
        if not self.is_lost:
            self._lose()
            self._end.close()

    def _hung_up_on(self) -> None:
        if not self.is_lost:
            self._lose()
            self._end.close()
            self._owner.lost()

    def _lose(self) -> None:
        self.is_lost = True
        self._world.trace("lost", self.name)
        self._world.history.connection_lost(self)
        self.open_calls.clear()
        self.callbacks.clear()
        self.answers.clear()
        self.asked_by_jobs.clear()


def _is_within(parent: CallRecord, nonce: object) -> bool:
    """Whether that is the call, or a row of it."""
    if parent.batch is not None:
        return parent.batch.row_within(nonce) is not None
    return parent.nonce == nonce
