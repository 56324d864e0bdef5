"""The functions that a client has offered, run when the server asks for them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

from dspex_protocol import (
    FAIL,
    REPLY,
    DSPexError,
    decode_value,
    encode,
    encode_failure,
    encode_value,
    error,
)
from dspex_protocol.limits import MAX_CREDIT
from dspex_protocol.records import read

from .function_streams import FunctionStream

HostFunction = Callable[..., Any]
"""Called with the args as keywords; plain, a coroutine function, or an async generator.

A generator yields its answer piece by piece: strings, or maps with `text` or `reasoning`, and at
the end maybe a `function_streams.Reply`. Where nobody wants a stream the pieces are joined.
"""

_callback_id: ContextVar[int | None] = ContextVar("callback_id", default=None)


def calling_id() -> int | None:
    """The id of the server's call in which this code runs: what it calls in turn has that as its parent."""
    return _callback_id.get()


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    """What the server asks of a host function."""

    function: str
    args: dict[str, object]


class ClientFunctions:
    """Host functions by name, and a task for each call of one.

    Args:
        loop: Where they run.
        send: Puts a frame on the wire.

    Attributes:
        by_name: What is offered.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._send = send
        self._running: dict[int, asyncio.Task[None]] = {}
        self._streams: dict[int, FunctionStream] = {}
        self.by_name: Mapping[str, HostFunction] = {}

    def begin(self, call_id: int, payload: bytes, credit: object = None) -> None:
        """Run what a CALL of the server asks for; its answer goes out when it is there.

        Args:
            call_id: The server's.
            payload: Function and args.
            credit: As its meta has it: how many pieces the server takes at first.
        """
        self._streams[call_id] = FunctionStream(call_id, _count(credit), self._send)
        task = self._loop.create_task(self._answer(call_id, payload))
        self._running[call_id] = task
        task.add_done_callback(lambda _: self._forget(call_id))

    def add_credit(self, call_id: int, count: object) -> None:
        """The server takes more pieces. A malformed credit is no credit."""
        stream = self._streams.get(call_id)
        if stream is not None and _count(count):
            stream.add_credit(_count(count))

    def _forget(self, call_id: int) -> None:
        self._running.pop(call_id, None)
        self._streams.pop(call_id, None)

    def cancel(self, call_id: int) -> None:
        """The server gives a call up."""
        task = self._running.get(call_id)
        if task is not None:
            task.cancel()

    def cancel_all(self) -> None:
        """There is nobody any more to answer."""
        for task in self._running.values():
            task.cancel()

    async def _answer(self, call_id: int, payload: bytes) -> None:
        _callback_id.set(call_id)
        try:
            result = encode_value(await self._apply(decode_value(payload), self._streams[call_id]))
        except DSPexError as refusal:
            self._send(encode(FAIL, call_id, None, {}, encode_failure(refusal)))
        except Exception as reason:  # the function's own; the task ends here and reports it
            failure = error("function_failed", f"{type(reason).__name__}: {reason}")
            self._send(encode(FAIL, call_id, None, {}, encode_failure(failure)))
        else:
            self._send(encode(REPLY, call_id, None, {}, result))

    async def _apply(self, request: object, stream: FunctionStream) -> object:
        wanted = read(FunctionCall, request)
        function = self.by_name.get(wanted.function)
        if function is None:
            raise error("unknown_function", f"there is no function {wanted.function!r}")
        result = function(**wanted.args)
        if inspect.isawaitable(result):
            awaitable: Awaitable[object] = result
            return await awaitable
        if inspect.isasyncgen(result):
            return await stream.answer(cast("AsyncGenerator[object]", result))
        return result


def _count(value: object) -> int:
    return value if type(value) is int and 1 <= value <= MAX_CREDIT else 0
