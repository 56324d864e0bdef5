"""The wall clock, for people to read. Nothing is decided by it: it may be set at any moment."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """Date and time, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 -- for people to read


def wall_ms() -> int:
    """The same in milliseconds since 1970."""
    return int(now().timestamp() * 1000)
