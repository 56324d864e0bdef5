"""A scripted worker: speaks the hop protocol of docs/protocol.md section 9, and breaks it as told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from dspex_protocol import (
    CALL,
    CANCEL,
    CREDIT,
    FAIL,
    ITEM,
    NIL,
    NOTE,
    REPLY,
    Envelope,
    Meta,
    decode_envelope,
    decode_value,
    encode_failure,
    encode_value,
    error,
)
from dspex_protocol.frame import HEADER_BYTES

from .asks import Ask
from .bodies import Body
from .executions import Running
from .faults import EXECUTION
from .records import Violation
from .settings import is_elastic
from .worker_sessions import WorkerSessions

if TYPE_CHECKING:
    from .kernel import End
    from .processes import SimProcess
    from .world import World

INLINE: Final = frozenset(
    (
        "system.echo",
        "program.build",
        "program.revise",
        "program.load",
        "program.forget",
        "session.load",
        "session.forget",
        "worker.configure",
        "worker.warm_up",
        "lm.list",
    )
)
UNANSWERED: Final = INLINE - {"system.echo", "program.build", "program.revise", "lm.list"}
"""Of those, what the supervisor itself wants done; it does not wait for the answers."""
METHODS: Final = sorted(INLINE | {"program.predict", "tool.pay"})
JOB_CHECK: Final = "job.check"
"""Which only workers of worlds with jobs have: it would be another world for all others."""
EFFECTS: Final = ["tool.pay"]
"""A plug-in's method that must not be run twice."""

FIRST_MB: Final = 20
MAX_SESSIONS: Final = 3
"""Few, so that workers are told to forget some."""
EARLY_DEATH_S: Final = 1.0
"""A worker that has lived so long is of use, whatever it has done."""


class SimWorker(Body):
    """One worker process, from its boot to its end.

    Attributes:
        is_proven: It has begun or answered a call.
        private_mb: Memory that it shares with nobody.
    """

    def __init__(self, world: World, process: SimProcess, end: End, boot_fault: str) -> None:
        self.is_proven = False
        self.private_mb = FIRST_MB
        self.running: dict[int, Running] = {}
        self.asks: dict[int, Running] = {}
        self.ended_ids: list[int] = []
        self.programs: dict[tuple[object, object], int] = {}
        self.sessions = WorkerSessions()
        self._last_ask = 0
        self._answered: set[int] = set()
        self._last_ended_s = 0.0
        super().__init__(world, process, end, boot_fault)

    def end(self) -> None:
        """Its process is gone, and its descriptors with it."""
        super().end()
        for running in self.running.values():
            running.stop()

    def is_at_work(self, for_s: float) -> bool:
        """Whether it has been ready for a while and there is nothing the matter with it."""
        is_fine = not (self.was_stopped or self.process.killed or self.has_misspoken)
        return is_fine and self.ready_s is not None and self.world.now_s >= self.ready_s + for_s

    @property
    def may_be_recycled(self) -> bool:
        """Whether it has lived so long, or grown so large, that it may be made to give way."""
        config = self.world.config
        if config.memory_hard_mb and self.private_mb - FIRST_MB >= config.memory_hard_mb:
            return True
        lived_s = self.world.now_s - (self.ready_s or 0)
        return is_elastic(config) and lived_s >= config.drain_s

    def idle_since_s(self, running: Sequence[object]) -> float:
        """Since when it has nothing to do and could do something; infinity where it has or could not."""
        if self.ready_s is None or running or self.was_stopped or self.process.killed:
            return float("inf")
        return max(self.ready_s, self._last_ended_s)

    def was_told(self, frame: bytes, *, hears: bool) -> None:
        """The supervisor says something to it, or to nobody where its wire is closed."""
        kind, call_id, _, meta, payload_at = decode_envelope(frame[HEADER_BYTES:])
        if kind == CALL:
            if not hears and "nonce" in meta:
                raise Violation("P3", f"{self} is given a call although its wire is closed")
            self.world.history.sent_to_worker(self, call_id, _nonce_of(meta, payload_at, frame))

    # Frames

    def _read(self, data: bytes) -> None:
        taken_up: list[Running] = []
        for body in self._decoder.feed(data):
            if not isinstance(body, bytes):
                raise Violation("P8", f"{self} is sent a frame of {body.length} bytes")
            self._take(decode_envelope(body), body, taken_up)
            if self.is_dead:
                return
        if taken_up:
            self._announce(taken_up)

    def _take(self, envelope: Envelope, body: bytes, taken_up: list[Running]) -> None:
        kind, call_id = envelope.kind, envelope.id
        if kind == CALL:
            self._call(envelope, decode_value(body[envelope.payload_at :]), taken_up)
        elif kind == CANCEL and call_id in self.running:
            self.running[call_id].cancel()
        elif kind == CREDIT and call_id in self.running:
            count = envelope.meta["n"]
            assert isinstance(count, int)
            self.running[call_id].add_credit(count)
        elif kind in (REPLY, FAIL):
            running = self.asks.pop(call_id, None)
            if running is not None:
                self._answered.add(call_id)
                running.heard(call_id, kind, decode_value(body[envelope.payload_at :]))
        elif kind == ITEM:
            if call_id in self._answered:
                raise Violation("P2", f"{self} gets an item of what was answered")
            if call_id in self.asks:
                seq = envelope.meta.get("seq")
                self.asks[call_id].heard_item(call_id, seq, decode_value(body[envelope.payload_at :]))

    def _call(self, envelope: Envelope, value: object, taken_up: list[Running]) -> None:
        call_id, method = envelope.id, envelope.method
        if method == "system.hello":
            assert isinstance(value, dict)
            self._hello(call_id, value["worker"])
        elif not self.number:
            raise Violation("P2", f"{self} is sent {method} before its hello")
        elif method in INLINE or method == JOB_CHECK:
            self._inline(envelope, value)
        elif method not in METHODS:
            self.end_call(call_id, FAIL, encode_failure(error("unknown_method", f"no {method}")))
        else:
            assert isinstance(value, dict)
            running = Running(self, call_id, envelope, value)
            if running.is_lost:
                failure = error("unknown_session", f"it is not here at turn {envelope.meta['turn']}")
                self.end_call(call_id, FAIL, encode_failure(failure))
                return
            self.running[call_id] = running
            taken_up.append(running)

    def _hello(self, call_id: int, number: object) -> None:
        assert isinstance(number, int)
        self.number = number
        methods = [*METHODS, JOB_CHECK] if self.world.common.has_jobs else METHODS
        if self.welcome(call_id, methods, EFFECTS):
            self.world.loop.call_later(EARLY_DEATH_S, self._has_lived)
            self.world.processes.got_ready()
            self.world.trace("ready", number)
            self.soon_over()

    def _has_lived(self) -> None:
        if not self.is_dead:
            self.prove()

    def _inline(self, envelope: Envelope, value: object) -> None:
        """What runs at once, unannounced."""
        call_id, method = envelope.id, envelope.method
        if method in UNANSWERED:
            self._keep(envelope, value)
            self.write(REPLY, call_id, None, {}, NIL)
            return
        assert isinstance(value, dict)
        self.world.history.began(self, call_id)
        fault = self.world.faults.draw(self.world.random, EXECUTION)
        if fault == "crash_before":
            self.exit("SIGSEGV")
            return
        result = value
        if method == JOB_CHECK:
            result = {"programs": [], "datasets": []}  # it names nothing that is stored
        elif method == "program.build":
            result = record_of(value["spec"]["nonce"], None)
        elif method == "program.revise":
            result = record_of(value["spec"]["nonce"], self.programs[_program_of(envelope.meta)])
        self.end_call(call_id, REPLY, encode_value(result))
        if fault == "double_reply":
            self.write(REPLY, call_id, None, {}, encode_value(result))
        elif fault == "crash_after":
            self.exit("SIGSEGV")

    def _keep(self, envelope: Envelope, value: object) -> None:
        meta = envelope.meta
        match envelope.method:
            case "program.load":
                assert isinstance(value, dict)
                self.programs[_program_of(meta)] = value["spec"]["record"]
                self._check_programs()
            case "program.forget":
                self.programs.pop(_program_of(meta), None)
            case "session.load":
                self.sessions.load(meta, value)
                if len(self.sessions) > MAX_SESSIONS + self.world.config.calls_per_worker:
                    raise Violation("P16", f"{self} is given {len(self.sessions)} sessions")
            case "session.forget":
                self.sessions.forget(meta)
            case _:
                pass

    def _check_programs(self) -> None:
        """What it has is bounded, but for what its calls use."""
        most = self.world.config.programs_per_worker + len(self.world.history.running(self)) + 1
        if len(self.programs) > most:
            raise Violation("P16", f"{self} is given {len(self.programs)} programs, more than {most}")

    def _announce(self, taken_up: list[Running]) -> None:
        """Say that calls begin, before anything of them runs."""
        self.write(NOTE, 0, "call.started", {"up_to": taken_up[-1].id}, NIL)
        self._begin(taken_up)

    def _begin(self, taken_up: list[Running]) -> None:
        if not self.is_flushed:  # else it could die in a call that it never announced
            self.after(0.001, self._begin, taken_up)
            return
        self.prove()
        for running in taken_up:
            if not self.is_dead:
                running.begin(self.world.faults.draw(self.world.random, EXECUTION))

    # What executions ask of it

    def prove(self) -> None:
        """It is of use."""
        if not self.is_proven:
            self.is_proven = True
            self.world.processes.proved()

    def end_call(self, call_id: int, kind: int, payload: bytes, meta: Meta | None = None) -> None:
        """Write the outcome of a call."""
        self.prove()
        self.running.pop(call_id, None)
        self.ended_ids.append(call_id)
        self._last_ended_s = self.world.now_s
        self.write(kind, call_id, None, meta or {}, payload)
        self.world.history.ended(self, call_id)

    def ask(self, running: Running, ask: Ask, items: int) -> int:
        """Call the host; returns the id."""
        self._last_ask += 1
        self.asks[self._last_ask] = running
        args = {"nonce": ask.nonce, "within": running.nonce, "items": items}
        payload = encode_value({"function": "ask", "args": args})
        meta: Meta = {"parent": running.id, "credit": ask.credit}
        self.write(CALL, self._last_ask, "function.call", meta, payload)
        return self._last_ask

    def unask(self, ask_id: int) -> None:
        """The answer is not wanted any more."""
        if self.asks.pop(ask_id, None) is not None:
            self.write(CANCEL, ask_id, None, {}, NIL)


def _nonce_of(meta: Meta, payload_at: int, frame: bytes) -> object:
    """Of the call; of a row of a batch, its own, since its meta is the batch's."""
    if "rows" not in meta:
        return meta.get("nonce")
    payload = decode_value(frame[HEADER_BYTES + payload_at :])
    assert isinstance(payload, dict)
    return payload["inputs"]["nonce"]


def _program_of(meta: Meta) -> tuple[object, object]:
    return meta.get("program"), meta.get("version")


def record_of(nonce: int, base: int | None) -> dict[str, object]:
    """What the supervisor stores of a program; by `record` it is known again."""
    spec = {"module": "Sim", "record": nonce, "base": base}
    return {"spec": spec, "state": {}, "dspy": "0", "schema": 1}
