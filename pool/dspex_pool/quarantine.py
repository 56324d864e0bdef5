"""Calls that killed workers: who they were, and that they do not come back at once.

A client that was told `poisoned` often tries again, and each try would cost two or three
workers. The same call is refused for a while: same method, same program, same payload. What
is kept of it is a **repro**, enough to find the call in the host's own records and to see
what is odd about it, without a word of what it said.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from dspex_protocol import Scalar

from .metadata import LANES
from .payload_shape import shape_of

if TYPE_CHECKING:
    from .calls import Call, WorkerDeath

QUARANTINE_S: Final = 600.0
"""Long enough that a client in a retry loop costs two workers in ten minutes; then what was
wrong (a full disk, a broken library) may have been put right."""

MAX_QUARANTINED: Final = 100
"""Repros that are kept; the oldest goes first."""

# Names that the protocol gives to meta, docs/protocol.md section 2.1. Others are the client's
# own and may hold anything.
_META_NAMES: Final = frozenset(
    ("budget_calls", "budget_tokens", "budget_usd", "credit", "deadline_ms", "dedup_key", "idempotent")
    + ("lane", "parent", "priority", "program", "route", "tenant", "traceparent", "version")
)
# Whose values say nothing of the work, and help to find the call.
_NUMBERS: Final = ("deadline_ms", "priority")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repro:
    """What is told of a call that killed workers. Holds no text and no number of its payload.

    Attributes:
        fingerprint: Names the call; the same call always has the same.
        method: As the client called it.
        meta: Program, version, lane, priority and deadline, as far as the call named them.
        meta_names: Further names of the protocol that its meta had, without values.
        shape: Types and sizes of the payload; None for what is too long or malformed.
        payload_bytes: Its length.
        deaths: The workers that died.
        since_s: When it was quarantined (monotonic).
    """

    fingerprint: str
    method: str
    meta: dict[str, Scalar]
    meta_names: tuple[str, ...]
    shape: str | None
    payload_bytes: int
    deaths: tuple[WorkerDeath, ...]
    since_s: float

    def describe(self, now_s: float) -> dict[str, object]:
        """As plain values, for `pool.quarantine`."""
        return {
            "fingerprint": self.fingerprint,
            "method": self.method,
            "meta": dict(self.meta),
            "meta_names": list(self.meta_names),
            "shape": self.shape,
            "payload_bytes": self.payload_bytes,
            "deaths": [{"worker": death.worker, "reason": death.reason} for death in self.deaths],
            "ago_s": round(now_s - self.since_s, 3),
        }


_Kind = tuple[str, str | None, int, int]


class Quarantine:
    """The calls that are refused now. Pure: the time is passed in, in seconds."""

    def __init__(self) -> None:
        self._repros: dict[str, tuple[Repro, _Kind]] = {}  # oldest first
        # A hash of every call would cost more than the rest of its admission: nearly all
        # differ from these already in method, program or length.
        self._kinds: Counter[_Kind] = Counter()

    def __len__(self) -> int:
        return len(self._repros)

    def add(self, call: Call, deaths: Iterable[WorkerDeath], now_s: float) -> Repro:
        """Refuse a call from now on; once more when it is here already."""
        self._expire(now_s)
        repro = _repro_of(call, tuple(deaths), now_s)
        self._drop([repro.fingerprint])
        self._drop(list(islice(self._repros, max(0, len(self._repros) - MAX_QUARANTINED + 1))))
        kind = _kind_of(call)
        self._repros[repro.fingerprint] = repro, kind
        self._kinds[kind] += 1
        return repro

    def refuses(self, call: Call, now_s: float) -> Repro | None:
        """The repro of a call like this one, or None when it may run."""
        if not self._kinds or _kind_of(call) not in self._kinds:
            return None
        self._expire(now_s)
        repro, _ = self._repros.get(_fingerprint_of(call), (None, None))
        return repro

    def list(self, now_s: float) -> list[dict[str, object]]:
        """All repros as plain values, the newest first."""
        self._expire(now_s)
        return [repro.describe(now_s) for repro, _ in reversed(self._repros.values())]

    def release(self, fingerprint: str | None) -> int:
        """Let a call run again, or all of them.

        Returns:
            How many were here.
        """
        return self._drop(list(self._repros) if fingerprint is None else [fingerprint])

    def _expire(self, now_s: float) -> None:
        self._drop(list(self._expired(now_s)))

    def _expired(self, now_s: float) -> Iterator[str]:
        for fingerprint, (repro, _) in self._repros.items():
            if now_s < repro.since_s + QUARANTINE_S:
                break
            yield fingerprint

    def _drop(self, fingerprints: Iterable[str]) -> int:
        dropped = 0
        for fingerprint in fingerprints:
            repro, kind = self._repros.pop(fingerprint, (None, None))
            if repro is not None and kind is not None:
                dropped += 1
                self._kinds -= Counter((kind,))  # counts that reach 0 go
        return dropped


def _kind_of(call: Call) -> _Kind:
    program, version = (None, 0) if call.record is None else call.record[:2]
    return call.method, program, version, len(call.payload)


def _fingerprint_of(call: Call) -> str:
    """SHA-256 over method, program and payload.

    The program by its record as well: an id that was deleted and made anew, perhaps without
    the fault, begins with version 1 again.
    """
    method, program, version, _ = _kind_of(call)
    record = b"" if call.record is None else call.record[2]
    digest = hashlib.sha256()
    for part in (method.encode(), repr((program, version)).encode(), record, call.payload):
        digest.update(len(part).to_bytes(8, "big"))  # else two parts could be cut elsewhere
        digest.update(part)
    return digest.hexdigest()


def _repro_of(call: Call, deaths: tuple[WorkerDeath, ...], now_s: float) -> Repro:
    meta = _harmless(call)
    return Repro(
        fingerprint=_fingerprint_of(call),
        method=call.method,
        meta=meta,
        meta_names=tuple(sorted(_META_NAMES.intersection(call.meta).difference(meta))),
        shape=shape_of(call.payload),
        payload_bytes=len(call.payload),
        deaths=deaths,
        since_s=now_s,
    )


def _harmless(call: Call) -> dict[str, Scalar]:
    meta: dict[str, Scalar] = {}
    if call.record is not None:
        meta["program"], meta["version"] = call.record[:2]
    if call.meta.get("lane") in LANES:
        meta["lane"] = call.meta["lane"]
    for name in _NUMBERS:
        if type(call.meta.get(name)) is int:
            meta[name] = call.meta[name]
    return meta
