"""An answer of a language model as it grows: its text and reasoning, in the items of a prediction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import dspy

from ..worker.mailbox import Emit, Item, Mailbox, part_of
from .conversation import wanted_call
from .growing_calls import GrowingCalls

T = TypeVar("T")

_FIELDS: Final = {"text": "content", "reasoning": "reasoning_content"}
"""Field of an item to what a chunk calls it."""

_OF_PROGRAMS: Final = {"predictor": "", "run": 0}
"""What items of predictions have, and these do not: no predictor asks."""


async def ask_streaming(ask: Callable[[], Awaitable[T]], emit: Emit) -> T:
    """Ask an LM and send its text while it comes. Cancelling ends the request as well.

    Of several answers each item says which it is of, but for the first. Calls of tools come one
    by one, each when all of it has been written.

    Args:
        ask: Makes the request.
        emit: Never called twice at once; all calls have ended when this returns.
    """
    mailbox = Mailbox(asyncio.get_running_loop())
    with dspy.context(send_stream=_Listener(mailbox), stream_listeners=[]):
        asking = asyncio.ensure_future(ask())
    sending = asyncio.ensure_future(mailbox.deliver(_sent_by(emit)))
    try:
        await asyncio.wait((asking, sending), return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            await sending  # it ends before the mailbox is closed only by an exception
        answer = asking.result()
        mailbox.close()
        await sending
        return answer
    finally:
        asking.cancel()
        sending.cancel()
        await asyncio.gather(asking, sending, return_exceptions=True)


class _Part:
    """One of the answers."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.fields: list[str] = []
        self.calls = GrowingCalls()
        self.ended = False


class _Listener:
    """What DSPy sends the pieces of answers to."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._parts: list[_Part] = []

    async def send(self, chunk: Any) -> None:
        """Take a piece; waits while the caller is slow."""
        choice = chunk.choices[0]
        part = self._part(choice.index)
        for field, name in _FIELDS.items():
            piece = _get(choice.delta, name)
            if piece:
                self._put(part, field, piece)
        self._put_calls(part, part.calls.feed(_get(choice.delta, "tool_calls")))
        if choice.finish_reason:
            part.ended = True
            for field in part.fields:
                self._mailbox.put_token(_item(part, field, "", last=True))
            self._put_calls(part, part.calls.close())
        await self._mailbox.room()

    def _part(self, index: int) -> _Part:
        """LiteLLM numbers the answers of a request; of DSPy's own client each is a request, and the first."""
        while index < len(self._parts) and self._parts[index].ended:
            index += 1
        while index >= len(self._parts):
            self._parts.append(_Part(len(self._parts)))
        return self._parts[index]

    def _put(self, part: _Part, field: str, text: str) -> None:
        if field not in part.fields:
            part.fields.append(field)
        self._mailbox.put_token(_item(part, field, text, last=False))

    def _put_calls(self, part: _Part, calls: list[dict[str, Any]]) -> None:
        for call in calls:
            item: Item = {"type": "tool_call", **wanted_call(call), **part_of(part.number)}
            self._mailbox.put_event(item, len(str(item)))


def _get(delta: Any, name: str) -> Any:
    # DSPy's own pieces are maps and objects in one, LiteLLM's are objects.
    return getattr(delta, name, None)


def _item(part: _Part, field: str, text: str, *, last: bool) -> Item:
    more = part_of(part.number)
    return {"type": "token", "field": field, "text": text, "last": last, **more, **_OF_PROGRAMS}


def _sent_by(emit: Emit) -> Emit:
    async def send(item: Item) -> None:
        await emit({name: value for name, value in item.items() if name not in _OF_PROGRAMS})

    return send
