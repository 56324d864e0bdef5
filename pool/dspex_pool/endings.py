"""How a call ends when no answer of its worker ends it: the errors, in one place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dspex_protocol import DSPexError, error

from .calls import Call

if TYPE_CHECKING:
    from .quarantine import Repro
    from .worker import Callback, Worker


def cancelled(call: Call, rung: str) -> DSPexError:
    """The client gave it up.

    Args:
        call: As it stood.
        rung: How far the server went: `queued`, `asked` or `left`.
    """
    return error(
        "cancelled", "the caller cancelled the call", details={"rung": rung}, maybe_executed=call.committed
    )


def late(call: Call) -> DSPexError:
    """Its time is over."""
    where = "in the queue" if call.worker is None else f"in worker {call.worker.number}"
    return error(
        "deadline",
        f"{call.method} was not done when its time was over; it was {where}",
        maybe_executed=call.committed,
        details={"where": "queue" if call.worker is None else "worker"},
    )


def too_large(size: int, limit: int, *, maybe_executed: bool = False) -> DSPexError:
    """An answer is longer than a frame may be."""
    return error(
        "result_too_large",
        f"the answer is a frame of {size} bytes and {limit} are accepted",
        details={"bytes": size, "limit": limit},
        maybe_executed=maybe_executed,
    )


def out_of_turn(worker: Worker) -> DSPexError:
    """A stream's worker sent what it had no credit for, or skipped an item."""
    return error("credit_exceeded", f"worker {worker.number} sent an item out of turn")


def function_out_of_turn(seq: object, callback: Callback) -> DSPexError:
    """A host function's stream sent what it had no credit for, or skipped an item."""
    return error(
        "credit_exceeded",
        f"the host function sent item {seq} out of turn: {callback.next_seq} was next,"
        f" and it had credit for {callback.credit}",
    )


def crowded(max_bytes: int, max_entries: int) -> DSPexError:
    """The client's envelope leaves the server no room."""
    return error(
        "envelope_too_large",
        f"an envelope may have {max_bytes} bytes, its meta {max_entries} entries; the rest is the server's",
    )


def unknown_method(method: str, known: Iterable[str]) -> DSPexError:
    """Nobody here does that."""
    names = sorted(known)
    return error(
        "unknown_method",
        f"there is no method {method!r}; the methods are: {', '.join(names)}",
        details={"known": names},
    )


def died_under(call: Call, worker_number: int, reason: str) -> DSPexError:
    """The error of a committed call whose worker died."""
    details: dict[str, object] = {"worker": worker_number, "reason": reason}
    if call.next_seq:
        details["last_seq"] = call.next_seq - 1
    return error(
        "worker_died",
        f"worker {worker_number} died ({reason}) while it ran {call.method};"
        " the call may have had effects and is not repeated",
        details=details,
        maybe_executed=True,
    )


def clerk_died(call: Call, number: int, reason: str) -> DSPexError:
    """The error of a call that the clerk has died under; it only reads, so it has had no effect."""
    details: dict[str, object] = {"worker": number, "reason": reason}
    if call.next_seq:
        details["last_seq"] = call.next_seq - 1
    return error(
        "worker_died",
        f"the process that reads for {call.method} died ({reason}); the call has had no effect",
        details=details,
        retryable=True,
    )


def poisoned(call: Call, repro: Repro | None, reason: str) -> DSPexError:
    """The error of a call under which too many workers died.

    Args:
        call: As it stood.
        repro: What is kept of it, where it is in quarantine now.
        reason: How the last of the workers ended.
    """
    deaths = max(call.deaths, call.attempt)
    return error(
        "poisoned",
        f"{call.method} was in {deaths} workers when they died (last: {reason}); it is not tried again",
        details={
            "deaths": deaths,
            "fingerprint": None if repro is None else repro.fingerprint,
            "method": call.method,
            "payload_bytes": len(call.payload),
            "reason": reason,
        },
        maybe_executed=True,
    )


def budget_spent(call: Call, worker_number: int, reason: str) -> DSPexError:
    """The error of a call that could be repeated, at a time when too many are."""
    return error(
        "worker_died",
        f"worker {worker_number} died ({reason}) while it ran {call.method};"
        " it is not repeated, since so many calls were repeated lately",
        details={"worker": worker_number, "reason": reason, "budget": "spent"},
        retryable=True,  # it has had no effects; it only must not add to the load now
    )


def quarantined(call: Call, repro: Repro) -> DSPexError:
    """The error of a call that is the same as one that is in quarantine."""
    return error(
        "poisoned",
        f"the same call of {call.method} was running in {len(repro.deaths)} workers when they died;"
        " it is refused until it is released or forgotten",
        details={
            "fingerprint": repro.fingerprint,
            "method": call.method,
            "reasons": [death.reason for death in repro.deaths],
        },
    )


def shed(call: Call, waited_s: float, why: str, retry_after_ms: int) -> DSPexError:
    """The error of a call that has waited and is taken out of the queue."""
    return error(
        "overloaded",
        f"{call.method} was taken out of the queue after {waited_s:.1f} s: {why}",
        retry_after_ms=retry_after_ms,
        details={"where": "queue", "waited_ms": round(waited_s * 1000)},
    )
