"""NEEDS: what a request names that is stored, as a worker has read it; looked for before there is a job.

A job looks for itself all the same, when it has begun: what is there now may be gone by then. This look
is for whoever has mistyped a name, who would else hear of it from a job that has failed.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from dspex_pool.datasets.reader import Reader
from dspex_pool.datasets.selections import Selection, check_selection
from dspex_pool.library.names import Reference, check_program, check_tag
from dspex_protocol import DSPexError, decode_value, error
from dspex_protocol.records import read

from . import records

if TYPE_CHECKING:
    from dspex_pool.library.library import Library

PROGRAM: Final = "program"
DATASET: Final = "dataset"


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededProgram:
    """A stored program, by its newest version, one of its versions, or a tag.

    Attributes:
        path: Of the part of the request that names it.
        program, version, tag: As it is named there.
    """

    path: str
    program: str
    version: int | None = None
    tag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededRows:
    """Rows of a stored dataset; likewise."""

    path: str
    dataset: str
    version: int | None = None
    select: dict[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """All that a request names."""

    programs: list[NeededProgram] = field(default_factory=list[NeededProgram])
    datasets: list[NeededRows] = field(default_factory=list[NeededRows])


def read_needs(checked: bytes) -> Needs:
    """What a worker answers to `job.check`."""
    value = decode_value(checked)
    return Needs() if value is None else read(Needs, value)


class Stock:
    """Looks whether it is there.

    Args:
        library: Programs.
        datasets: Datasets.
    """

    def __init__(self, library: Library, datasets: Reader) -> None:
        self._library = library
        self._datasets = datasets

    async def look(self, needs: Needs) -> dict[str, int]:
        """The versions that tags are on now, as `Job.pins` has them.

        Raises:
            DSPexError: `unknown_program`, `unknown_dataset`, `invalid_argument`, with the field that names
                it; others as the store and what is in it say.
        """
        pins: dict[str, int] = {}
        for program in needs.programs:
            number = await self._program(program)
            if program.tag is not None:
                pins[records.pin_of(program.program, program.tag)] = number
        for rows in needs.datasets:
            await self._rows(rows)
        return pins

    async def _program(self, needed: NeededProgram) -> int:
        name = check_program(needed.program, f"{needed.path}.program")
        tag = None if needed.tag is None else check_tag(needed.tag, f"{needed.path}.tag")
        with _named(needed.path, PROGRAM, needed.version, tag):
            return (await self._library.fetch(Reference(name, needed.version, tag)))[1]

    async def _rows(self, needed: NeededRows) -> None:
        name = check_program(needed.dataset, f"{needed.path}.dataset")
        if needed.select is not None:
            path = f"{needed.path}.select"
            check_selection(read(Selection, needed.select, path), path)
        with _named(needed.path, DATASET, needed.version, None):
            await self._datasets.version(name, needed.version)


@contextmanager
def _named(path: str, what: str, version: int | None, tag: str | None) -> Generator[None]:
    """Say which field it was that names what is not there."""
    try:
        yield
    except DSPexError as failure:
        if failure.code not in ("unknown_program", "unknown_dataset"):
            raise
        field = what
        if "newest" in failure.details:  # it is there, and has no such version
            field = "tag" if tag is not None else "version"
        details = {**failure.details, "field": f"{path}.{field}"}
        raise error(failure.code, f"{path}.{field}: {failure.message}", details=details) from failure
