"""Why a session cannot be had, each in one place."""

from __future__ import annotations

from dspex_protocol import DSPexError, error


def unknown(session: str) -> DSPexError:
    """There is none of that name; it may have been closed, or forgotten for want of turns."""
    return error("unknown_session", f"there is no session {session!r}", details={"session": session})


def exists(session: str) -> DSPexError:
    """There is one of that id already."""
    return error("session_exists", f"there is a session {session!r} already", details={"session": session})


def busy(session: str, remaining_s: float) -> DSPexError:
    """Another server has it, for so long unless it goes on with it."""
    return error(
        "session_busy",
        f"another server makes turns of session {session!r}",
        details={"session": session},
        retry_after_ms=max(50, int(remaining_s * 1000)),
    )


def moved(session: str, idle_s: float) -> DSPexError:
    """Another server has taken it, and gives it back after so long without a turn."""
    return error(
        "session_busy",
        f"session {session!r} has gone to another server",
        details={"session": session},
        retry_after_ms=int(idle_s * 1000),
    )


def in_the_middle(failure: DSPexError) -> DSPexError:
    """The same for the turn that was made, and may not be kept."""
    return error(
        failure.code,
        f"{failure.message}; the turn was made and could not be kept",
        details=failure.details,
        retry_after_ms=failure.retry_after_ms,
        maybe_executed=True,
    )
