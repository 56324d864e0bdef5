"""From a client's CALL frame to the record of a call, or a refusal that changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dspex_protocol import Envelope, Meta, error, invalid_argument
from dspex_protocol.limits import MAX_CALLBACK_DEPTH, MAX_ENVELOPE_BYTES, MAX_ID, MAX_META_ENTRIES

from . import endings, metadata
from .calls import Call, Caller
from .lanes import Lane
from .library.library import Library
from .library.names import reference_of
from .operations import ADMITTED, HOP_METHODS, OWN_METHODS, SPREAD, with_own_methods
from .stored_calls import check_session
from .stored_operations import STORED_METHODS
from .tenants import Tenants

# On the way to a worker the id grows, and a version and the remaining time are put in.
MAX_CALL_ENVELOPE_BYTES: Final = MAX_ENVELOPE_BYTES - 64
MAX_CALL_META_ENTRIES: Final = MAX_META_ENTRIES - 4
CONTROL_METHODS: Final = frozenset(("system.echo", "system.describe", "signature.describe", "lm.list"))
"""What may go in the control lane: it does no work of a program, so it may go beyond the limits."""
PART_METHOD: Final = "part.predict"
"""The method that goes where the callback is in which it is called."""
_CONTROLS: Final = ", ".join(sorted(CONTROL_METHODS))


class Admission:
    """Reads calls.

    Attributes:
        methods: What the workers can do; empty until the first is ready, and then every
            method is let through for the worker to refuse.
        conclusions: By method, what the supervisor adds to a worker's result.
    """

    def __init__(self, library: Library, tenants: Tenants, default_deadline_ms: int) -> None:
        self.methods: frozenset[str] = frozenset()
        self.conclusions: dict[str, Callable[[Meta, bytes], bytes]] = {"system.describe": with_own_methods}
        self._library = library
        self._tenants = tenants
        self._default_deadline_ms = default_deadline_ms

    def read(self, caller: Caller, envelope: Envelope, payload: bytes, now_s: float) -> Call:
        """Make the record of a call.

        Raises:
            DSPexError: for an unknown method, a malformed meta, a program that is not
                there, a parent that is not open or too deep.
        """
        method = envelope.method
        assert method is not None  # decode_envelope has seen to it
        self._check_method(method)
        call = Call(caller, envelope.id, method, envelope.meta, payload, now_s)
        call.deadline_s = now_s + self._default_deadline_ms / 1000
        if call.meta:
            if envelope.payload_at > MAX_CALL_ENVELOPE_BYTES or len(call.meta) > MAX_CALL_META_ENTRIES:
                raise endings.crowded(MAX_CALL_ENVELOPE_BYTES, MAX_CALL_META_ENTRIES)
            self._read_meta(call, caller, now_s)
        if method == PART_METHOD and call.within is None:
            raise invalid_argument("meta.parent", "the id of the callback whose program has the part", None)
        tenant = call.meta.get("tenant") or caller.tenant
        call.tenant = self._tenants.of(str(tenant), now_s)
        call.conclude = self.conclusions.get(method)
        if method in SPREAD and call.meta.get("lane") is None:
            call.lane = Lane.BATCH
        return call

    def _check_method(self, method: str) -> None:
        known = not self.methods or method in self.methods or method in ADMITTED
        if not known or method in HOP_METHODS:
            raise endings.unknown_method(method, (self.methods | OWN_METHODS.keys()) - HOP_METHODS)

    def _read_meta(self, call: Call, caller: Caller, now_s: float) -> None:
        meta = call.meta
        metadata.check_meta(meta)
        call.deadline_s = now_s + metadata.deadline_ms(meta, self._default_deadline_ms) / 1000
        call.priority = metadata.priority(meta)
        call.lane = metadata.lane(meta)
        if call.lane is Lane.CONTROL and call.method not in CONTROL_METHODS:
            raise invalid_argument(
                "meta.lane", f"interactive or batch for {call.method}; control is for {_CONTROLS}", "control"
            )
        call.credit = metadata.credit(meta)
        parent = metadata.integer(meta, "parent", 0, MAX_ID)
        if parent is not None:
            _nest(call, caller, parent)
        if call.method == PART_METHOD:
            _refuse_program(meta)
        if "session" in meta and call.method not in STORED_METHODS:
            check_session(meta, call.method)
        if "program" in meta:
            self._refer(call)

    def _refer(self, call: Call) -> None:
        """Find the stored program that a call uses; what is not at hand is fetched later."""
        call.wanted = reference_of(call.meta)
        if call.method not in STORED_METHODS:
            call.record = self._library.find(call.wanted)


def _nest(call: Call, caller: Caller, parent: int) -> None:
    """Put a call inside the callback in which the client made it."""
    callback = caller.callbacks.get(parent)
    if callback is None:
        raise invalid_argument("meta.parent", "the id of an open callback", parent)
    call.depth = callback.call.depth + 1
    if call.depth > MAX_CALLBACK_DEPTH:
        raise error("callback_too_deep", f"callbacks are nested more than {MAX_CALLBACK_DEPTH} deep")
    call.deadline_s = min(call.deadline_s, callback.call.deadline_s)
    call.meta = {key: value for key, value in call.meta.items() if key != "parent"}
    if call.method == PART_METHOD:
        call.within = callback
        # What it is a part of is there and nowhere else: it is never sent to another worker.
        call.committed = True


def _refuse_program(meta: Meta) -> None:
    for name in ("program", "session"):
        if name in meta:
            raise invalid_argument(f"meta.{name}", "nothing: a part is of the program that runs", meta[name])
