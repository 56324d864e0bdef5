"""What all simulated workers have in common: a process that boots late or not at all, stops, and dies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from dspex_protocol import FAIL, REPLY, FrameDecoder, Meta, encode, encode_failure, encode_value, error

if TYPE_CHECKING:
    from .kernel import End
    from .processes import SimProcess
    from .world import World

NONSENSE: Final = b"\x00\x00\x00\x05print"
"""What is no frame."""


class Body:
    """One process that speaks with the supervisor, from its boot to its end.

    Attributes:
        number: As the supervisor calls it; 0 until its hello.
        ready_s: When it answered its hello.
        was_shot: It was killed by somebody else than the supervisor.
        was_stopped: It was stopped, once at least, or has frozen.
        has_misspoken: It wrote what is no frame.
    """

    def __init__(self, world: World, process: SimProcess, end: End, boot_fault: str) -> None:
        self.world = world
        self.process = process
        self.number = 0
        self.ready_s: float | None = None
        self.was_shot = False
        self.was_stopped = False
        self.has_misspoken = False
        self._is_stopped = False
        self._listens = False
        self._deferred: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        self._end = end
        self._decoder = FrameDecoder(world.config.max_frame_bytes * 4)
        self._boot_fault = boot_fault
        end.on_data = self._read
        end.on_end = self._wire_ended
        self._boot()

    def __repr__(self) -> str:
        return f"<worker {self.number} pid={self.process.pid}>"

    @property
    def is_dead(self) -> bool:
        """Its process has ended."""
        return self.process.is_dead

    def was_told(self, frame: bytes, *, hears: bool) -> None:
        """The supervisor says something to it, or to nobody where its wire is closed."""
        raise NotImplementedError

    def _read(self, data: bytes) -> None:
        """Something has come."""
        raise NotImplementedError

    # Its process

    def _boot(self) -> None:
        world, fault = self.world, self._boot_fault
        if fault == "boot_hang":
            self.was_stopped = True
            return
        if fault == "boot_exit":
            self.after(world.random.choice((0.0, 0.01, 0.3)), self.exit, "exit code 1")
            return
        if fault == "boot_kill":
            self.after(world.random.choice((0.0, 0.01, 0.3)), self.shoot)
        slowly_s = world.random.uniform(0.5, 1.5) * world.config.boot_timeout_s if fault == "boot_slow" else 0
        self.after(world.random.choice((0.0, 0.005, 0.03)) + slowly_s, self._listen)

    def _listen(self) -> None:
        self._listens = True
        self._end.start()

    def welcome(self, call_id: int, methods: Sequence[str], effects: Sequence[str]) -> bool:
        """Answer hello, unless its boot is to fail here; whether it is ready."""
        if self._boot_fault == "boot_refusal":
            self.write(FAIL, call_id, None, {}, encode_failure(error("internal", "no such model")))
            return False
        if self._boot_fault == "boot_nonsense":
            self.write_bytes(NONSENSE)
            return False
        welcome = {
            "protocol": "dspex",
            "version": 1,
            "pid": self.process.pid,
            "methods": list(methods),
            "effects": list(effects),
        }
        self.ready_s = self.world.now_s
        self.write(REPLY, call_id, None, {}, encode_value(welcome))
        return True

    def soon_over(self) -> None:
        """It is ready, and ends by itself a moment later, where that is its fault."""
        if self._boot_fault == "boot_then_exit":
            self.after(self.world.random.choice((0.0, 0.01, 0.3)), self.exit, "exit code 3")

    def exit(self, reason: str) -> None:
        """It ends by itself."""
        self.process.die(reason)

    def shoot(self) -> None:
        """Somebody kills it: the kernel, an operator."""
        if not self.is_dead:
            self.was_shot = not self.process.killed
            self.process.die("SIGKILL")

    def end(self) -> None:
        """Its process is gone, and its descriptors with it."""
        self._end.close()
        self._deferred.clear()

    def stop(self) -> None:
        """SIGSTOP."""
        self.was_stopped = True
        self._is_stopped = True
        self._end.pause()

    def go_on(self) -> None:
        """SIGCONT."""
        if self._is_stopped and not self.is_dead:
            self._is_stopped = False
            if self._listens:
                self._end.start()
            deferred, self._deferred = self._deferred, []
            for callback, given in deferred:
                self.after(0.0, callback, *given)

    def after(self, delay_s: float, callback: Callable[..., object], *given: object) -> None:
        """Have it do something later, if it still can."""
        self.world.loop.call_later(delay_s, self._do, callback, *given)

    def _do(self, callback: Callable[..., object], *given: object) -> None:
        if self.is_dead:
            return
        if self._is_stopped:
            self._deferred.append((callback, given))
        else:
            callback(*given)

    def _wire_ended(self) -> None:
        self.exit("exit code 0")

    # What it says

    def write(self, kind: int, call_id: int, method: str | None, meta: Meta, payload: bytes) -> None:
        """Say something."""
        self._end.write(encode(kind, call_id, method, meta, payload))

    def write_bytes(self, data: bytes) -> None:
        """Say something that need not be a frame."""
        self.has_misspoken = True
        self._end.write(data)

    @property
    def is_flushed(self) -> bool:
        """Whether all that it said is in the pipe."""
        return not self._end.unsent
