"""Stored programs: records by id and version. In memory until the store comes."""

from __future__ import annotations

import secrets

from dspex_protocol import error, invalid_argument
from dspex_protocol.limits import MAX_NAME_BYTES


class ProgramTable:
    """Immutable records under an id, numbered from 1. The records are opaque bytes."""

    def __init__(self) -> None:
        self._versions: dict[str, list[bytes]] = {}

    def check_new(self, program: object) -> str:
        """The id for a new program: the one wanted, or one made here.

        Raises:
            CallerError: `program_exists`, or `invalid_argument` for what is no id.
        """
        if program is None:
            return f"program-{secrets.token_hex(8)}"
        if not isinstance(program, str) or not 1 <= len(program.encode()) <= MAX_NAME_BYTES:
            raise invalid_argument("meta.program", f"a string of 1 to {MAX_NAME_BYTES} bytes", program)
        if program in self._versions:
            raise error("program_exists", f"there is a program {program!r} already")
        return program

    def create(self, program: str, record: bytes) -> int:
        """Store a record as version 1.

        Raises:
            CallerError: `program_exists` when another call was faster.
        """
        if program in self._versions:
            raise error("program_exists", f"there is a program {program!r} already")
        self._versions[program] = [record]
        return 1

    def resolve(self, program: object, version: object) -> tuple[str, int, bytes]:
        """Find a record; the newest where `version` is None.

        Raises:
            CallerError: `unknown_program`, or `invalid_argument`.
        """
        if not isinstance(program, str):
            raise invalid_argument("meta.program", "the id of a program", program)
        versions = self._versions.get(program)
        if not versions:
            raise error("unknown_program", f"there is no program {program!r}")
        if version is None:
            return program, len(versions), versions[-1]
        if type(version) is not int or version < 1:
            raise invalid_argument("meta.version", "an integer from 1", version)
        if version > len(versions):
            raise error(
                "unknown_program",
                f"program {program!r} has no version {version}; the newest is {len(versions)}",
                details={"newest": len(versions)},
            )
        return program, version, versions[version - 1]

    def list(self) -> list[dict[str, object]]:
        """Every program with its newest version, by id."""
        return [
            {"program": program, "version": len(self._versions[program])}
            for program in sorted(self._versions)
        ]

    def delete(self, program: object) -> None:
        """Forget a program and all its versions.

        Raises:
            CallerError: `unknown_program`.
        """
        name, _, _ = self.resolve(program, None)
        del self._versions[name]
