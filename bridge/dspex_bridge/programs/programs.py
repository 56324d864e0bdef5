"""The programs that a worker holds: those that the supervisor sent, and those of one-shot specs.

Which stored programs a worker holds is decided by the supervisor, by count and by memory. A
record becomes a module when a call first needs it.
"""

from __future__ import annotations

from dspex_protocol import Meta, error
from dspex_protocol.records import read

from .builder import Builder
from .live import LiveProgram
from .records import Spec, read_record


class StoredProgram:
    """A program that the supervisor sent. Calls that have begun keep theirs, whatever is sent next."""

    __slots__ = ("_builder", "_content")

    def __init__(self, builder: Builder, record: object) -> None:
        self._builder = builder
        self._content: object = record

    def check(self) -> None:
        """See that it is a record.

        Raises:
            CallerError: `record_too_new`, or `invalid_argument` naming what is wrong with it.
        """
        if not isinstance(self._content, LiveProgram):
            read_record(self._content)

    def live(self) -> LiveProgram:
        """The program, built at its first use; the record goes then.

        Raises:
            CallerError: as `check`, and `invalid_argument` when the record describes nothing that
                can be built.
        """
        if not isinstance(self._content, LiveProgram):
            self._content = self._builder.load(read_record(self._content))
        return self._content

    def seen_by(self, builder: Builder) -> LiveProgram:
        """The program for somebody who only looks at it, with other means; this stays as it is.

        Args:
            builder: Makes it where it has not been built yet.

        Raises:
            CallerError: as `live`.
        """
        if isinstance(self._content, LiveProgram):
            return self._content
        return builder.load(read_record(self._content))


class ProgramCache:
    """The programs that this worker can run.

    Args:
        builder: Makes them.
    """

    def __init__(self, builder: Builder | None = None) -> None:
        self.builder = Builder() if builder is None else builder
        self._stored: dict[tuple[str, int], StoredProgram] = {}

    def load(self, program: str, number: int, record: object) -> None:
        """Keep a stored program; one of the same id and version is replaced.

        What cannot be used is kept all the same, so that the calls behind it say what is wrong
        with it, and not that it is not here.

        Raises:
            CallerError: as `StoredProgram.check`.
        """
        stored = StoredProgram(self.builder, record)
        self._stored[program, number] = stored  # an id that was deleted may be used anew
        stored.check()

    def build(self, program: str, number: int) -> None:
        """Build a stored program ahead of the first call that needs it.

        Raises:
            CallerError: as `StoredProgram.live`; the call that needs it will be told so again.
        """
        self._stored[program, number].live()

    def forget(self, program: str, number: int) -> None:
        """Drop a stored program; nothing when it is not here."""
        self._stored.pop((program, number), None)

    def named(self, meta: Meta) -> StoredProgram | None:
        """The stored program that a call's meta names; None when it names none.

        Raises:
            CallerError: `unknown_program` when this worker does not have it.
        """
        program, number = meta.get("program"), meta.get("version")
        if not isinstance(program, str) or not isinstance(number, int):
            return None
        stored = self._stored.get((program, number))
        if stored is None:
            raise error("unknown_program", f"program {program!r} version {number} is not here")
        return stored

    def one_shot(self, spec: object) -> LiveProgram:
        """The program of a spec that came with a call; a spec that comes again is not built again.

        Raises:
            CallerError: `invalid_argument` naming the field of the spec.
        """
        return self.builder.template(read(Spec, spec, "spec")).program
