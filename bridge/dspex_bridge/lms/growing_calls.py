"""Calls of tools that a model wants, while they are being written. Pure."""

from __future__ import annotations

from typing import Any


class GrowingCalls:
    """The calls of one answer. A call is complete when another begins, or the answer has ended."""

    def __init__(self) -> None:
        self._written: dict[int, dict[str, str]] = {}
        self._given = 0

    def feed(self, pieces: Any) -> list[dict[str, Any]]:
        """Take what a chunk has of `tool_calls`; gives those that are complete, in the form of an answer's.

        Args:
            pieces: In the form of chat completions: maps of DSPy's own, or objects of LiteLLM.
        """
        for piece in pieces or ():
            at: int = _get(piece, "index") or 0
            function = _get(piece, "function")
            call = self._written.setdefault(at, {"id": "", "name": "", "arguments": ""})
            call["id"] = _get(piece, "id") or call["id"]
            call["name"] = _get(function, "name") or call["name"]
            call["arguments"] += _get(function, "arguments") or ""
        return self._complete(len(self._written) - 1)

    def close(self) -> list[dict[str, Any]]:
        """The answer has ended: those that are left."""
        return self._complete(len(self._written))

    def _complete(self, number: int) -> list[dict[str, Any]]:
        calls = list(self._written.values())[self._given : number]
        self._given += len(calls)
        return [
            {"id": call["id"], "function": {"name": call["name"], "arguments": call["arguments"] or "{}"}}
            for call in calls
        ]


def _get(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, dict) else getattr(holder, name, None)  # pyright: ignore[reportUnknownMemberType]
