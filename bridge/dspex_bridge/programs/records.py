"""A program at rest: what the supervisor stores, and sends to whichever worker needs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Annotated, Final

from dspex_protocol.records import Doc, Length, Range, read

from ..adapters.choices import Adapter, OnViolation
from .upgrades import upgraded

DSPY_VERSION: Final = version("dspy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The version of a stored program that a part was copied from."""

    program: Annotated[str, Length(1, 128)]
    version: Annotated[int, Range(1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a program is: a module with its signature and options, and how its models are asked."""

    module: Annotated[str, Length(1, 128), Doc("name of a module, such as ChainOfThought")]
    signature: Annotated[
        object, Doc("string or map; docs/protocol.md section 7.4; none for a module around another")
    ] = None
    options: Annotated[dict[str, object], Doc("the module's own options")] = field(
        default_factory=dict[str, object]
    )
    adapter: Adapter = None
    on_violation: OnViolation = None
    origin: Annotated[Origin | None, Doc("of a part that was a stored program; for people")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPart:
    """A stored program that a spec names as a part.

    Attributes:
        program: Its id.
        version: Its number.
        record: As it is stored, encoded.
    """

    program: str
    version: int
    record: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A program at rest.

    Attributes:
        spec: Its signature is in normal form.
        state: As `state` describes it.
        dspy: Version of DSPy in the worker that wrote it.
        schema: Version of the record's own form.
    """

    spec: Spec
    state: dict[str, object]
    dspy: str
    schema: int


def read_record(value: object, path: str = "record") -> Record:
    """Read a record of any schema so far.

    Raises:
        CallerError: `record_too_new`, or `invalid_argument` naming what is wrong with it.
    """
    return read(Record, upgraded(value, path), path)
