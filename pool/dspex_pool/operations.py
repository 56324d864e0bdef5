"""The methods that the supervisor answers itself, and those that are only for workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, cast

from dspex_protocol import Hello, Meta, decode_value, encode_value
from dspex_protocol.records import Doc, describe


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """No parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """A program to be stored."""

    spec: Annotated[dict[str, object], Doc("module, signature, options")]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMethod:
    """A method of the supervisor, as `system.describe` tells it."""

    parameters: type | None
    doc: str


OWN_METHODS: Final = {
    "system.hello": OwnMethod(parameters=Hello, doc="The first call: who the client is and what it offers."),
    "system.ping": OwnMethod(parameters=None, doc="Answers what it was sent, from the supervisor itself."),
    "system.info": OwnMethod(parameters=Nothing, doc="A snapshot of workers, queue and counters."),
    "system.goodbye": OwnMethod(parameters=Nothing, doc="Ends the server when the open calls have ended."),
    "program.create": OwnMethod(
        parameters=Create, doc="Checks a spec and stores it as version 1 of a program."
    ),
    "program.get": OwnMethod(parameters=Nothing, doc="A stored program; id and version in meta."),
    "program.list": OwnMethod(parameters=Nothing, doc="Every stored program with its newest version."),
    "program.delete": OwnMethod(parameters=Nothing, doc="Forgets a program; its id in meta."),
}

HOP_METHODS: Final = frozenset(("worker.configure", "program.build", "program.load"))
"""What only the supervisor may ask of a worker."""


def with_own_methods(meta: Meta, described: bytes) -> bytes:
    """Complete a worker's answer to `system.describe` with what the supervisor adds."""
    match decode_value(described):
        case {"methods": dict()} as description:
            own: dict[str, object] = {
                name: {
                    "doc": method.doc,
                    "parameters": None if method.parameters is None else describe(method.parameters),
                    "effects": False,
                }
                for name, method in OWN_METHODS.items()
            }
            whole = cast("dict[str, dict[str, object]]", description)
            shown = {name: row for name, row in whole["methods"].items() if name not in HOP_METHODS}
            return encode_value({**whole, "methods": dict(sorted({**own, **shown}.items()))})
        case _:
            return described
