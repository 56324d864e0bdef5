"""SAVING: the program that a job has made becomes a version of the library, once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dspex_pool.library.names import Reference
from dspex_pool.library.records import Lineage
from dspex_pool.library.writes import Write
from dspex_pool.ports import Tasks, Timers
from dspex_protocol import DSPexError, decode_value
from dspex_protocol.records import read
from dspex_protocol.slices import cut_map, is_map

from .keeping import AGAIN_S, AWAY
from .pausing import pause
from .records import Job

if TYPE_CHECKING:
    from dspex_pool.library.library import Library


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a worker says of a program that is to be stored; `dspex_bridge.jobs.kind.Save`, but its record."""

    program: str | None = None
    base: int | None = None
    tags: list[str] = field(default_factory=list[str])
    note: str | None = None
    optimizer: str | None = None
    scores: dict[str, float] | None = None


class Saving:
    """Stores programs of jobs.

    Args:
        library: Where they go.
        timers, tasks: For another try of a store that gives no answer.
    """

    def __init__(self, library: Library, timers: Timers, tasks: Tasks) -> None:
        self._library = library
        self._timers = timers
        self._tasks = tasks

    async def save(
        self, job: Job, payload: bytes | None
    ) -> tuple[dict[str, object] | None, DSPexError | None]:
        """Store what is to be stored; made again, by another attempt or server, it is the first one's.

        Returns:
            Program and version, or why there is none: what the job came to stays all the same.
        """
        if payload is None or not is_map(payload):
            return None, None
        while True:
            try:
                program, version = await self._save(job, cut_map(payload))
            except DSPexError as refusal:
                if refusal.code not in AWAY:
                    return None, refusal
                await pause(self._timers, self._tasks, AGAIN_S)
            else:
                return {"program": program, "version": version}, None

    async def _save(self, job: Job, parts: dict[str, bytes]) -> tuple[str, int]:
        content = parts.pop("record")
        wanted = read(Wanted, {name: decode_value(part) for name, part in parts.items()}, "save")
        # The job alone says which write it is: attempts come to the same, and if not, the first one counts.
        write = Write(f"job/{job.job}", hashlib.sha256(job.job.encode()).digest())
        lineage = Lineage(
            by=wanted.optimizer or job.kind, note=wanted.note or job.note, scores=wanted.scores or {}
        )
        base = wanted.base
        if base is None:
            try:
                return await self._library.create(
                    wanted.program, content, lineage=lineage, tags=wanted.tags, write=write
                )
            except DSPexError as refusal:
                if refusal.code == "write_id_reused":
                    # An attempt before has found that program there, and it became a version of it.
                    return await self._added(write, wanted.program)
                if refusal.code != "program_exists" or wanted.program is None:
                    raise
                # Which is no reason to lose it: it becomes the newest version of that program.
                base = (await self._library.fetch(Reference(wanted.program)))[1]
        assert wanted.program is not None
        return await self._library.add(
            wanted.program,
            base=base,
            must_be_newest=False,
            content=content,
            lineage=lineage,
            tags=wanted.tags,
            write=write,
        )

    async def _added(self, write: Write, program: str | None) -> tuple[str, int]:
        made = await self._library.answer_of(write, "add", program)
        assert made is not None
        assert made[0] is not None  # that is of an operation that makes a version
        return made[0]
