"""Why a call may have failed: every code must have its reason in what really happened.

This is how P3 is seen: a call that fails because of another one's misfortune has no reason of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dspex_pool.tenants import RESERVE_PARTS

from .records import CallRecord, Violation

if TYPE_CHECKING:
    from .world import World

Details = dict[str, object]

BREAKER_FAILURES: Final = 5
POISONING_DEATHS: Final = 2
EARLY_S: Final = 0.002  # deadlines travel as whole milliseconds


MAX_STORED: Final = 20
"""Calls that may wait for the store."""
CONTENDED_TRIES: Final = 5
"""An update that names no version is made again so often, where others' come in between."""


def explain(world: World, call: CallRecord, code: str, failure: Details) -> None:
    """Find the reason of a failure.

    Raises:
        Violation: when it has none.
    """
    if code in call.may_fail_with or world.history.jobs.explains(call, code):
        return
    reason = _REASONS.get(code)
    if reason is None or not reason(world, call, failure):
        raise Violation("P3", f"{call} failed without a reason: {failure}")


def _program_failed(world: World, call: CallRecord, failure: Details) -> bool:
    return any(execution.has_failed for execution in call.executions)


def _cancelled(world: World, call: CallRecord, failure: Details) -> bool:
    return call.cancel_arrived_s is not None


def _deadline(world: World, call: CallRecord, failure: Details) -> bool:
    assert call.arrived_s is not None
    return world.now_s >= call.arrived_s + call.deadline_s - EARLY_S


def _overloaded(world: World, call: CallRecord, failure: Details) -> bool:
    open_calls = [other for other in world.history.open.values() if not other.is_local]
    open_calls += [
        row for other in open_calls if other.batch for row in other.batch.rows if not row.is_closed
    ]
    waiting = sum(not any(sending.ended_s is None for sending in other.sendings) for other in open_calls)
    details = failure.get("details")
    waiting += isinstance(details, dict) and details.get("where") == "queue"  # it waited itself
    if call.is_stored:  # it hears a moment later what became of what a worker was to do for it
        waiting += sum(other.over_s == world.now_s for other in world.history.calls)
    too_many = waiting >= world.config.max_queue
    # What a worker does for a call of the store's is held apart from that call.
    # So is each row of a batch; all of them together are as long as it, and what they share.
    held_bytes = sum(_held_bytes(other) for other in open_calls) + call.bytes * (1 + call.is_stored)
    # The last part of the room is not for those who have their fair share already.
    limit = world.config.max_open_bytes
    too_much = held_bytes > limit - limit // RESERVE_PARTS
    too_many |= (
        sum(other.is_stored or other.is_turn or bool(other.program) for other in open_calls) >= MAX_STORED
    )
    assert call.arrived_s is not None
    too_old = world.now_s - call.arrived_s >= world.config.max_queue_s - EARLY_S
    return call.depth == 0 and (too_many or too_much or too_old or _contended(world, call))


def _held_bytes(call: CallRecord) -> int:
    """At most: what rows that have just ended held is given back a moment later, so a batch counts twice."""
    return call.bytes * (1 + call.is_stored + (call.batch is not None))


def _contended(world: World, call: CallRecord) -> bool:
    return call.is_stored and len(world.history.stored.seen(call, call.program)) > CONTENDED_TRIES


def _boot_failed(world: World, call: CallRecord, failure: Details) -> bool:
    recent = [at_s for at_s in world.processes.failures_s if world.now_s - at_s < 60]
    return len(recent) >= BREAKER_FAILURES


def _worker_died(world: World, call: CallRecord, failure: Details) -> bool:
    died = [sending.worker for sending in call.sendings if sending.worker.is_dead]
    details = failure.get("details")
    number = details.get("worker") if isinstance(details, dict) else None
    has_effects = call.is_committed or call.method == "tool.pay"
    is_spent = isinstance(details, dict) and details.get("budget") == "spent"
    return (has_effects or is_spent) and any(worker.number == number for worker in died)


def _poisoned(world: World, call: CallRecord, failure: Details) -> bool:
    return sum(sending.worker.is_dead for sending in call.sendings) >= POISONING_DEATHS


def _misbehaved(world: World, call: CallRecord, failure: Details) -> bool:
    return any(execution.has_misbehaved for execution in call.executions)


def _draining(world: World, call: CallRecord, failure: Details) -> bool:
    return world.is_draining or call.connection.said_goodbye


def _nested(world: World, call: CallRecord, failure: Details) -> bool:
    # The callback in which it was made may have ended while it was on its way.
    return call.depth > 0


# The store


def _store_failed(world: World, call: CallRecord, failure: Details) -> bool:
    """It has, when it was asked for this call; and the call could not do without it."""
    code = str(failure["code"])
    if call.is_known and not world.history.stored.resolves_not(call):
        raise Violation("P12", f"{call} fails with {code}, and its program was known")
    if code == "store_unavailable" and failure["retry_after_ms"] is None:
        return False
    assert call.arrived_s is not None
    # Those that are answered from the store hear of it when one of them finds it out.
    names = None if call.is_stored else world.history.stored.names_of(call)
    return world.store.has_failed(names, code, call.arrived_s)


def _unknown_program(world: World, call: CallRecord, failure: Details) -> bool:
    return world.history.stored.resolves_not(call)


def _program_exists(world: World, call: CallRecord, failure: Details) -> bool:
    states = world.history.stored.seen(call, call.program)
    return call.method == "program.create" and any(state.head is not None for state in states)


def _version_conflict(world: World, call: CallRecord, failure: Details) -> bool:
    assert call.write is not None
    expected = {"program.update": call.version, "program.rollback": call.write.payload.get("newest")}
    details = failure["details"]
    assert isinstance(details, dict)
    if expected.get(call.method) in (None, details["newest"]):
        return False
    states = world.history.stored.seen(call, call.program)
    return any(state.head is not None and state.head.newest == details["newest"] for state in states)


def _unknown_session(world: World, call: CallRecord, failure: Details) -> bool:
    return world.history.stored.may_be_unknown(call)


def _session_exists(world: World, call: CallRecord, failure: Details) -> bool:
    return any(world.common.ledger.sessions.was_there(name, call.mark) for name in _wanted(call))


def _session_busy(world: World, call: CallRecord, failure: Details) -> bool:
    # The one that a fork wants to begin may be another server's as well as the one that it is made of.
    stored = world.history.stored
    return failure["retry_after_ms"] is not None and (
        stored.was_elsewhere(call) or any(stored.was_elsewhere(call, name) for name in _wanted(call))
    )


def _wanted(call: CallRecord) -> list[str]:
    """The sessions that a call wants to begin."""
    return [name.partition("/")[2] for name in call.names if name.startswith("session/")]


_REASONS: Final[dict[str, Callable[[World, CallRecord, Details], bool]]] = {
    "program_failed": _program_failed,
    "cancelled": _cancelled,
    "deadline": _deadline,
    "overloaded": _overloaded,
    "boot_failed": _boot_failed,
    "worker_died": _worker_died,
    "poisoned": _poisoned,
    "credit_exceeded": _misbehaved,
    "result_too_large": _misbehaved,
    "draining": _draining,
    "invalid_argument": _nested,
    "internal": _misbehaved,
    "store_unavailable": _store_failed,
    "store_full": _store_failed,
    "store_read_only": _store_failed,
    "unknown_program": _unknown_program,
    "program_exists": _program_exists,
    "version_conflict": _version_conflict,
    "unknown_session": _unknown_session,
    "session_exists": _session_exists,
    "session_busy": _session_busy,
}
