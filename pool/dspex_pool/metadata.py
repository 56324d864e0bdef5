"""The meta of a CALL, checked once: types and ranges of docs/protocol.md section 2.1."""

from __future__ import annotations

from typing import Final

from dspex_protocol import Meta, invalid_argument
from dspex_protocol.limits import MAX_CREDIT, MAX_DEADLINE_MS, MAX_ID, MAX_NAME_BYTES

from .lanes import Lane
from .library.names import check_program, check_tag, check_write_id

LANES: Final = tuple(Lane)
DEFAULT_PRIORITY: Final = 5
STORED_NAMES: Final = {
    "program": check_program,
    "session": check_program,
    "tag": check_tag,
    "write_id": check_write_id,
}
"""What names something in the store; sessions as programs."""


def integer(meta: Meta, key: str, low: int, high: int) -> int | None:
    """An optional integer.

    Raises:
        CallerError: `invalid_argument` naming the key.
    """
    value = meta.get(key)
    if value is None:
        return None
    if type(value) is not int or not low <= value <= high:
        raise invalid_argument(f"meta.{key}", f"an integer from {low} to {high}", value)
    return value


def check_meta(meta: Meta) -> None:
    """Check what routing does not read itself.

    Raises:
        CallerError: `invalid_argument` naming the key.
    """
    tenant = meta.get("tenant")
    if tenant is not None and (
        not isinstance(tenant, str) or not 1 <= len(tenant.encode()) <= MAX_NAME_BYTES
    ):
        raise invalid_argument("meta.tenant", f"a string of 1 to {MAX_NAME_BYTES} bytes", tenant)
    for key, check in STORED_NAMES.items():
        if meta.get(key) is not None:
            check(meta[key], f"meta.{key}")
    lane = meta.get("lane")
    if lane is not None and lane not in LANES:
        raise invalid_argument("meta.lane", f"one of {', '.join(LANES)}", lane)
    integer(meta, "version", 1, MAX_ID)


def check_all(meta: Meta) -> None:
    """Check everything: for methods that take no notice of their meta.

    Raises:
        CallerError: `invalid_argument` naming the key.
    """
    check_meta(meta)
    deadline_ms(meta, MAX_DEADLINE_MS)
    priority(meta)
    credit(meta)


def deadline_ms(meta: Meta, default: int) -> int:
    """The time that a call has."""
    return integer(meta, "deadline_ms", 1, MAX_DEADLINE_MS) or default


def priority(meta: Meta) -> int:
    """0 to 9, 9 first."""
    value = integer(meta, "priority", 0, 9)
    return DEFAULT_PRIORITY if value is None else value


def lane(meta: Meta) -> Lane:
    """What the call is for; `check_meta` has seen that it is one of them."""
    return Lane(str(meta.get("lane") or Lane.INTERACTIVE))


def credit(meta: Meta) -> int:
    """How many ITEMs the client takes at first."""
    return integer(meta, "credit", 0, MAX_CREDIT) or 0
