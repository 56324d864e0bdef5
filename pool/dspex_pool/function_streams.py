"""The answer of a host function that comes in pieces: sent as far as there is credit, or joined."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, cast

from dspex_protocol import ITEM, encode, encode_value, error
from dspex_protocol.errors import describe_value

PIECE_CHARACTERS: Final = 16_000
"""A longer text is sent in several items: in no script is this more than one may have."""

_FIELDS: Final = ("text", "reasoning")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a function has to say that has yielded its answer piece by piece: the last that it yields.

    Attributes:
        tokens_in: Of the question, where it knows.
        tokens_out: Of the answer.
        tool_calls: `{name, args}` and maybe `id` of each tool that the model wants called.
    """

    tokens_in: int | None = None
    tokens_out: int | None = None
    tool_calls: Sequence[Mapping[str, object]] = field(default_factory=list[Mapping[str, object]])

    def entries(self) -> dict[str, object]:
        """As they stand in a host function's answer."""
        tokens = {"tokens_in": self.tokens_in, "tokens_out": self.tokens_out}
        entries: dict[str, object] = {name: count for name, count in tokens.items() if count is not None}
        return entries | ({"tool_calls": list(self.tool_calls)} if self.tool_calls else {})


class FunctionStream:
    """One answer.

    Args:
        call_id: The server's call.
        credit: Items that the server takes at first; with none, it gets the answer in one.
        send: Puts a frame on the wire.
    """

    def __init__(self, call_id: int, credit: int, send: Callable[[bytes], None]) -> None:
        self._call_id = call_id
        self._credit = credit
        self._is_streamed = credit > 0
        self._send = send
        self._seq = 0
        self._credit_came = asyncio.Event()
        self._joined: dict[str, str] = dict.fromkeys(_FIELDS, "")

    def add_credit(self, count: int) -> None:
        """The server takes so many more items."""
        self._credit += count
        self._credit_came.set()

    async def answer(self, pieces: AsyncGenerator[object]) -> object:
        """Send what a function yields; it waits while there is no credit.

        Returns:
            What its REPLY says.

        Raises:
            DSPexError: `function_failed` for what is no piece of an answer.
        """
        reply = Reply()
        async with aclosing(pieces):
            async for piece in pieces:
                if isinstance(piece, Reply):
                    reply = piece
                    break
                for name, text in _parts(piece):
                    await self._take(name, text)
        return self._whole(reply.entries())

    async def _take(self, name: str, text: str) -> None:
        if not self._is_streamed:
            self._joined[name] += text
            return
        for at in range(0, len(text), PIECE_CHARACTERS):
            part = text[at : at + PIECE_CHARACTERS]
            await self._item(part if name == "text" else {name: part})

    async def _item(self, value: object) -> None:
        payload = encode_value(value)
        while self._credit <= 0:
            self._credit_came.clear()
            await self._credit_came.wait()
        self._credit -= 1
        self._send(encode(ITEM, self._call_id, None, {"seq": self._seq}, payload))
        self._seq += 1

    def _whole(self, entries: dict[str, object]) -> object:
        if self._seq:
            return entries or None
        text, reasoning = self._joined["text"], self._joined["reasoning"]
        if reasoning:
            entries["reasoning"] = reasoning
        return {"text": text, **entries} if entries else text


def _parts(piece: object) -> Iterator[tuple[str, str]]:
    """Field and text of what a piece adds."""
    given = piece
    if isinstance(piece, str):
        yield "text", piece
        return
    parts = cast("Mapping[object, object]", piece) if isinstance(piece, Mapping) else {"": piece}
    for name, text in parts.items():
        if name not in _FIELDS or not isinstance(text, str):
            raise error(
                "function_failed",
                "a piece of an answer is a string, or a map of strings with text or reasoning;"
                f" got {describe_value(given)}",
            )
        yield str(name), text
