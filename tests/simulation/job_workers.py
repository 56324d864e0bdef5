"""The process of a simulated job: it is given one, and does it as `dspex_bridge.jobs` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from dspex_protocol import (
    CALL,
    CANCEL,
    FAIL,
    NIL,
    NOTE,
    REPLY,
    Envelope,
    decode_envelope,
    decode_failure,
    decode_value,
    encode,
    encode_failure,
    encode_value,
    error,
)
from dspex_protocol.frame import HEADER_BYTES
from tests.support.tasks import HandPromise

from .bodies import NONSENSE, Body
from .job_attempts import Attempt
from .records import Violation

if TYPE_CHECKING:
    from .kernel import End
    from .processes import SimProcess
    from .world import World

LATE_S: Final = 0.05
STOPPING_S: Final = (0.0, 0.005, 0.1)


class JobWorker(Body):
    """One of them.

    Attributes:
        attempt: What it was given.
    """

    def __init__(self, world: World, process: SimProcess, end: End, boot_fault: str) -> None:
        self.attempt: Attempt | None = None
        self._call_id = 0
        self._last_ask = 0
        self._asks: dict[int, HandPromise[object]] = {}
        self._is_deaf = False
        super().__init__(world, process, end, boot_fault)

    def end(self) -> None:
        """Its process is gone."""
        super().end()
        if self.attempt is not None:
            self.attempt.stop()
        self.world.jobs.worker_ended(self)

    def drop(self) -> None:
        """The world is over."""
        if self.attempt is not None:
            self.attempt.stop()

    def chance(self, name: str) -> bool:
        """Whether a fault happens now."""
        return self.world.random.random() < self.world.job_faults.get(name, 0.0)

    # What it hears

    def was_told(self, frame: bytes, *, hears: bool) -> None:
        """See `Body`: whoever is told to stop is gone soon, or has said its last word."""
        if decode_envelope(frame[HEADER_BYTES:]).kind == CANCEL and hears:
            self.world.loop.call_later(self.world.config.grace_s + LATE_S, self._must_have_stopped)

    def _must_have_stopped(self) -> None:
        if not self.is_dead and not self.process.killed and not self.world.is_draining:
            raise Violation("P10", f"{self} was told to stop, and still runs {self.attempt}")

    def _read(self, data: bytes) -> None:
        for body in self._decoder.feed(data):
            if not isinstance(body, bytes):
                raise Violation("P8", f"{self} is sent a frame of {body.length} bytes")
            self._take(decode_envelope(body), body)
            if self.is_dead:
                return

    def _take(self, envelope: Envelope, body: bytes) -> None:
        payload = body[envelope.payload_at :]
        match envelope.kind:
            case kind if kind == CALL:
                self._called(envelope, decode_value(payload))
            case kind if kind == CANCEL and envelope.id == self._call_id:
                self._cancelled()
            case kind if kind in (REPLY, FAIL):
                promise = self._asks.pop(envelope.id, None)
                if promise is None:
                    raise Violation("P2", f"{self} is answered what it did not ask ({envelope.id})")
                if kind == FAIL:
                    promise.set_exception(decode_failure(payload))
                else:
                    promise.set_result(decode_value(payload))
            case _:
                pass

    def _called(self, envelope: Envelope, value: object) -> None:
        told = cast("dict[str, object]", value)
        match envelope.method:
            case "system.hello":
                self.number = cast("int", told["worker"])
                self._welcome(envelope.id)
            case "worker.configure":
                self.write(REPLY, envelope.id, None, {}, NIL)
            case "job.run":
                if self.attempt is not None or not self.number:
                    raise Violation("P10", f"{self} is given a second job: {told}")
                self._call_id = envelope.id
                self._is_deaf = self.chance("job_is_deaf")
                self.attempt = Attempt(self, told)
                self.attempt.begin()
            case method:
                raise Violation("P10", f"{self} runs a job and is sent {method}")

    def _welcome(self, call_id: int) -> None:
        if self.welcome(call_id, ["job.run"], ["job.run"]):
            self.world.trace("job worker ready", self.number)
            self.soon_over()

    def _cancelled(self) -> None:
        if not self._is_deaf:
            self.after(self.world.random.choice(STOPPING_S), self.fail, "cancelled", "it was told to stop")

    # What it says

    def ask(self, method: str, what: object) -> HandPromise[object]:
        """Ask the supervisor, or the host by `function.call`."""
        self._last_ask += 1
        promise = self._asks[self._last_ask] = HandPromise[object]()
        self.write(CALL, self._last_ask, method, {"parent": self._call_id}, encode_value(what))
        return promise

    def tell(self, method: str, what: dict[str, object]) -> None:
        """Say something that needs no answer."""
        self.write(NOTE, 0, method, {"call": self._call_id}, encode_value(what))

    def fail(self, code: str, message: str) -> None:
        """It comes to nothing."""
        self.reply(FAIL, encode_failure(error(code, message)))

    def reply(self, kind: int, payload: bytes) -> None:
        """Its last word, and perhaps the end of it before, in the middle or after."""
        if self.attempt is None or self.attempt.is_over:
            return
        self.attempt.stop()
        if self.chance("job_dies_before_its_reply"):
            self.exit("SIGSEGV")
        elif self.chance("job_dies_in_its_reply"):
            frame = encode(kind, self._call_id, None, {}, payload)
            self.write_bytes(frame[: len(frame) // 2])
            self.exit("SIGSEGV")
        else:
            self.write(kind, self._call_id, None, {}, payload)
            if self.chance("job_dies_after_its_reply"):
                self.exit("SIGSEGV")

    def stumble(self, names: tuple[str, ...]) -> None:
        """Perhaps it dies, freezes or talks nonsense here."""
        for name in names:
            if not self.is_dead and self.chance(name):
                self.world.trace("job stumbles", self.number, name)
                self._fall(name)

    def _fall(self, name: str) -> None:
        if name.startswith("job_freezes"):
            self.stop()
        elif name.startswith("job_talks"):
            self.write_bytes(NONSENSE)
        else:
            self.exit("SIGSEGV")

    def run_later(self, callback: Callable[[], None]) -> None:
        """Go on, if there is something to go on with."""
        self.after(0.0, self._go_on, callback)

    def _go_on(self, callback: Callable[[], None]) -> None:
        if self.attempt is not None and not self.attempt.is_over:
            callback()
