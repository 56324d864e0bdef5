"""What a kind of job is."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..rows import Worker
    from .job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """A version of a program that a job has made, to be stored with its end.

    Attributes:
        record: As `program.build` answers it: spec, state, dspy, schema.
        program: Whose version it becomes; None for a new program.
        base: The version that it was made from, where `program` has one.
        tags: That the version gets.
        note: For its history.
        optimizer: What made it.
        scores: By name.
    """

    record: Mapping[str, object]
    program: str | None = None
    base: int | None = None
    tags: tuple[str, ...] = ()
    note: str | None = None
    optimizer: str | None = None
    scores: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a job came to.

    Attributes:
        result: For whoever asks for it; any value of the wire.
        save: A program to be stored, if one was made that is wanted.
    """

    result: object
    save: Save | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededProgram:
    """A stored program that a request names; the supervisor looks for it before there is a job.

    Attributes:
        path: Of the part of the request that names it, such as `request.teacher`.
        program, version, tag: As it is named there.
    """

    path: str
    program: str
    version: int | None = None
    tag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededRows:
    """Stored rows that a request names; likewise.

    Attributes:
        path: Of the part of the request that names them, such as `request.trainset`.
        dataset, version, select: As they are named there.
    """

    path: str
    dataset: str
    version: int | None = None
    select: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One row of the table.

    Attributes:
        name: As `job.submit` has it.
        request: Dataclass of its request; None takes any value.
        run: `(worker, job, request) -> outcome`. It must come to the same each time that it is run with
            the same answers: no time, no randomness without a seed, no order of threads. Where it is
            cancelled, so is the job.
        check: Refuses a request that can come to nothing; it is called before there is a job, in a worker
            of the pool, and must be short.
        needs: What stored things a request names that must be there.
        doc: One sentence.
    """

    name: str
    request: type | None
    run: Callable[[Worker, Job, Any], Coroutine[Any, Any, Outcome]]
    check: Callable[[Worker, Any], None] | None = None
    needs: Callable[[Any], Sequence[NeededProgram | NeededRows]] | None = None
    doc: str
