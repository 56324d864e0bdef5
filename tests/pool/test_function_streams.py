"""Host functions of the Python client that yield their answer: items by credit, or one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from dspex_pool.client_functions import ClientFunctions
from dspex_pool.function_streams import PIECE_CHARACTERS, Reply
from dspex_protocol import FAIL, ITEM, REPLY, decode_envelope, decode_failure, decode_value, encode_value
from dspex_protocol.frame import HEADER_BYTES
from dspex_protocol.limits import MAX_CALLBACK_ITEM_BYTES


class Asking:
    """A server that calls one function, as call 7.

    Attributes:
        yielded: Pieces that the function was asked for.
        is_closed: Whether it was told that nobody wants more.
    """

    def __init__(self, *pieces: object) -> None:
        self._pieces = pieces
        self._sent: asyncio.Queue[bytes] = asyncio.Queue()
        self.functions = ClientFunctions(asyncio.get_running_loop(), self._sent.put_nowait)
        self.functions.by_name = {"speak": self._speak}
        self.yielded = 0
        self.is_closed = False

    async def _speak(self) -> AsyncGenerator[object]:
        try:
            for piece in self._pieces:
                self.yielded += 1
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.is_closed = True

    def ask(self, credit: object = None) -> None:
        self.functions.begin(7, encode_value({"function": "speak", "args": {}}), credit)

    async def hear(self) -> tuple[int, Any]:
        """Kind and value of the next frame; of an ITEM with its number, of a FAIL its code."""
        body = (await self._sent.get())[HEADER_BYTES:]
        envelope = decode_envelope(body)
        payload = body[envelope.payload_at :]
        assert 7 == envelope.id
        if envelope.kind == FAIL:
            return FAIL, decode_failure(payload)
        value = decode_value(payload)
        return envelope.kind, (envelope.meta["seq"], value) if envelope.kind == ITEM else value

    @property
    def is_silent(self) -> bool:
        return self._sent.empty()


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_pieces_are_items() -> None:
    """Numbered, strings as they are, and then a REPLY that says nothing more."""
    asking = Asking("for", {"reasoning": "hm"}, {"text": "ty"})
    asking.ask(credit=8)
    heard = [await asking.hear() for _ in range(4)]
    assert [(ITEM, (0, "for")), (ITEM, (1, {"reasoning": "hm"})), (ITEM, (2, "ty")), (REPLY, None)] == heard


async def test_no_item_goes_beyond_the_credit() -> None:
    """The function is not asked for more than one piece beyond it; a malformed credit is none."""
    asking = Asking("a", "b", "c", "d")
    asking.ask(credit=1)
    assert (ITEM, (0, "a")) == await asking.hear()
    await turns()
    assert (True, 2) == (asking.is_silent, asking.yielded)
    for count in (0, "many", True, None):
        asking.functions.add_credit(7, count)
    await turns()
    assert asking.is_silent
    asking.functions.add_credit(7, 2)
    assert [(ITEM, (1, "b")), (ITEM, (2, "c"))] == [await asking.hear(), await asking.hear()]
    await turns()
    assert asking.is_silent


async def test_what_it_knows_at_the_end_is_in_the_reply() -> None:
    """And nothing that would come after it is asked for."""
    asking = Asking("x", Reply(tokens_in=3, tokens_out=1, tool_calls=[{"name": "f", "args": {}}]), "y")
    asking.ask(credit=8)
    assert (ITEM, (0, "x")) == await asking.hear()
    reply = {"tokens_in": 3, "tokens_out": 1, "tool_calls": [{"name": "f", "args": {}}]}
    assert (REPLY, reply) == await asking.hear()
    assert (2, True) == (asking.yielded, asking.is_closed)


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        (["for", {"text": "ty"}], "forty"),
        ([], ""),
        (["x", Reply(tokens_in=3)], {"text": "x", "tokens_in": 3}),
        ([{"reasoning": "h"}, {"reasoning": "m"}, "x"], {"text": "x", "reasoning": "hm"}),
    ],
)
async def test_without_credit_the_pieces_are_joined(pieces: list[object], answer: object) -> None:
    """One answer, as a function that knows nothing of streams gives it."""
    asking = Asking(*pieces)
    asking.ask()
    assert (REPLY, answer) == await asking.hear()


async def test_an_empty_stream_is_an_empty_text() -> None:
    """And no answer of nothing, which would be an error."""
    asking = Asking()
    asking.ask(credit=8)
    assert (REPLY, "") == await asking.hear()


async def test_a_long_piece_is_several_items() -> None:
    """None is longer than the server takes, in the script that needs most."""
    text = "\U0001f980" * (2 * PIECE_CHARACTERS + 1)
    asking = Asking(text)
    asking.ask(credit=8)
    heard = [await asking.hear() for _ in range(4)]
    items = [value[1] for kind, value in heard if kind == ITEM]
    assert text == "".join(items)
    assert max(len(encode_value({"reasoning": item})) for item in items) <= MAX_CALLBACK_ITEM_BYTES


@pytest.mark.parametrize("piece", [7, None, ["x"], {"txt": "x"}, {"text": 7}])
@pytest.mark.parametrize("credit", [0, 8])
async def test_what_is_no_piece_is_an_error(piece: object, credit: int) -> None:
    """Told by the function's own side; the generator is closed."""
    asking = Asking("x", piece, "y")
    asking.ask(credit)
    if credit:
        assert (ITEM, (0, "x")) == await asking.hear()
    kind, failure = await asking.hear()
    assert (FAIL, "function_failed", True) == (kind, failure.code, asking.is_closed)
    assert "text or reasoning" in failure.message


async def test_a_function_that_raises_in_the_middle_fails() -> None:
    """After the pieces that it gave."""
    asking = Asking("x", ValueError("no"))
    asking.ask(credit=8)
    assert (ITEM, (0, "x")) == await asking.hear()
    kind, failure = await asking.hear()
    assert (FAIL, "function_failed") == (kind, failure.code)


async def test_a_cancelled_function_is_closed() -> None:
    """Also while it waits for credit; nothing more is said."""
    asking = Asking("a", "b", "c")
    asking.ask(credit=1)
    await asking.hear()
    await turns()
    asking.functions.cancel(7)
    await turns()
    assert (True, True) == (asking.is_closed, asking.is_silent)
    asking.functions.add_credit(7, 5)
