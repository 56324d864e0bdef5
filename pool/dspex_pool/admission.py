"""From a client's CALL frame to the record of a call, or a refusal that changes nothing."""

from __future__ import annotations

from typing import Final

from dspex_protocol import Envelope, Meta, encode_value, error, invalid_argument
from dspex_protocol.limits import MAX_CALLBACK_DEPTH, MAX_ENVELOPE_BYTES, MAX_ID, MAX_META_ENTRIES

from . import endings, metadata
from .calls import Call, Caller
from .operations import HOP_METHODS, OWN_METHODS, with_own_methods
from .programs import ProgramTable

# On the way to a worker the id grows, and a version and the remaining time are put in.
MAX_CALL_ENVELOPE_BYTES: Final = MAX_ENVELOPE_BYTES - 64
MAX_CALL_META_ENTRIES: Final = MAX_META_ENTRIES - 4


class Admission:
    """Reads calls.

    Attributes:
        methods: What the workers can do; empty until the first is ready, and then every
            method is let through for the worker to refuse.
    """

    def __init__(self, programs: ProgramTable, default_deadline_ms: int) -> None:
        self.methods: frozenset[str] = frozenset()
        self._programs = programs
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
        if method == "program.create":
            self._prepare_create(call)
        elif method == "system.describe":
            call.conclude = with_own_methods
        return call

    def _check_method(self, method: str) -> None:
        known = not self.methods or method in self.methods or method == "program.create"
        if not known or method in HOP_METHODS:
            raise endings.unknown_method(method, (self.methods | OWN_METHODS.keys()) - HOP_METHODS)

    def _read_meta(self, call: Call, caller: Caller, now_s: float) -> None:
        meta = call.meta
        metadata.check_meta(meta)
        call.deadline_s = now_s + metadata.deadline_ms(meta, self._default_deadline_ms) / 1000
        call.priority = metadata.priority(meta)
        call.credit = metadata.credit(meta)
        parent = metadata.integer(meta, "parent", 0, MAX_ID)
        if parent is not None:
            _nest(call, caller, parent)
        if "program" in meta and call.method != "program.create":
            call.record = self._programs.resolve(meta["program"], meta.get("version"))
            call.meta = meta | {"version": call.record[1]}

    def _prepare_create(self, call: Call) -> None:
        """A worker checks the spec; its record is stored here, and the client gets the version."""
        program = self._programs.check_new(call.meta.get("program"))
        call.worker_method = "program.build"

        def store(meta: Meta, record: bytes) -> bytes:
            version = self._programs.create(program, record)
            return encode_value({"program": program, "version": version})

        call.conclude = store


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
