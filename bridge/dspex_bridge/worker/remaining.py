"""What is left of the time of the call at hand, for what must not outlast it."""

from __future__ import annotations

from time import monotonic

from .calls import current_call


def remaining_s() -> float | None:
    """In seconds; None outside of a call, and for one that named no deadline."""
    call = current_call.get(None)
    deadline_ms = None if call is None else call.meta.get("deadline_ms")
    if call is None or not isinstance(deadline_ms, int):
        return None
    return deadline_ms / 1000 - (monotonic() - call.started_at)
