"""An answer of a language model as it grows: its text and reasoning, in the items of a prediction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import dspy

from ..worker.mailbox import Emit, Item, Mailbox

T = TypeVar("T")

_FIELDS: Final = {"text": "content", "reasoning": "reasoning_content"}
"""Field of an item to what a chunk calls it."""

_OF_PROGRAMS: Final = {"predictor": "", "run": 0}
"""What items of predictions have, and these do not: no predictor asks."""


async def ask_streaming(ask: Callable[[], Awaitable[T]], emit: Emit) -> T:
    """Ask an LM and send its text while it comes. Cancelling ends the request as well.

    Of several answers the first is streamed. Calls of tools come with the whole answer only.

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


class _Listener:
    """What DSPy sends the pieces of an answer to."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._seen: list[str] = []
        self._ended = False

    async def send(self, chunk: Any) -> None:
        """Take a piece; waits while the caller is slow."""
        if self._ended:
            return
        choice = chunk.choices[0]
        for field, name in _FIELDS.items():
            piece = _get(choice.delta, name)
            if piece:
                self._put(field, piece)
        if choice.finish_reason:
            self._ended = True
            for field in self._seen:
                self._mailbox.put_token(_item(field, "", last=True))
        await self._mailbox.room()

    def _put(self, field: str, text: str) -> None:
        if field not in self._seen:
            self._seen.append(field)
        self._mailbox.put_token(_item(field, text, last=False))


def _get(delta: Any, name: str) -> Any:
    # DSPy's own pieces are maps and objects in one, LiteLLM's are objects.
    return getattr(delta, name, None)


def _item(field: str, text: str, *, last: bool) -> Item:
    return {"type": "token", "field": field, "text": text, "last": last, **_OF_PROGRAMS}


def _sent_by(emit: Emit) -> Emit:
    async def send(item: Item) -> None:
        await emit({name: value for name, value in item.items() if name not in _OF_PROGRAMS})

    return send
