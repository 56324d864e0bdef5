"""A call as it runs in a scripted worker: what its payload tells it to do, and a fault on the way."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Final

from dspex_protocol import (
    CALL,
    CREDIT,
    FAIL,
    ITEM,
    NIL,
    NOTE,
    REPLY,
    Envelope,
    Meta,
    encode,
    encode_failure,
    encode_value,
    error,
)

from .asks import Ask
from .bodies import NONSENSE
from .records import Execution, Violation

if TYPE_CHECKING:
    from .workers import SimWorker

Steps = Generator[float | None, None, None]
"""Seconds to wait; None waits until something comes."""

NEVER: Final = 1e6
LEAST_FOR_LARGE: Final = 2000  # through a narrower pipe it would take longer than calls have
LEAK_MB: Final = 5
BLOAT_MB: Final = 100
FORGED_ID: Final = 1 << 40
STOPPING_S: Final = (0.0, 0.0, 0.005, 0.03, 0.1)


class Running:
    """One call in one worker.

    The payload says what to do: `ms` to take, `items` to send, `asks` of the host, whether
    it `fails` or `kills` its worker, and how large (`size`) the answer is.
    """

    def __init__(self, worker: SimWorker, call_id: int, envelope: Envelope, value: dict[str, object]) -> None:
        self.id = call_id
        self._worker = worker
        self._world = worker.world
        self._meta = envelope.meta
        self._method = envelope.method
        inputs = value.get("inputs")
        self._script: dict[str, object] = inputs if isinstance(inputs, dict) else value
        # That which was there when the call came; it may be forgotten while the call runs.
        self._record = worker.programs.get((envelope.meta.get("program"), envelope.meta.get("version")))
        # So is the session: what becomes of it in the meantime is none of this call's.
        self._is_turn = "session" in envelope.meta
        self._session = worker.sessions.named(envelope.meta) if self._is_turn else None
        credit = envelope.meta.get("credit")
        self._credit = credit if isinstance(credit, int) else 0
        self._streams = self._credit > 0
        self._fault = ""
        self._execution: Execution | None = None
        self._steps: Steps | None = None
        self._awaited: dict[int, Ask] = {}  # without an answer
        self._is_cancelled = False
        self._turn = 0

    @property
    def is_lost(self) -> bool:
        """Its session is not here, or not at its turn."""
        return self._is_turn and self._session is None

    @property
    def nonce(self) -> int:
        """The call's own number."""
        return self._int("nonce")

    def _int(self, key: str) -> int:
        value = self._script.get(key, 0)
        assert isinstance(value, int)
        return value

    @property
    def execution(self) -> Execution:
        """Its record in the history."""
        assert self._execution is not None
        return self._execution

    def begin(self, fault: str) -> None:
        """Run, with a fault or without."""
        self._execution = self._world.history.began(self._worker, self.id)
        self._world.trace("run", self._worker.number, self.id, self.nonce, fault)
        self._fault = fault
        self._steps = self._run()
        if self._is_cancelled:
            self._end_cancelled()
        else:
            self._go_on(self._turn)

    def stop(self) -> None:
        """Its process is gone."""
        self._steps = None

    def _go_on(self, turn: int) -> None:
        """Take the next step, unless something else has happened in the meantime."""
        if self._steps is None or turn != self._turn:
            return
        self._turn += 1
        wait_s = next(self._steps, NEVER)
        if wait_s is not None and wait_s != NEVER:
            self._worker.after(wait_s, self._go_on, self._turn)

    def cancel(self) -> None:
        """It is not wanted any more."""
        if self._is_cancelled:
            return
        self._is_cancelled = True
        if self._steps is not None and self._fault not in ("hang", "deaf"):
            self._worker.after(self._world.random.choice(STOPPING_S), self._end_cancelled)

    def _end_cancelled(self) -> None:
        if self._steps is not None:
            self._end(FAIL, encode_failure(error("cancelled", "the call was cancelled")))

    def add_credit(self, count: int) -> None:
        """More items may be sent."""
        self._credit += count
        if self._execution is not None and self.execution.waits_since_s is not None:
            self._worker.after(0.0, self._go_on, self._turn)

    def heard(self, ask_id: int, kind: int, value: object) -> None:
        """The host has answered."""
        ask = self._awaited.pop(ask_id)
        assert isinstance(value, dict)
        if kind == REPLY and (value["nonce"], value["items"]) != (ask.nonce, ask.items):
            raise Violation("P2", f"a callback within call {self.nonce} is answered {value!r}, not {ask}")
        if value.get("code") == "credit_exceeded" and ask.nonce not in self._world.history.out_of_turn:
            raise Violation("P2", f"a callback within call {self.nonce} ends although all was in turn: {ask}")
        self._worker.after(0.0, self._go_on, self._turn)

    def heard_item(self, ask_id: int, seq: object, value: object) -> None:
        """The host sends a piece of its answer."""
        ask = self._awaited[ask_id]
        if seq != ask.items or value != {"nonce": ask.nonce, "seq": seq}:
            raise Violation("P2", f"a callback within call {self.nonce} gets item {seq} ({value!r}) of {ask}")
        ask.items += 1
        if ask.items > ask.credit:
            raise Violation("P2", f"a callback within call {self.nonce} gets more than it allowed: {ask}")
        if self._world.random.random() < 0.97:
            self._worker.after(self._world.random.choice((0.0, 0.0, 0.01)), self._allow, ask_id)

    def _allow(self, ask_id: int) -> None:
        ask = self._awaited.get(ask_id)
        if ask is not None:
            count = self._world.random.randint(1, 2)
            ask.credit += count
            self._worker.write(CREDIT, ask_id, None, {"n": count}, NIL)

    # What it does

    def _run(self) -> Steps:
        if self._fault == "freeze":
            self._worker.stop()
        elif self._fault == "crash_before" or self._script.get("kills"):
            self._worker.exit("SIGSEGV")
            return
        yield self._int("ms") / 1000
        if self._fault == "hang":
            yield NEVER
        self._misbehave()
        if self._streams:
            yield from self._stream()
        if self._worker.is_dead:
            return
        for _ in range(self._int("asks")):
            yield from self._ask()
        if self._fault == "crash_midway":
            self._worker.exit("exit code 7")
            return
        self._conclude()

    def _stream(self) -> Steps:
        for seq in range(self._int("items")):
            while self._credit <= 0 and self._fault != "too_many_items":
                if self.execution.waits_since_s is None:
                    self.execution.waits_since_s = self._world.now_s
                yield None
            self.execution.waits_since_s = None
            if self._credit <= 0:
                self.execution.has_misbehaved = True
            self._credit -= 1
            self._item(self.id, seq)
            self.execution.emitted += 1
            if self._fault == "crash_midway" and seq == 1:
                self._worker.exit("exit code 7")
                return
            if self._fault == "stray_item":
                self.execution.has_misbehaved = True
                self._item(self.id, seq)
            yield self._world.random.choice((0.0, 0.0, 0.002, 0.02))

    def _item(self, call_id: int, seq: int) -> None:
        payload = encode_value({"nonce": self.nonce, "seq": seq, "pad": "x" * self._int("pad")})
        self._worker.write(ITEM, call_id, None, {"seq": seq}, payload)

    def _ask(self) -> Steps:
        nonce = self._world.next_nonce()
        items = self._int("ask_items")
        ask = Ask(nonce=nonce, credit=self._world.random.randint(1, 2) if items else 0)
        ask_id = self._worker.ask(self, ask, items)
        self._awaited[ask_id] = ask
        if self._fault == "double_ask":
            payload = encode_value({"function": "ask", "args": {"nonce": -1, "within": self.nonce}})
            self._worker.write(CALL, ask_id, "function.call", {"parent": self.id}, payload)
        while ask_id in self._awaited:
            yield None

    def _misbehave(self) -> None:
        """Say what it has no right to say; nobody may hear of it."""
        lie = encode_value({"nonce": -1})
        worker = self._worker
        match self._fault:
            case "forged_reply":
                worker.write(self._world.random.choice((REPLY, FAIL)), FORGED_ID, None, {}, lie)
                if worker.ended_ids:
                    worker.write(REPLY, self._world.random.choice(worker.ended_ids), None, {}, lie)
            case "forged_item":
                for call_id in (FORGED_ID, *worker.ended_ids[-1:]):
                    worker.write(ITEM, call_id, None, {"seq": 0}, lie)
            case "forged_ask":
                payload = encode_value({"function": "ask", "args": {"nonce": -1, "within": -1}})
                for call_id in (FORGED_ID, *worker.ended_ids[-1:]):
                    worker.write(CALL, FORGED_ID + 1, "function.call", {"parent": call_id}, payload)
            case "nonsense":
                worker.write_bytes(NONSENSE)
            case "leak":
                worker.private_mb += LEAK_MB
            case "bloat":
                worker.private_mb += BLOAT_MB
            case "stray_text":
                worker.write_bytes(b"Hello, world")
            case _:
                pass

    def _conclude(self) -> None:
        script, worker = self._script, self._worker
        if script.get("fails") or self._fault == "fail":
            self.execution.has_failed = True
            self._end(FAIL, encode_failure(error("program_failed", "it was told to")))
            return
        size = self._int("size")
        if self._fault == "too_large" and self._world.kernel.capacity >= LEAST_FOR_LARGE:
            size = self._world.config.max_frame_bytes + 100
            self.execution.has_misbehaved = True
        result: dict[str, object] = {"nonce": self.nonce, "pad": "x" * size}
        if "program" in self._meta:
            result["record"] = self._record
        payload = encode_value(result)
        if self._fault == "crash_in_reply":
            frame = encode(REPLY, self.id, None, {}, payload)
            worker.write_bytes(frame[: self._world.random.randrange(len(frame))])
            worker.exit("SIGBUS")
            return
        if self._session is not None and not self._end_turn():
            return
        self._end(REPLY, payload)
        if self._fault == "double_reply":
            worker.write(REPLY, self.id, None, {}, payload)
        elif self._fault == "late_reply":
            late_s = self._world.random.choice((0.001, 0.05, 0.5))
            worker.after(late_s, worker.write, REPLY, self.id, None, {}, payload)
        elif self._fault == "crash_after":
            worker.exit("SIGSEGV")

    def _end_turn(self) -> bool:
        """Say what is to be stored of the session; False when the call has ended with that."""
        assert self._session is not None
        after, session = self._session.after(self.nonce), self._meta["session"]
        if not self._worker.sessions.replace(session, self._session, after):
            self._end(FAIL, encode_failure(error("unknown_session", "another turn was made of it")))
            return False
        meta: Meta = {"call": self.id, "session": session, "turn": after.turn}
        if self._fault == "forged_checkpoint":
            lie = after.after(-1)
            for forged in ({**meta, "call": FORGED_ID}, {**meta, "turn": lie.turn}):
                self._worker.write(NOTE, 0, "session.checkpoint", forged, lie.checkpoint())
        if self._fault == "no_checkpoint":
            self.execution.has_misbehaved = True
            return True
        self._worker.write(NOTE, 0, "session.checkpoint", meta, after.checkpoint())
        if self._fault == "crash_after_checkpoint":
            self._worker.exit("SIGSEGV")
            return False
        return True

    def _end(self, kind: int, payload: bytes) -> None:
        self._steps = None
        self.execution.has_ended = True
        for ask_id in list(self._awaited):
            self._worker.unask(ask_id)
        self._worker.end_call(self.id, kind, payload)
