"""A plug-in whose every answer carries the caller's nonce, and tells how crowded the worker was.

A foreign nonce is another call's answer. `beside` is how many calls of this plug-in were
in the worker at once: more than its places means that a place was given away twice.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dspex_bridge.rows import Operation, Worker
from dspex_bridge.worker.calls import RunningCall
from dspex_protocol import error

_here: set[int] = set()
_kept: list[bytes] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What comes back, when, and how unwilling.

    Attributes:
        stubborn_ms: It does not end for so long after it was asked to stop.
    """

    nonce: str
    pause_ms: int = 0
    stubborn_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Items, each with the nonce."""

    nonce: str
    count: int
    pause_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swelling:
    """Memory taken step by step, held, and given back."""

    nonce: str
    megabytes: int
    hold_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a leak keeps."""

    size_bytes: int


@contextmanager
def _counted(call: RunningCall) -> Generator[int]:
    """Count this call as one that is in the worker; gives how many there are now."""
    _here.add(call.id)
    try:
        yield len(_here)
    finally:
        _here.discard(call.id)


async def _give(worker: Worker, call: RunningCall, asked: Asked) -> object:
    with _counted(call) as beside:
        try:
            await asyncio.sleep(asked.pause_ms / 1000)
        except asyncio.CancelledError:
            await asyncio.sleep(asked.stubborn_ms / 1000)
            raise
        return {"nonce": asked.nonce, "beside": beside}


async def _refuse(worker: Worker, call: RunningCall, asked: Asked) -> object:
    with _counted(call) as beside:
        await asyncio.sleep(asked.pause_ms / 1000)
        details = {"nonce": asked.nonce, "beside": beside}
        raise error("program_failed", "it was asked to", details=details)


async def _stream(worker: Worker, call: RunningCall, stream: Stream) -> object:
    with _counted(call) as beside:
        for number in range(stream.count):
            await call.emit({"nonce": stream.nonce, "number": number})
            await asyncio.sleep(stream.pause_ms / 1000)
        return {"nonce": stream.nonce, "beside": beside}


async def _swell(worker: Worker, call: RunningCall, swelling: Swelling) -> object:
    with _counted(call) as beside:
        held: list[bytearray] = []
        for _ in range(swelling.megabytes // 8):
            held.append(bytearray(8 << 20))
            await asyncio.sleep(0.005)
        await asyncio.sleep(swelling.hold_ms / 1000)
        return {"nonce": swelling.nonce, "beside": beside}


async def _die(worker: Worker, call: RunningCall, asked: Asked) -> None:
    """With an effect, so that the call is not given to another worker as well."""
    await call.emit({"nonce": asked.nonce, "number": 0})
    await asyncio.sleep(0)
    os._exit(7)


async def _keep(worker: Worker, call: RunningCall, kept: Kept) -> None:
    _kept.append(bytes(kept.size_bytes))


async def _collect(worker: Worker, call: RunningCall, nothing: object) -> int:
    """Garbage that waits for its collector is no leak."""
    return gc.collect()


def _row(
    method: str, parameters: type | None, run: Callable[[Any, RunningCall, Any], Any], doc: str
) -> Operation:
    return Operation(method=f"nonces.{method}", parameters=parameters, run=run, doc=doc)


OPERATIONS = [
    _row("give", Asked, _give, "Gives back a nonce after a pause."),
    _row("refuse", Asked, _refuse, "Fails with a nonce after a pause."),
    _row("stream", Stream, _stream, "Sends items with a nonce."),
    _row("swell", Swelling, _swell, "Takes memory and gives it back."),
    _row("die", Asked, _die, "Sends an item and ends its process."),
    _row("keep", Kept, _keep, "Leaks."),
    _row("collect", None, _collect, "Collects garbage."),
]
