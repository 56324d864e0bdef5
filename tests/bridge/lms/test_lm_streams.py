"""Which answer a piece is of, by what LiteLLM says and by what DSPy's own client does not."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from dspy.clients.call_result import attributes

from dspex_bridge.lms.streaming import ask_streaming

Piece = tuple[int, str | None, str | None]
"""The number that a chunk has, text, and why the answer has ended."""


@pytest.mark.parametrize(
    "pieces",
    [
        [(0, "a", None), (0, "b", "stop"), (0, "c", None), (0, "d", "stop")],
        [(0, "a", None), (1, "c", None), (0, "b", None), (1, "d", "stop"), (0, None, "stop")],
        [(0, "ab", "stop"), (0, None, None), (1, "c", None), (1, "d", "stop")],
    ],
    ids=["one after the other, all the first", "mixed, by number", "with an empty piece between"],
)
async def test_answers_are_told_apart(pieces: list[Piece]) -> None:
    """Each has its text, and ends once."""
    items: list[dict[str, Any]] = []

    async def ask() -> None:
        for number, text, reason in pieces:
            choice = {"index": number, "delta": {"content": text}, "finish_reason": reason}
            await dspy.settings.send_stream.send(attributes({"choices": [choice]}))

    async def emit(item: dict[str, object]) -> None:
        items.append(dict(item))

    await ask_streaming(ask, emit)
    texts = ["".join(item["text"] for item in items if item.get("completion", 0) == at) for at in (0, 1)]
    assert ["ab", "cd"] == texts
    assert [0, 1] == sorted(item.get("completion", 0) for item in items if item["last"])
