"""HISTORY: what is kept of the last calls, whichever workers ran them.

A worker says it of a call before its outcome, and only where that was wanted (`keeping.py` of the
bridge); it is bytes here until somebody asks. It is in memory, bounded, and ends with the server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

from dspex_protocol import DSPexError, Envelope, decode_value

from .worker import Worker

if TYPE_CHECKING:
    from .calls import Call

MAX_CALLS: Final = 1_000
"""Of all programs together; who wants more writes them down."""

MAX_BYTES: Final = 16 * 1024 * 1024
MAX_CALL_BYTES: Final = 512 * 1024
"""Twice what a worker of ours says of one call."""

MAX_ANSWER_BYTES: Final = 2 * 1024 * 1024
"""Of one page: a client's frames may hold far more, and the supervisor waits while it is put together."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One call.

    Attributes:
        number: Counts the calls that were kept, from 1.
        facts: What it was, as `program.history` tells it.
        requests: Its requests to language models, encoded.
    """

    number: int
    facts: Mapping[str, object]
    requests: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls.

    Attributes:
        facts: What they must have; None where that does not matter.
        limit: How many at most.
        before: Only such as have a smaller number.
    """

    facts: Mapping[str, object]
    limit: int
    before: int | None = None

    def takes(self, kept: Kept) -> bool:
        """Whether a call is one of them."""
        if self.before is not None and kept.number >= self.before:
            return False
        return all(value is None or kept.facts[name] == value for name, value in self.facts.items())


class History:
    """The last calls.

    Args:
        level: As the server was started.
        wall_ms: The time, for people.
    """

    def __init__(self, level: str, wall_ms: Callable[[], int]) -> None:
        self._level = level
        self._wall_ms = wall_ms
        self._calls: deque[Kept] = deque()
        self._bytes = 0
        self._number = 0

    def __len__(self) -> int:
        return len(self._calls)

    def keep(self, worker: Worker, envelope: Envelope, payload: bytes) -> None:
        """A worker says what there is to keep of a call; nothing of one that is not its own."""
        call_id = envelope.meta.get("call")
        call = worker.calls.get(call_id) if isinstance(call_id, int) else None
        if call is None or len(payload) > MAX_CALL_BYTES:
            return
        self._number += 1
        facts = self._facts(call, worker.number, str(envelope.meta.get("outcome")))
        self._calls.append(Kept(self._number, facts, payload))
        self._bytes += len(payload)
        while len(self._calls) > MAX_CALLS or self._bytes > MAX_BYTES:
            self._bytes -= len(self._calls.popleft().requests)

    def _facts(self, call: Call, worker: int, outcome: str) -> dict[str, object]:
        program, version = (None, None) if call.record is None else call.record[:2]
        return {
            "at": datetime.fromtimestamp(self._wall_ms() / 1000, UTC),
            "method": call.method,
            "program": program,
            "version": version,
            "session": call.meta.get("session"),
            "tenant": call.tenant.name,
            "worker": worker,
            "attempt": call.attempt,
            "outcome": outcome,
        }

    def list(self, wanted: Wanted) -> dict[str, object]:
        """Calls as plain values, the newest first; `next` is what to ask for the page after."""
        chosen = list(islice(filter(wanted.takes, reversed(self._calls)), wanted.limit + 1))
        page, size = list[Kept](), 0
        for kept in chosen[: wanted.limit]:
            size += len(kept.requests)
            if page and size > MAX_ANSWER_BYTES:
                break
            page.append(kept)
        more = len(page) < len(chosen)
        return {
            "level": self._level,
            "calls": [_described(kept) for kept in page],
            "next": page[-1].number if more else None,
        }


def _described(kept: Kept) -> dict[str, object]:
    try:
        requests = decode_value(kept.requests)
    except DSPexError:  # a worker wrote what is no value
        requests = []
    return {"number": kept.number, **kept.facts, "requests": requests}
