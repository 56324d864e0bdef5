"""A ROW of a batch as a call: who makes it, and who hears of it.

To workers and queues it is a call as any other, such as a `program.predict`. Its outcome goes to the
batch; what it asks of the host goes to the client, as of the client's own call, which is the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dspex_protocol import CALL, CANCEL, CREDIT, REPLY, Meta, decode_envelope, encode
from dspex_protocol.frame import HEADER_BYTES

from .calls import Call, Caller, Outlet
from .errands import NOT_FOR_WORKERS

if TYPE_CHECKING:
    from .worker import Callback


class Row:
    """The caller of one row.

    Args:
        outer: The client's call.
        host: The client.
        index: Which row.
        method: What the worker is asked.
        payload: For the worker.
        entry_bytes: How much longer its entry may be than the worker's answer.
        now_s: The time.
        deadline_s: When its time is over; that of the batch at the latest.
        ended: Is called when it has had its outcome.

    Attributes:
        call: To be opened and placed as any other.
        kind: REPLY or FAIL, once it has ended.
        meta: Of that.
        payload: Of that.
    """

    def __init__(
        self,
        outer: Call,
        host: Caller,
        index: int,
        method: str,
        payload: bytes,
        *,
        entry_bytes: int,
        now_s: float,
        deadline_s: float,
        ended: Callable[[Row], None],
    ) -> None:
        self.link: Outlet = self
        self.calls: dict[int, Call] = {}
        self.callbacks: dict[int, Callback] = host.callbacks
        self.max_frame_bytes = max(0, host.max_frame_bytes - entry_bytes)
        self.tenant = host.tenant
        self.index = index
        self.kind = 0
        self.meta: Meta = {}
        self.payload = b""
        self._outer = outer
        self._host = host
        self._ended = ended
        meta: Meta = {key: value for key, value in outer.meta.items() if key not in NOT_FOR_WORKERS}
        meta["deadline_ms"] = max(1, int((deadline_s - now_s) * 1000))
        self.call = call = Call(self, 1, method, meta, payload, now_s)
        call.is_errand = True
        call.deadline_s = deadline_s
        call.priority, call.lane = outer.priority, outer.lane
        call.tenant, call.depth = outer.tenant, outer.depth
        call.wanted, call.record = outer.wanted, outer.record

    @property
    def is_clogged(self) -> bool:
        """It always listens: the batch begins no rows for a client that does not."""
        return False

    @property
    def is_done(self) -> bool:
        """Whether a worker has answered."""
        return self.kind == REPLY

    def next_callback_id(self) -> int:
        """Of the client's."""
        return self._host.next_callback_id()

    def send(self, frame: bytes) -> None:
        """Hear what becomes of it, or pass on what it asks of the host."""
        body = frame[HEADER_BYTES:]
        envelope = decode_envelope(body)
        payload = body[envelope.payload_at :]
        if envelope.kind == CALL:
            self._outer.committed = True
            meta: Meta = {**envelope.meta, "parent": self._outer.id}
            self._host.link.send(encode(CALL, envelope.id, envelope.method, meta, payload))
        elif envelope.kind in (CANCEL, CREDIT):
            self._host.link.send(frame)
        else:
            self.kind, self.meta, self.payload = envelope.kind, envelope.meta, payload

    def call_ended(self) -> None:
        """It has had its outcome."""
        self._ended(self)
