"""A worker and the supervisor's end of its wire: in this process, or in one of its own."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from dspex_bridge.worker.serve import WorkerProcess
from dspex_protocol import (
    CALL,
    FAIL,
    ITEM,
    NOTE,
    REPLY,
    DSPexError,
    FrameDecoder,
    Meta,
    decode_envelope,
    decode_failure,
    decode_value,
    encode,
    encode_value,
)

SUPPORT: Final = Path(__file__).parent
LIMIT_S: Final = 30.0


class Heard(NamedTuple):
    """A frame of the worker's."""

    kind: int
    id: int
    method: str | None
    meta: Meta
    payload: bytes

    @property
    def value(self) -> Any:
        return decode_value(self.payload)


class Hop:
    """Calls a worker as the supervisor does. One task at a time waits for an answer.

    Attributes:
        heard: Every frame of the worker's, in order, and their bytes in `raw`.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._socket.setblocking(False)
        self._decoder = FrameDecoder(1 << 26)
        self._ids = itertools.count(1)
        self.heard: list[Heard] = []
        self.raw = bytearray()

    async def say(self, kind: int, call_id: int, method: str | None, meta: Meta, value: object) -> None:
        """Send a frame."""
        frame = encode(kind, call_id, method, meta, encode_value(value))
        await asyncio.get_running_loop().sock_sendall(self._socket, frame)

    async def start(self, method: str, value: object = None, **meta: Any) -> int:
        """Begin a call; gives its id."""
        call_id = next(self._ids)
        await self.say(CALL, call_id, method, meta, value)
        return call_id

    async def end(self, call_id: int) -> Any:
        """The result of a call; items and notes that come meanwhile are in `heard`.

        Raises:
            DSPexError: what its FAIL said.
        """
        async with asyncio.timeout(LIMIT_S):
            while True:
                for frame in self.heard:
                    if frame.id == call_id and frame.kind == REPLY:
                        return frame.value
                    if frame.id == call_id and frame.kind == FAIL:
                        raise decode_failure(frame.payload)
                await self.hear()

    async def call(self, method: str, value: object = None, **meta: Any) -> Any:
        """A call and its result."""
        return await self.end(await self.start(method, value, **meta))

    async def failure(self, method: str, value: object = None, **meta: Any) -> DSPexError:
        """A call that must fail."""
        try:
            result = await self.call(method, value, **meta)
        except DSPexError as refused:
            return refused
        raise AssertionError(f"{method} gave {result!r}")

    async def hear(self) -> None:
        """Take what comes next."""
        data = await asyncio.get_running_loop().sock_recv(self._socket, 1 << 20)
        assert data, "the worker is gone"
        self.raw += data
        for body in self._decoder.feed(data):
            assert isinstance(body, bytes)
            envelope = decode_envelope(body)
            self.heard.append(Heard(*envelope[:4], body[envelope.payload_at :]))

    def notes(self, method: str) -> list[Heard]:
        """The notes of a method so far."""
        return [frame for frame in self.heard if frame.kind == NOTE and frame.method == method]

    def items(self, call_id: int) -> list[Any]:
        """The items of a call."""
        return [frame.value for frame in self.heard if frame.kind == ITEM and frame.id == call_id]


async def greet(hop: Hop, lms: Mapping[str, object] | None = None, **more: Any) -> None:
    """Say hello, as the supervisor does."""
    offered = {"lms": lms or {"default": {"model": "sim/test", "options": {"seed": 7}}}, **more}
    await hop.call("system.hello", {"protocol": "dspex", "versions": [1], "worker": 1, **offered})


@asynccontextmanager
async def worker_here(lms: Mapping[str, object] | None = None) -> AsyncGenerator[tuple[Hop, WorkerProcess]]:
    """A worker in this process, greeted."""
    ours, theirs = socket.socketpair()
    descriptor = theirs.detach()
    os.set_blocking(descriptor, False)
    worker = WorkerProcess(descriptor, asyncio.get_running_loop())
    running = asyncio.ensure_future(worker.run())
    await asyncio.sleep(0)
    hop = Hop(ours)
    try:
        await greet(hop, lms)
        yield hop, worker
    finally:
        ours.close()
        await running
        await worker.lms.aclose()
        worker.threads.shutdown()
        os.close(descriptor)


@asynccontextmanager
async def worker_process(
    lms: Mapping[str, object] | None = None,
    plugins: str = "",
    environment: Mapping[str, str] | None = None,
    **more: Any,
) -> AsyncGenerator[tuple[Hop, subprocess.Popen[bytes]]]:
    """A worker in a process of its own, greeted; what it writes to stderr is in its `stderr`."""
    ours, theirs = socket.socketpair()
    path = os.pathsep.join([str(SUPPORT), *filter(None, sys.path)])
    process = subprocess.Popen(
        [sys.executable, "-m", "dspex_bridge", "worker", str(os.getpid())],
        stdin=theirs.fileno(),
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "DSPEX_PLUGINS": plugins, **(environment or {})},
    )
    theirs.close()
    hop = Hop(ours)
    try:
        await greet(hop, lms, **more)
        yield hop, process
    finally:
        ours.close()
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
