"""Program records to live DSPy modules, and back to records.

A record is what the supervisor stores: `{spec, state, dspy, schema}`. The worker keeps
the records it was sent and builds a module when it first needs one.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Annotated, Final

import dspy

from dspex_protocol import encode_value, error
from dspex_protocol.records import Doc, Length, read

from .modules import build_module, dump_state, load_state
from .signatures import build_signature, normalize

SCHEMA: Final = 1
"""Version of the record's form; a newer one is refused."""

DSPY_VERSION: Final = version("dspy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a program is: a module with its signature and options."""

    module: Annotated[str, Length(1, 128), Doc("name of a DSPy module, such as ChainOfThought")]
    signature: Annotated[object, Doc("string or map; docs/protocol.md section 7.4")]
    options: Annotated[dict[str, object], Doc("the module's own options")] = field(
        default_factory=dict[str, object]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A program at rest."""

    spec: Spec
    state: dict[str, object]
    dspy: str
    schema: int


@dataclass(frozen=True, slots=True)
class LiveProgram:
    """A program that can be called.

    Modules keep nothing between calls that matters to the next one, so concurrent calls
    share one.
    """

    module: dspy.Module
    signature: type[dspy.Signature]


def build_record(spec: Spec) -> dict[str, object]:
    """Check a spec by building it, and return the record to store.

    Raises:
        DSPexError: `invalid_argument` naming the field of the spec.
    """
    live = build_program(spec)
    return {
        "spec": {
            "module": spec.module,
            "signature": normalize(spec.signature),
            "options": spec.options,
        },
        "state": dump_state(live.module),
        "dspy": DSPY_VERSION,
        "schema": SCHEMA,
    }


def build_program(spec: Spec) -> LiveProgram:
    """Make the module that a spec describes."""
    signature = build_signature(spec.signature, "spec.signature")
    return LiveProgram(build_module(spec.module, signature, spec.options, "spec"), signature)


class ProgramCache:
    """The programs that this worker can run.

    One-shot specs are kept by their bytes: a host that sends the same spec with each call
    pays for building it once. Of both kinds the least recently used goes first; a stored
    program is built anew from its record when it is called again.
    """

    # A live Predict with its signature class is about 50 kB.
    MAX_ONE_SHOT: Final = 256
    MAX_LIVE: Final = 256

    def __init__(self) -> None:
        self._records: dict[tuple[str, int], Record] = {}
        self._live: OrderedDict[tuple[str, int], LiveProgram] = OrderedDict()
        self._one_shot: OrderedDict[bytes, LiveProgram] = OrderedDict()

    def load(self, program: str, number: int, record: object) -> None:
        """Keep a stored program's record.

        Raises:
            DSPexError: `invalid_argument` when it is no record or of a newer schema.
        """
        checked = read(Record, record, "record")
        if checked.schema > SCHEMA:
            raise error(
                "invalid_argument",
                f"record.schema: program {program!r} was written by a newer DSPex (schema {checked.schema})",
                details={"field": "record.schema", "expected": f"at most {SCHEMA}", "got": checked.schema},
            )
        self._records[program, number] = checked
        self._live.pop((program, number), None)  # an id that was deleted may be used anew

    def stored(self, program: str, number: int) -> LiveProgram:
        """The stored program, built when it is not there.

        Raises:
            DSPexError: `unknown_program` when this worker was never given it.
        """
        live = self._live.get((program, number))
        if live is None:
            record = self._records.get((program, number))
            if record is None:
                raise error("unknown_program", f"program {program!r} version {number} is not here")
            live = build_program(record.spec)
            live = LiveProgram(load_state(live.module, record.state), live.signature)
            self._live[program, number] = live
            if len(self._live) > self.MAX_LIVE:
                self._live.popitem(last=False)
        else:
            self._live.move_to_end((program, number))
        return live

    def one_shot(self, spec: object) -> LiveProgram:
        """The program of a spec that came with a call."""
        key = encode_value(spec)
        live = self._one_shot.get(key)
        if live is None:
            live = build_program(read(Spec, spec, "spec"))
            self._one_shot[key] = live
            if len(self._one_shot) > self.MAX_ONE_SHOT:
                self._one_shot.popitem(last=False)
        else:
            self._one_shot.move_to_end(key)
        return live
