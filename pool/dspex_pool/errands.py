"""AN ERRAND: a call to a worker that the supervisor makes itself, on behalf of a client's call.

To create a program a worker must check it, and then the store must keep it. The client's call
is open all the while and has one outcome; what the worker does for it is a call of its own,
with the same deadline, and given up with the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dspex_protocol import (
    CALL,
    FAIL,
    REPLY,
    Meta,
    decode_envelope,
    decode_failure,
    encode_failure,
    error,
)
from dspex_protocol.frame import HEADER_BYTES

from . import callbacks
from .calls import Call, Outlet
from .ports import Promise

if TYPE_CHECKING:
    from .worker import Callback

NO_LIMIT: Final = 1 << 32
"""A worker's answer is not for a client, so no client's limit counts; the wire's does."""

NOT_FOR_WORKERS: Final = frozenset(("program", "version", "tag", "session", "write_id", "credit", "parent"))
"""What the client's meta says to us; the rest, such as a trace, goes with the errand."""


class Errand:
    """The caller of one call of ours.

    Args:
        outer: The client's call.
        method: What the worker is asked for.
        meta: For the worker; the deadline is put in.
        payload: For the worker.
        answer: Gets the payload of the worker's REPLY, or the error of its FAIL.
        now_s: The time.

    Attributes:
        call: To be opened and placed as any other.
    """

    def __init__(
        self, outer: Call, method: str, meta: Meta, payload: bytes, answer: Promise[bytes], now_s: float
    ) -> None:
        self.link: Outlet = self
        self.calls: dict[int, Call] = {}
        self.callbacks: dict[int, Callback] = {}
        self.max_frame_bytes = NO_LIMIT
        self.tenant = ""
        self._answer = answer
        passed_on: Meta = {key: value for key, value in outer.meta.items() if key not in NOT_FOR_WORKERS}
        passed_on["deadline_ms"] = max(1, int((outer.deadline_s - now_s) * 1000))
        self.call = call = Call(self, 1, method, {**passed_on, **meta}, payload, now_s)
        call.is_errand = True
        call.deadline_s = outer.deadline_s
        call.priority, call.lane = outer.priority, outer.lane
        call.tenant, call.depth = outer.tenant, outer.depth
        call.record = outer.record

    @property
    def is_clogged(self) -> bool:
        """It always listens."""
        return False

    def next_callback_id(self) -> int:
        """There is at most one: it is refused at once."""
        return 1

    def call_ended(self) -> None:
        """Its outcome has been heard."""

    def send(self, frame: bytes) -> None:
        """Hear what becomes of the call."""
        body = frame[HEADER_BYTES:]
        envelope = decode_envelope(body)
        if envelope.kind == CALL:
            refusal = error("unknown_function", "the supervisor has no functions")
            callbacks.answer(self, envelope._replace(kind=FAIL), encode_failure(refusal))
        elif not self._answer.done():
            if envelope.kind == REPLY:
                self._answer.set_result(body[envelope.payload_at :])
            elif envelope.kind == FAIL:
                self._answer.set_exception(decode_failure(body[envelope.payload_at :]))
