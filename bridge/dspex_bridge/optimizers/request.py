"""The request of a job of the kind `optimize`, and the rows that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Protocol

import dspy

from dspex_protocol.errors import invalid_argument
from dspex_protocol.limits import MAX_NAME_BYTES
from dspex_protocol.records import Doc, Length, Range

from ..jobs.kind import NeededProgram, NeededRows
from ..programs.records import Spec
from ..refusals import missing, refusal
from ..signatures.signatures import check_inputs
from ..values.incoming import from_wire
from .options import MAX_THREADS

MAX_ROWS: Final = 100_000
LOOKED_AT: Final = 100
"""Rows that are looked at before there is a job, by a worker that has others to serve."""

DEFAULT_THREADS: Final = 8

Name = Annotated[str, Length(1, MAX_NAME_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramChoice:
    """A program: a stored one, or one of a spec."""

    program: Annotated[Name | None, Doc("id of a stored program")] = None
    version: Annotated[int | None, Range(1), Doc("of it; default: the newest")] = None
    tag: Annotated[Name | None, Doc("of the version, instead of its number")] = None
    spec: Annotated[Spec | None, Doc("of a program, instead")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherChoice:
    """Who makes demos; by default the program itself."""

    program: Annotated[Name | None, Doc("id of a stored program")] = None
    version: Annotated[int | None, Range(1), Doc("of it; default: the newest")] = None
    tag: Annotated[Name | None, Doc("of the version, instead of its number")] = None
    spec: Annotated[Spec | None, Doc("of a program, instead")] = None
    lm: Annotated[Name | None, Doc("a configured language model that it asks")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetChoice:
    """Rows of a dataset."""

    dataset: Name
    version: Annotated[int | None, Range(1), Doc("default: the newest")] = None
    select: Annotated[dict[str, object] | None, Doc("which rows; section 7.8")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveChoice:
    """What becomes of the program that was made."""

    program: Annotated[Name | None, Doc("id of the program whose version it becomes; default: a new id")] = (
        None
    )
    tags: Annotated[list[Name], Length(0, 16), Doc("that the version gets")] = field(
        default_factory=list[str]
    )
    note: Annotated[str | None, Length(0, 4_096), Doc("for its history")] = None


Rows = Annotated[
    DatasetChoice | list[object], Doc("{dataset, version, select}, or an array of maps of field to value")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimize:
    """A program, what is to make it better, and by what that is seen."""

    optimizer: Annotated[object, Doc("{optimizer, options, compile}; docs/optimizers.md")]
    program: Annotated[Name | None, Doc("id of the stored program that is optimized")] = None
    version: Annotated[int | None, Range(1), Doc("of it; default: the newest")] = None
    tag: Annotated[Name | None, Doc("of the version, instead of its number")] = None
    spec: Annotated[Spec | None, Doc("of the program, instead")] = None
    metric: Annotated[object, Doc("{metric, options}; docs/metrics.md")] = None
    trainset: Annotated[Rows | None, Doc("what it learns from")] = None
    valset: Annotated[Rows | None, Doc("what it is measured on; start and result are scored on it")] = None
    teacher: Annotated[TeacherChoice | None, Doc("who makes demos; default: the program itself")] = None
    programs: Annotated[list[ProgramChoice], Length(0, 64), Doc("of an Ensemble")] = field(
        default_factory=list[ProgramChoice]
    )
    lm: Annotated[Name | None, Doc("a configured LM, for all that name none; default: `default`")] = None
    seed: Annotated[
        int | None,
        Range(0, 2**32 - 1),
        Doc("of the optimizer; default: DSPy's own of each, and else 0"),
    ] = None
    num_threads: Annotated[int, Range(1, MAX_THREADS), Doc("rows at once")] = DEFAULT_THREADS
    save_as: Annotated[
        SaveChoice | None,
        Doc("what becomes of the result; default: the next version of `program`, and nothing of a spec"),
    ] = None


class Source(Protocol):
    """Where stored rows come from: a job."""

    async def rows(
        self, dataset: str, version: int | None = None, select: Mapping[str, object] | None = None
    ) -> list[dict[str, object]]:
        """All rows of a selection."""
        ...


class Choice(Protocol):
    """How a program is named: one of those above."""

    @property
    def program(self) -> str | None:
        """Of a stored one."""
        ...

    @property
    def version(self) -> int | None:
        """Of it."""
        ...

    @property
    def tag(self) -> str | None:
        """Of its version."""
        ...

    @property
    def spec(self) -> Spec | None:
        """Of one that is not stored."""
        ...


def check_choice(choice: Choice, path: str) -> None:
    """See that a program is named in one way.

    Raises:
        CallerError: `invalid_argument`.
    """
    if (choice.program is None) == (choice.spec is None):
        got = "both" if choice.program else "none of them"
        raise refusal(f"{path}.program", "a stored program or a spec", got)
    if choice.version is not None and choice.program is None:
        raise refusal(f"{path}.version", "none beside a spec", str(choice.version))
    if choice.tag is not None and choice.program is None:
        raise refusal(f"{path}.tag", "none beside a spec", repr(choice.tag[:64]))
    if choice.tag is not None and choice.version is not None:
        raise refusal(f"{path}.tag", "none beside a version", repr(choice.tag[:64]))


def needs(what: Optimize) -> list[NeededProgram | NeededRows]:
    """What a request names that is stored."""
    choices: list[tuple[Choice | None, str]] = [(what, "request"), (what.teacher, "request.teacher")]
    choices += [(choice, f"request.programs[{n}]") for n, choice in enumerate(what.programs)]
    rows = ((what.trainset, "request.trainset"), (what.valset, "request.valset"))
    return [
        *(
            NeededProgram(path=path, program=choice.program, version=choice.version, tag=choice.tag)
            for choice, path in choices
            if choice is not None and choice.program is not None
        ),
        *(
            NeededRows(path=path, dataset=some.dataset, version=some.version, select=some.select)
            for some, path in rows
            if isinstance(some, DatasetChoice)
        ),
    ]


async def examples_of(
    rows: DatasetChoice | list[object], signature: type[dspy.Signature], source: Source, path: str
) -> list[dspy.Example]:
    """Rows as DSPy's examples, whose inputs are those of a program.

    Raises:
        CallerError: `invalid_argument` naming row and field, such as `trainset[3].question`; what
            the dataset says.
    """
    given: Sequence[object] = rows if isinstance(rows, list) else await _stored(rows, source)
    if not 1 <= len(given) <= MAX_ROWS:
        raise refusal(path, f"1 to {MAX_ROWS} rows", str(len(given)))
    return [_example(row, signature, f"{path}[{n}]") for n, row in enumerate(given)]


def check_rows(rows: object, signature: type[dspy.Signature], path: str) -> None:
    """Look at the first rows of those that come with a request; the others are looked at in the job.

    Raises:
        CallerError: as `examples_of`.
    """
    for n, row in enumerate(rows[:LOOKED_AT] if isinstance(rows, list) else ()):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        _example(row, signature, f"{path}[{n}]")


async def _stored(choice: DatasetChoice, source: Source) -> list[dict[str, object]]:
    return await source.rows(choice.dataset, choice.version, choice.select)


def _example(row: object, signature: Any, path: str) -> dspy.Example:
    given: Any = from_wire(row, path)
    if not isinstance(given, dict) and type(given) is not dspy.Example:
        raise invalid_argument(path, "a map of field to value", row)
    fields: dict[str, Any] = dict(given.items())  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    own = {name: fields[name] for name in signature.input_fields if name in fields}
    inputs = check_inputs(signature, own, path)
    if not inputs:
        raise missing(path, f"one of the inputs {', '.join(signature.input_fields)}")
    return dspy.Example({**fields, **inputs}).with_inputs(*inputs)
