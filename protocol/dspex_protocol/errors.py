"""What can go wrong, once: every code that crosses the wire, whose fault it is, and the exceptions.

The tree is short. Which branch a code belongs to is a column of the table, so a peer in
another language needs only the table (docs/errors.md is generated from it):

    DSPexError
    ├── WireError       the other side broke the protocol
    ├── CallerError     the call asks for something that cannot be
    ├── ServiceError    the server could not do it now: queue, deadline, dead worker
    └── ProgramError    the program or its language model failed
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """Whose fault an error is."""

    WIRE = "wire"
    CALLER = "caller"
    SERVICE = "service"
    PROGRAM = "program"


@dataclass(frozen=True, slots=True)
class CodeInfo:
    """One row of the table of codes."""

    fault: Fault
    retryable: bool
    meaning: str


_W, _C, _S, _P = Fault.WIRE, Fault.CALLER, Fault.SERVICE, Fault.PROGRAM

CODES: Final[Mapping[str, CodeInfo]] = {
    # frames and envelopes
    "frame_empty": CodeInfo(_W, False, "A frame had no body."),
    "frame_too_large": CodeInfo(_W, False, "A frame was longer than the receiver accepts."),
    "frame_truncated": CodeInfo(_W, False, "The connection ended inside a frame."),
    "envelope_invalid": CodeInfo(_W, False, "kind, id, method or meta broke a rule."),
    "envelope_too_large": CodeInfo(_W, False, "The envelope was longer than 4,096 bytes."),
    "call_id_reused": CodeInfo(_W, False, "A call was opened with an id that is still open."),
    "credit_exceeded": CodeInfo(_W, False, "A stream sent more items than it had credit for."),
    "handshake_required": CodeInfo(_W, False, "A call came before system.hello."),
    "handshake_repeated": CodeInfo(_W, False, "system.hello was called twice."),
    "handshake_failed": CodeInfo(_W, False, "No common version, or a required capability is missing."),
    # values
    "value_truncated": CodeInfo(_W, False, "A payload ended inside a value."),
    "value_trailing": CodeInfo(_W, False, "A payload had bytes after its value."),
    "value_too_deep": CodeInfo(_W, False, "A payload was nested more than 64 levels deep."),
    "value_too_many_items": CodeInfo(_W, False, "A payload had more than 1,048,576 items."),
    "value_duplicate_key": CodeInfo(_W, False, "A map had the same key twice."),
    "value_bad_key": CodeInfo(_W, False, "A map had a key that is no string."),
    "value_bad_utf8": CodeInfo(_W, False, "A string was not UTF-8."),
    "value_reserved_byte": CodeInfo(_W, False, "A payload contained the unused byte 0xC1."),
    "value_unknown_extension": CodeInfo(_W, False, "An extension type that this protocol does not have."),
    "value_bad_extension": CodeInfo(_W, False, "An extension's content was malformed."),
    "value_unencodable": CodeInfo(_W, False, "A value has no form on the wire."),
    # the caller
    "invalid_argument": CodeInfo(
        _C, False, "An argument has the wrong type or value; details name field, expected, got."
    ),
    "unknown_method": CodeInfo(_C, False, "No such method."),
    "unknown_program": CodeInfo(_C, False, "No program of that id and version."),
    "program_exists": CodeInfo(_C, False, "A program of that id exists already."),
    "version_conflict": CodeInfo(
        _C, False, "The program has a newer version than the write was based on; details name the newest."
    ),
    "write_id_reused": CodeInfo(_C, False, "That write_id was used for a write with other parameters."),
    "record_too_new": CodeInfo(
        _C, False, "A newer DSPex wrote this record or checkpoint; it is left as it is."
    ),
    "unknown_job": CodeInfo(_C, False, "No job of that id."),
    "job_key_reused": CodeInfo(
        _C, False, "That key was used for a job with another request; details name that job."
    ),
    "job_not_done": CodeInfo(_C, True, "The job has not ended yet: it has no result, and cannot be deleted."),
    "unknown_dataset": CodeInfo(_C, False, "No dataset of that id and version."),
    "unknown_experiment": CodeInfo(_C, False, "No experiment of that id, or no such run of it."),
    "unknown_evaluation": CodeInfo(_C, False, "No evaluation of that id."),
    "evaluation_exists": CodeInfo(_C, False, "An evaluation of that id was begun with another request."),
    "unknown_session": CodeInfo(_C, False, "No session of that id, or not at that turn."),
    "session_exists": CodeInfo(_C, False, "A session of that id is open already."),
    "unknown_lm": CodeInfo(_C, False, "No language model of that name is configured."),
    "unknown_function": CodeInfo(_C, False, "The host offers no function of that name."),
    "callback_too_deep": CodeInfo(_C, False, "Callbacks were nested more than 8 deep."),
    "not_permitted": CodeInfo(_C, False, "The host has not opened this door."),
    # the service
    "overloaded": CodeInfo(_S, True, "The server has too much to do; come back after retry_after_ms."),
    "unavailable": CodeInfo(_S, True, "No worker can be had at the moment."),
    "boot_failed": CodeInfo(_S, False, "Workers do not start; details.stderr has their last words."),
    "worker_died": CodeInfo(_S, True, "The worker died during the call; see maybe_executed."),
    "poisoned": CodeInfo(_S, False, "Workers died while they ran this very call; it is not tried again."),
    "deadline": CodeInfo(_S, True, "The call's time was over."),
    "cancelled": CodeInfo(_S, False, "The caller cancelled the call."),
    "draining": CodeInfo(_S, True, "The server is shutting down."),
    "connection_lost": CodeInfo(_S, True, "The connection ended with the call still open."),
    "result_too_large": CodeInfo(_S, False, "The result does not fit the receiver's frame limit."),
    "evaluation_taken": CodeInfo(_S, False, "Another run has gone on with that evaluation."),
    "session_busy": CodeInfo(_S, True, "Another server has the session; come back after retry_after_ms."),
    "program_damaged": CodeInfo(
        _S, False, "That version cannot be read any more; details name the newest sound one before it."
    ),
    "store_unavailable": CodeInfo(
        _S, True, "The store gave no answer in time; for a write see maybe_executed."
    ),
    "store_full": CodeInfo(_S, False, "The store has no room for the write; what it holds can be read."),
    "store_read_only": CodeInfo(_S, False, "The store takes no writes; what it holds can be read."),
    "store_refused": CodeInfo(_S, False, "The store cannot be used as it stands; the message says why."),
    "store_rewound": CodeInfo(_S, False, "The store has lost what it had acknowledged."),
    "store_damaged": CodeInfo(_S, False, "The store's own file or tables are broken."),
    "budget_spent": CodeInfo(
        _S, False, "The budget of a job has no room for another request; details have the best result so far."
    ),
    "internal": CodeInfo(_S, False, "A fault of DSPex itself; please report it."),
    # the program and its models
    "prediction_failed": CodeInfo(_P, True, "The model's answer did not fit the signature."),
    "program_failed": CodeInfo(_P, False, "The program raised an exception."),
    "function_failed": CodeInfo(_P, False, "A host function raised an exception or was not there."),
    "function_timeout": CodeInfo(_P, True, "A host function did not answer in time."),
    "metric_failed": CodeInfo(_P, False, "A metric raised an exception, or gave no score of a row."),
    "metric_timeout": CodeInfo(_P, True, "A metric gave no score of a row in time."),
    "finetune_failed": CodeInfo(_P, False, "The provider's fine-tuning job came to nothing."),
    "lm_not_configured": CodeInfo(_P, False, "The program needs a language model and none is configured."),
    "lm_auth": CodeInfo(_P, False, "The provider refused the credentials."),
    "lm_rate_limited": CodeInfo(_P, True, "The provider is limiting the rate."),
    "lm_context_window": CodeInfo(_P, False, "The prompt is longer than the model's context window."),
    "lm_invalid_request": CodeInfo(_P, False, "The provider refused the request."),
    "lm_timeout": CodeInfo(_P, True, "The provider did not answer in time."),
    "lm_unavailable": CodeInfo(_P, True, "The provider could not be reached or failed."),
    "lm_error": CodeInfo(_P, False, "The language model failed in another way."),
}


class DSPexError(Exception):
    """An error with a stable code.

    Attributes:
        code: A key of `CODES`.
        message: For people; holds no prompt and no secret.
        details: Plain values by code; `invalid_argument` has `field`, `expected`, `got`.
        retryable: The same call may succeed later.
        maybe_executed: The call may have had effects.
        retry_after_ms: Do not come back sooner, or None.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        retryable: bool | None = None,
        maybe_executed: bool = False,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details: Mapping[str, object] = details or {}
        self.retryable = CODES[code].retryable if retryable is None else retryable
        self.maybe_executed = maybe_executed
        self.retry_after_ms = retry_after_ms

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class WireError(DSPexError):
    """The other side broke the protocol."""


class CallerError(DSPexError):
    """The call asks for something that cannot be."""


class ServiceError(DSPexError):
    """The server could not do it now."""


class ProgramError(DSPexError):
    """The program or its language model failed."""


_CLASSES: Final = {
    Fault.WIRE: WireError,
    Fault.CALLER: CallerError,
    Fault.SERVICE: ServiceError,
    Fault.PROGRAM: ProgramError,
}


def error(
    code: str,
    message: str,
    *,
    details: Mapping[str, object] | None = None,
    retryable: bool | None = None,
    maybe_executed: bool = False,
    retry_after_ms: int | None = None,
) -> DSPexError:
    """Build the exception of the branch that `code` belongs to."""
    return _CLASSES[CODES[code].fault](
        code,
        message,
        details=details,
        retryable=retryable,
        maybe_executed=maybe_executed,
        retry_after_ms=retry_after_ms,
    )


def invalid_argument(field: str, expected: str, got: object) -> DSPexError:
    """Name the field, what was expected and what came.

    Args:
        field: Path of the field, such as `signature.inputs[0].type`.
        expected: In words.
        got: The value that came; only its type and, if short and plain, its text are told.
    """
    came = describe_value(got)
    return error(
        "invalid_argument",
        f"{field}: expected {expected}, got {came}",
        details={"field": field, "expected": expected, "got": came},
    )


def describe_value(value: object) -> str:
    """Say what a value is in words that are safe to log: no long text, no bytes."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value) if isinstance(value, float) or value.bit_length() < 128 else "a huge integer"
        case str():
            return f"string {value!r}" if len(value) <= 40 else f"a string of {len(value)} characters"
        case bytes():
            return f"{len(value)} bytes"
        case Mapping():
            return f"a map of {len(value)}"  # pyright: ignore[reportUnknownArgumentType]
        case list() | tuple():
            return f"an array of {len(value)}"  # pyright: ignore[reportUnknownArgumentType]
        case _:
            return type(value).__name__
