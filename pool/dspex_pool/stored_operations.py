"""The methods about what is stored, with their parameters: programs and sessions; and all others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from dspex_protocol.records import Doc, Length, Range

from .datasets.operations import DATASET_METHODS
from .evaluation.operations import EVALUATION_METHODS
from .experiments.operations import EXPERIMENT_METHODS
from .jobs.operations import JOB_METHODS
from .own_method import PAGE, Limit, Note, Nothing, OwnMethod
from .reports.operations import REPORT_METHODS

DEFAULT_TTL_S: Final = 86_400.0
MAX_TTL_S: Final = 31_536_000.0

Tag = Annotated[str, Length(1, 64), Doc("a name for a version, such as stable")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """A program to be stored."""

    spec: Annotated[dict[str, object], Doc("module, signature, options")]
    state: Annotated[dict[str, object], Doc("by predictor: instructions, fields, demos, train")] | None = None
    note: Note | None = None
    tags: Annotated[list[Tag], Doc("that the new version gets")] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What is different in the next version."""

    spec: Annotated[dict[str, object], Doc("another spec; what of the state fits it is kept")] | None = None
    state: Annotated[dict[str, object], Doc("by predictor: the parts that are replaced")] | None = None
    note: Note | None = None
    tags: Annotated[list[Tag], Doc("that the new version gets")] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPrograms:
    """Which programs, in which order."""

    prefix: Annotated[str, Length(0, 128), Doc("only ids that begin so")] = ""
    tag: Tag | None = None
    module: Annotated[str, Length(1, 128), Doc("only programs of this module")] | None = None
    sort: Annotated[Literal["program", "created", "updated"], Doc("by what")] = "program"
    descending: Annotated[bool, Doc("the last one first")] = False
    limit: Limit = PAGE
    after: Annotated[str, Length(0, 1024), Doc("`next` of the page before")] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListVersions:
    """Which versions; the newest comes first."""

    limit: Limit = PAGE
    before: Annotated[int, Range(1), Doc("only versions before this one")] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """Two versions of a program."""

    old: Annotated[int, Range(1), Doc("the one before")]
    new: Annotated[int, Range(1), Doc("the one after")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """How a version is brought back."""

    note: Note | None = None
    newest: Annotated[int, Range(1), Doc("refuse unless this is the newest version now")] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagging:
    """A tag of a program."""

    tag: Tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is exported, and in which form."""

    format: Annotated[Literal["dspex", "dspy"], Doc("ours with all, or what DSPy's `save` writes")] = "dspex"
    versions: Annotated[Literal["one", "all"], Doc("all of them only in our form")] = "one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """A document that an export made."""

    document: Annotated[str, Doc("JSON")]
    format: Annotated[Literal["dspex", "dspy"], Doc("as at the export")] = "dspex"
    spec: Annotated[dict[str, object], Doc("for DSPy's form, which has no structure")] | None = None
    note: Note | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """A new session."""

    ttl_s: Annotated[float, Range(1, MAX_TTL_S), Doc("it is forgotten after so long without a turn")] = (
        DEFAULT_TTL_S
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSessions:
    """Which sessions, by id."""

    prefix: Annotated[str, Length(0, 128), Doc("only ids that begin so")] = ""
    limit: Limit = PAGE
    after: Annotated[str, Length(0, 128), Doc("`next` of the page before")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkSession:
    """A second session with the same past."""

    session: Annotated[str, Length(1, 128), Doc("the id wanted; else one is made")] | None = None
    ttl_s: (
        Annotated[float, Range(1, MAX_TTL_S), Doc("as of session.open; else that of the source")] | None
    ) = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrate:
    """Where the next turns are to run."""

    worker: Annotated[int, Range(1), Doc("number of a worker that serves")]


STORED_METHODS: Final = {
    "program.create": OwnMethod(
        parameters=Create, doc="Checks a spec and stores it as version 1 of a program."
    ),
    "program.update": OwnMethod(
        parameters=Update,
        doc="Stores a new version; in meta the program, and the version that is the newest.",
    ),
    "program.get": OwnMethod(parameters=Nothing, doc="A stored program; id and version or tag in meta."),
    "program.list": OwnMethod(
        parameters=ListPrograms, doc="Stored programs with their newest versions, a page at a time."
    ),
    "program.delete": OwnMethod(
        parameters=Nothing, doc="Forgets a program with all its versions; its id in meta."
    ),
    "program.versions": OwnMethod(
        parameters=ListVersions, doc="The versions of a program with their lineage, the newest first."
    ),
    "program.diff": OwnMethod(parameters=Diff, doc="What differs between two versions of a program."),
    "program.rollback": OwnMethod(
        parameters=Rollback, doc="Stores an older version, named in meta, anew as the newest."
    ),
    "program.tag": OwnMethod(parameters=Tagging, doc="Has a tag point to a version, named in meta."),
    "program.untag": OwnMethod(parameters=Tagging, doc="Takes a tag away."),
    "program.export": OwnMethod(parameters=Export, doc="A program as one JSON document."),
    "program.import": OwnMethod(parameters=Import, doc="Stores what an export made."),
    "session.open": OwnMethod(
        parameters=OpenSession, doc="Opens a session on a stored program; the id wanted in meta."
    ),
    "session.get": OwnMethod(parameters=Nothing, doc="A session with its history; its id in meta."),
    "session.list": OwnMethod(parameters=ListSessions, doc="Sessions by id, a page at a time."),
    "session.fork": OwnMethod(
        parameters=ForkSession, doc="Opens a second session with the same past; the first one's id in meta."
    ),
    "session.close": OwnMethod(parameters=Nothing, doc="Forgets a session; its id in meta."),
    "state.migrate": OwnMethod(
        parameters=Migrate, doc="Has the next turns of a session run in that worker; its id in meta."
    ),
    **DATASET_METHODS,
    **EXPERIMENT_METHODS,
    **EVALUATION_METHODS,
    **REPORT_METHODS,
    **JOB_METHODS,
}
