"""The payload of a FAIL: an error as it crosses the wire."""

from __future__ import annotations

from .codec import decode_value, encode_value
from .errors import CODES, DSPexError, error


def encode_failure(failure: DSPexError) -> bytes:
    """Write an error as a FAIL's payload."""
    fields: dict[str, object] = {
        "code": failure.code,
        # The text of an exception may hold half a surrogate pair, which has no form in UTF-8.
        "message": failure.message.encode(errors="replace").decode(),
        "retryable": failure.retryable,
        "maybe_executed": failure.maybe_executed,
        "retry_after_ms": failure.retry_after_ms,
        "details": dict(failure.details),
    }
    try:
        return encode_value(fields)
    except DSPexError:
        # Details hold what a program raised; an error must get through whatever they are.
        fields["details"] = {}
        return encode_value(fields)


def decode_failure(payload: bytes) -> DSPexError:
    """Read a FAIL's payload. Never raises: what cannot be read becomes `internal`."""
    try:
        fields = decode_value(payload)
    except DSPexError as refusal:
        return error("internal", f"the other side's error could not be read: {refusal}")
    if not isinstance(fields, dict):
        return error("internal", "the other side sent an error that is no map")
    return _from_fields(fields)  # pyright: ignore[reportUnknownArgumentType]


def _from_fields(fields: dict[str, object]) -> DSPexError:
    code, message, details = fields.get("code"), fields.get("message"), fields.get("details")
    retry_after_ms = fields.get("retry_after_ms")
    return error(
        code if isinstance(code, str) and code in CODES else "internal",
        message if isinstance(message, str) else f"an error without a message, code {code!r}",
        details=details if isinstance(details, dict) else None,  # pyright: ignore[reportUnknownArgumentType]
        retryable=fields.get("retryable") is True,
        maybe_executed=fields.get("maybe_executed") is True,
        retry_after_ms=retry_after_ms if isinstance(retry_after_ms, int) else None,
    )
