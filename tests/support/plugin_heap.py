"""A plug-in that looks through everything that its worker has in memory for a text."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

from dspex_bridge.rows import Operation, Worker
from dspex_bridge.worker.calls import RunningCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    """A text, written backwards: else the call that looks for it would be found."""

    backwards: str


def found(text: str) -> list[str]:
    """What holds it: the kinds of texts, and of what refers to them."""
    gc.collect()
    gc.unfreeze()
    waiting: list[Any] = gc.get_objects()
    seen = set(map(id, waiting)) | {id(waiting), id(text)}
    places: list[str] = []
    while waiting:
        holder: Any = waiting.pop()
        for item in gc.get_referents(holder):
            if id(item) in seen:
                continue
            seen.add(id(item))
            if isinstance(item, str | bytes | bytearray):
                body = item.encode(errors="replace") if isinstance(item, str) else item
                if text.encode() in body:
                    places.append(f"{type(item).__name__} in {type(holder).__name__}")
            elif not gc.is_tracked(item):
                waiting.append(item)
    return places


def _find(worker: Worker, call: RunningCall, what: Find) -> object:
    return found(what.backwards[::-1])


OPERATIONS = [Operation(method="heap.find", parameters=Find, run=_find, inline=True, doc="Looks for a text.")]
