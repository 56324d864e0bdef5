"""What clients hear when the store fails: the one place where that is said.

`Conflict`, `Fenced` and `Held` are not here: what they mean is for whoever wrote to say.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

from dspex_pool.store import (
    Conflict,
    Damaged,
    Fenced,
    Full,
    Held,
    ReadOnly,
    Refused,
    Rewound,
    StoreError,
    Unavailable,
)
from dspex_protocol import DSPexError, error

RETRY_AFTER_MS: Final = 1000
"""A store that comes back is used again within two seconds; who asks sooner asks for nothing."""

_CODES: Final[dict[type[StoreError], str]] = {
    Damaged: "store_damaged",
    Full: "store_full",
    ReadOnly: "store_read_only",
    Refused: "store_refused",
    Rewound: "store_rewound",
    Unavailable: "store_unavailable",
}


def to_wire_error(failure: StoreError, *, maybe_executed: bool = False) -> DSPexError:
    """A failure of the store as an error of the wire.

    Args:
        failure: None of `Conflict`, `Fenced`, `Held`: such a one is a mistake of ours, `internal`.
        maybe_executed: The call has had effects beside the store, whatever the store has done.
    """
    code = next((code for kind, code in _CODES.items() if isinstance(failure, kind)), "internal")
    applied = isinstance(failure, Unavailable) and failure.maybe_applied
    return error(
        code,
        str(failure),
        maybe_executed=maybe_executed or applied,
        retry_after_ms=RETRY_AFTER_MS if code == "store_unavailable" else None,
    )


def for_others(failure: DSPexError) -> DSPexError:
    """The same failure for a call that has waited behind the one that found it, and has done nothing."""
    return error(
        failure.code, failure.message, details=failure.details, retry_after_ms=failure.retry_after_ms
    )


class Translation:
    """`with told:` lets failures of the store out as errors of the wire, and the three others as they are."""

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Translate what comes."""
        if isinstance(failure, StoreError) and not isinstance(failure, Conflict | Fenced | Held):
            raise to_wire_error(failure) from failure


told: Final = Translation()
