"""The worker loop: a frame comes, an operation runs, a reply goes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

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
    Oversized,
    WireError,
    decode_envelope,
    decode_value,
    encode,
    error,
)
from dspex_protocol.limits import PROTOCOL, VERSION
from dspex_protocol.records import read

from ..code.interpreters import Interpreters
from ..failures import to_failure
from ..host_functions import HostFunctions
from ..jobs.kinds import KINDS
from ..lms.keeping import level_of
from ..lms.lms import LanguageModels
from ..modules.catalog import Catalog
from ..operations import OPERATIONS, Configure, configure, find, read_parameters
from ..plugins import load_plugins
from ..programs.builder import Builder
from ..programs.programs import ProgramCache
from ..programs.sessions import SessionTable
from ..rows import Operation
from ..versions import VERSIONS
from . import failpoints, redacted_logs
from .calls import CallTable, RunningCall, current_call
from .remaining import remaining_s
from .wire import Wire

# For DSPy's own short hops off the loop, and one for each call of a module without an async
# form: as many calls as a worker takes, and those that their host functions make within them.
# With fewer, calls that wait for calls within them would hold all threads. Each costs about
# 60 kB, and starts only when none is idle.
MAX_THREADS: Final = 256
GC_THRESHOLD: Final = 20_000


class WorkerProcess:
    """Everything that one worker holds. Build it, then `await run()`."""

    def __init__(self, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
        self._ended = loop.create_future()
        self._wire = Wire(descriptor, loop, self._take, self._end)
        self.calls = CallTable(self._wire.send)
        self._greeted = False
        self.versions = dict(VERSIONS)
        self.operations = dict(OPERATIONS)
        self.kinds = dict(KINDS)
        self.threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="dspex")
        self.programs = ProgramCache()
        self.sessions = SessionTable()
        self.history = level_of(os.environ)
        self.functions = HostFunctions(self.calls.call_host, loop, self.calls.stream_host)
        self.lms = LanguageModels(self.functions, remaining_s)
        self.interpreters = Interpreters(unsafe=os.environ.get("DSPEX_UNSAFE_INTERPRETER") == "true")
        loop.set_default_executor(self.threads)

    async def run(self) -> None:
        """Serve until the supervisor is gone."""
        self._wire.start()
        await self._ended

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _take(self, bodies: Sequence[bytes | Oversized]) -> None:
        """Handle the frames of one read."""
        started: list[tuple[RunningCall, Operation, object]] = []
        for body in bodies:
            # The supervisor sends no oversized and no malformed frames; if it does, its
            # calls end by their deadline and this process by the supervisor's hand.
            if isinstance(body, Oversized):
                continue
            try:
                envelope = decode_envelope(body)
            except WireError:
                continue
            payload = body[envelope.payload_at :]
            if envelope.kind == CALL:
                self._accept(envelope, payload, started)
                continue
            if envelope.kind in (CANCEL, CREDIT):  # maybe about one of these, which nobody knows yet
                self._start_before(started)
            self._pass_on(envelope, payload)
        if started:
            self._start(started)

    def _pass_on(self, envelope: Envelope, payload: bytes) -> None:
        """Everything that is no CALL."""
        match envelope.kind:
            case kind if kind == CANCEL:
                self.calls.cancel(envelope.id)
            case kind if kind == CREDIT:
                count = envelope.meta.get("n")
                self.calls.credit(envelope.id, count if isinstance(count, int) else 0)
            case kind if kind == ITEM:
                self.calls.host_sent(envelope.id, payload)
            case kind if kind == REPLY:
                self.calls.host_replied(envelope.id, payload)
            case kind if kind == FAIL:
                self.calls.host_failed(envelope.id, payload)
            case _:
                pass

    def _accept(
        self, envelope: Envelope, payload: bytes, started: list[tuple[RunningCall, Operation, object]]
    ) -> None:
        failpoints.passed("call.received")
        call = RunningCall(envelope.id, envelope.meta, self._wire.send, self.calls.max_frame_bytes)
        try:
            value = decode_value(payload)
            if envelope.method == "system.hello":
                self.calls.reply(call, self._hello(value))
                return
            operation = find(self.operations, envelope.method)
            parameters = read_parameters(operation, value)
            if operation.inline:
                if operation.effects:
                    self._start_before(started)
                    self._announce(call)
                self.calls.reply(call, operation.run(self, call, parameters))
            else:
                # Now and not when its task begins: frames behind this one, in the same read,
                # may forget the program or load another under its name.
                call.program = self.programs.named(envelope.meta)
                call.session = self.sessions.named(envelope.meta)
                started.append((call, operation, parameters))
        except Exception as reason:  # the call ends here, and its FAIL reports
            self.calls.fail(call, to_failure(reason))

    def _start_before(self, started: list[tuple[RunningCall, Operation, object]]) -> None:
        # An announcement covers every call up to its id: those that came before must have begun.
        if started:
            self._start(started)
            started.clear()

    def _announce(self, last: RunningCall) -> None:
        # Written before any user code runs: if this process dies in it, the supervisor
        # knows which calls had begun and repeats the others without a doubt.
        self._wire.send(encode(NOTE, 0, "call.started", {"up_to": last.id}, NIL))
        self._wire.push()
        failpoints.passed("call.started")

    def _start(self, started: list[tuple[RunningCall, Operation, object]]) -> None:
        self._announce(started[-1][0])
        for call, operation, parameters in started:
            self.calls.start(call, self._work(call, operation, parameters))

    async def _work(self, call: RunningCall, operation: Operation, parameters: object) -> object:
        current_call.set(call)
        return await operation.run(self, call, parameters)

    def _hello(self, value: object) -> object:
        """Become ready: language models, plug-ins."""
        if self._greeted:
            raise error("handshake_repeated", "this worker has been greeted already")
        if not isinstance(value, dict) or value.get("protocol") != PROTOCOL:  # pyright: ignore[reportUnknownMemberType]
            raise error("handshake_failed", "the first frame is no hello of this protocol")
        limit = value.get("max_frame_bytes")  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        if isinstance(limit, int):
            self.calls.max_frame_bytes = limit
        offered: dict[str, object] = {
            key: value[key] for key in ("lms", "secrets", "functions") if key in value
        }
        configure(self.functions, self.lms, read(Configure, offered))
        plugged = load_plugins(os.environ.get("DSPEX_PLUGINS", ""))
        self.operations.update(plugged.operations)
        self.kinds.update(plugged.kinds)
        self.programs = ProgramCache(Builder(Catalog(plugged.modules), self.functions, self.lms))
        self._greeted = True
        failpoints.passed("boot.ready")
        return {
            "protocol": PROTOCOL,
            "version": VERSION,
            "pid": os.getpid(),
            "versions": self.versions,
            "methods": list(self.operations),
            "effects": [row.method for row in self.operations.values() if row.effects],
        }


def serve(descriptor: int) -> None:
    """Run a worker on a wire until the supervisor is gone; then the process should end."""
    failpoints.passed("boot.begin")
    redacted_logs.install()
    # DSPy makes much short-lived garbage and few cycles: the usual 700 objects between
    # collections would cost more than they find.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 10, 10)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to handle
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(descriptor))


async def _serve(descriptor: int) -> None:
    await WorkerProcess(descriptor, asyncio.get_running_loop()).run()
    # Tasks and threads may be anywhere; what they hold is not worth waiting for.
    os._exit(0)


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop
