"""A client that writes down every frame that ends or feeds a call, before it acts on it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from time import monotonic
from typing import Any, Final, cast

from dspex_pool.client import Client
from dspex_pool.replies import Pending
from dspex_protocol import FAIL, DSPexError, Envelope, Meta, Oversized, Tagged, decode_failure, decode_value

from .history import CallRecord, Death, History, Kind, Outcome
from .plants import Plant

NONCE: Final = re.compile(r"nonce-\d+")
_WITH_REASON: Final = frozenset(("worker_died", "worker_recycled", "worker_retiring"))


class Recorder(Client):
    """A client with a history.

    Attributes:
        history: Where it writes.
        plant: Bends frames on their way in, to see that the checks notice; None as a rule.
    """

    def __init__(self, read_fd: int, write_fd: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(read_fd, write_fd, loop)
        self.history = History()
        self.plant: Plant | None = None
        self._last_nonce = 0

    def next_nonce(self) -> str:
        """A word that no other call has."""
        self._last_nonce += 1
        return f"nonce-{self._last_nonce}"

    def begin(
        self,
        kind: Kind,
        method: str,
        payload: Mapping[str, object],
        nonce: str,
        *,
        deadline_s: float,
        **meta: Any,
    ) -> tuple[CallRecord, Pending]:
        """Send a call and write it down."""
        now_s = monotonic()
        given: Meta = {"deadline_ms": int(deadline_s * 1000), **meta}
        items: asyncio.Queue[object] | None = asyncio.Queue() if "credit" in meta else None
        call_id, pending = self.open(method, payload, given, items=items)
        record = CallRecord(id=call_id, kind=kind, nonce=nonce, sent_s=now_s, deadline_s=now_s + deadline_s)
        self.history.opened(record)
        return record, pending

    def give_up(self, record: CallRecord) -> None:
        """Cancel a call and write it down."""
        if not record.outcomes and record.cancelled_s is None:
            record.cancelled_s = monotonic()
            self.cancel(record.id)

    def take_notes(self) -> None:
        """Move what the server announced into the history."""
        taken = self.notes[:]
        self.notes.clear()
        for method, value in taken:
            note = cast("dict[str, Any]", value)
            if method == "pool.event":
                self._note_event(note)
            else:
                self.history.complaints.append(f"{method}: {note}")

    def _note_event(self, note: dict[str, Any]) -> None:
        name, now_s = str(note.get("event")), monotonic()
        reason = note.get("reason")
        self.history.events[f"{name}: {reason}" if name in _WITH_REASON else name] += 1
        if name == "worker_died":
            self.history.died(Death(at_s=now_s, worker=int(note["worker"]), reason=str(reason)))
        elif name == "worker_ready":
            self.history.got_ready(now_s)

    def _take(self, bodies: list[bytes | Oversized]) -> None:
        super()._take(bodies)
        self.take_notes()

    def _ended(self, envelope: Envelope, payload: bytes) -> None:
        bent = [(envelope, payload)] if self.plant is None else self.plant.bend(envelope, payload)
        for one, content in bent:
            self._note_end(one, content)

    def _note_end(self, envelope: Envelope, payload: bytes) -> None:
        self.take_notes()  # they were announced before the calls that they ended
        if envelope.id not in self._pending and envelope.id not in self.history.records:
            self.history.strays += 1
        self.history.ended(envelope.id, read_outcome(envelope, payload, monotonic()))
        super()._ended(envelope, payload)

    def _item(self, envelope: Envelope, payload: bytes) -> None:
        item = decode_value(payload)
        nonce = cast("dict[str, object]", item).get("nonce") if isinstance(item, dict) else None
        self.history.item(envelope.id, envelope.meta.get("seq"), nonce)
        super()._item(envelope, payload)


def read_outcome(envelope: Envelope, payload: bytes, now_s: float) -> Outcome:
    """What a REPLY or FAIL says."""
    if envelope.kind != FAIL:
        return _read_result(decode_value(payload), now_s)
    failure: DSPexError = decode_failure(payload)
    nonce = failure.details.get("nonce")
    if nonce is None and (found := NONCE.search(failure.message)):
        nonce = found[0]
    beside = failure.details.get("beside")
    return Outcome(
        at_s=now_s,
        code=failure.code,
        nonce=None if nonce is None else str(nonce),
        beside=beside if isinstance(beside, int) else 0,
        maybe_executed=failure.maybe_executed,
        details=dict(failure.details),
    )


def _read_result(value: object, now_s: float) -> Outcome:
    match value:
        case {"nonce": str(nonce), "beside": int(beside)}:
            return Outcome(at_s=now_s, code="ok", nonce=nonce, beside=beside)
        case Tagged(tag="prediction", value={"fields": {"answer": str(answer)}}):
            return Outcome(at_s=now_s, code="ok", nonce=answer)
        case _:
            return Outcome(at_s=now_s, code="ok")
