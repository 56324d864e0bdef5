"""What `dspex sim-lm` does wrong on purpose, request by request: `--faults 429:1.5,cut,ok,garbage`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Final

KINDS: Final[Mapping[str, str]] = {
    "ok": "an answer",
    "cut": "the connection ends in the middle of the answer",
    "garbage": "what comes is no JSON",
    "shape": "what comes is JSON, but no chat completion",
    "stall": "the connection stays open and nothing comes",
    "drip": "a byte now and then, and never a whole answer",
    "endless": "an answer without an end",
    "empty": "an answer without text",
    "length": "half an answer, with finish_reason length",
    "filter": "half an answer, with finish_reason content_filter",
}
MAX_FAULTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request.

    Attributes:
        kind: One of `KINDS`, or `status`.
        status: The HTTP status, for `status`.
        retry_after_s: What `Retry-After` says with it, if anything.
        as_date: It says so as a date.
    """

    kind: str
    status: int = 200
    retry_after_s: float | None = None
    as_date: bool = False

    def headers(self, now: datetime) -> dict[str, str]:
        """The head of the reply that has the status.

        Args:
            now: The wall clock, in UTC.
        """
        if self.retry_after_s is None:
            return {}
        if self.as_date:
            # Rounded up: HTTP's dates have whole seconds, and nobody should be told to come too early.
            when = now.replace(microsecond=0) + timedelta(seconds=math.ceil(self.retry_after_s) + 1)
            return {"Retry-After": format_datetime(when.astimezone(UTC), usegmt=True)}
        return {"Retry-After": f"{self.retry_after_s:g}"}


OK: Final = Fault("ok")


def read_faults(text: str) -> list[Fault]:
    """Read a list such as `429:1.5,503,429:date:2,cut,ok`.

    Raises:
        ValueError: naming the entry that is none.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    if len(entries) > MAX_FAULTS:
        raise ValueError(f"more than {MAX_FAULTS} faults")
    return [_read_fault(entry) for entry in entries]


def _read_fault(entry: str) -> Fault:
    if entry in KINDS:
        return Fault(entry)
    status, _, after = entry.partition(":")
    dated = after.startswith("date:")
    try:
        number = int(status)
        after_s = float(after.removeprefix("date:")) if after else None
    except ValueError:
        number, after_s = 0, None
    if not 400 <= number <= 599 or (after_s is not None and not 0 <= after_s <= 86_400):
        raise ValueError(
            f"{entry!r} is no fault; there are {', '.join(KINDS)}, and a status from 400 to 599"
            " with the seconds of Retry-After behind it, as 429:1.5 or 429:date:2"
        )
    return Fault("status", number, after_s, dated)
