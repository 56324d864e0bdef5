"""Replies of `dspex sim-lm` that go wrong on the way, as a fault of `faults` asks."""

from __future__ import annotations

import asyncio
import json
from typing import Final, NoReturn

from aiohttp import web

GARBAGE: Final = "<html>sim: no JSON, on purpose</html>"
SHAPELESS: Final = {"choices": [{"delta": {"tool_calls": 7}, "message": {"tool_calls": 7}}]}
BROKEN_STREAMS: Final = frozenset(("garbage", "shape", "cut", "stall", "drip", "endless"))
_DAWDLE_S: Final = 0.05


async def break_stream(request: web.Request, response: web.StreamResponse, token: bytes, kind: str) -> None:
    """A stream whose first token comes, and which then goes wrong."""
    await response.write(token)
    match kind:
        case "garbage":
            await response.write(f"data: {GARBAGE}\n\n".encode())
        case "shape":
            await response.write(f"data: {json.dumps(SHAPELESS)}\n\n".encode())
        case "cut":
            _cut(request)
        case "endless":
            while True:
                await response.write(token)
        case _:
            await _dawdle(request, response, kind)
    await response.write_eof()


async def never_whole(request: web.Request, kind: str, body: bytes) -> NoReturn:
    """A reply of whose body a part comes at most."""
    if kind == "stall":
        await _dawdle(request, None, kind)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    if kind == "cut":
        response.content_length = len(body)
    await response.prepare(request)
    if kind == "cut":
        await response.write(body[: len(body) // 2])
        _cut(request)
    while kind == "endless":
        await response.write(b" " * 65_536)
    await _dawdle(request, response, kind)


def _cut(request: web.Request) -> NoReturn:
    if request.transport is not None:
        request.transport.close()
    raise ConnectionResetError("sim: cut on purpose")


async def _dawdle(request: web.Request, response: web.StreamResponse | None, kind: str) -> NoReturn:
    """Until the client has left: nothing, or a byte now and then."""
    while request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(_DAWDLE_S)
        if response is not None and kind == "drip":
            await response.write(b" ")
    raise ConnectionResetError("the client has left")
