"""The methods about experiments, with their parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, TypeAlias

from dspex_pool.own_method import PAGE, Limit, Note, OwnMethod
from dspex_protocol.records import Doc, Length, Range

MAX_NAMES: Final = 500
"""Parameters, metrics and entries of lineage of one run, each."""
MAX_POINTS: Final = 1000
"""Of one call."""
MAX_ARTIFACTS: Final = 100
MAX_ARTIFACT_BYTES: Final = 4 << 20
MAX_TEXT: Final = 4000

Experiment = Annotated[str, Length(1, 128), Doc("id of an experiment")]
Run = Annotated[str, Length(1, 128), Doc("id of a run in it")]
Name = Annotated[str, Length(1, 128)]
Params: TypeAlias = Annotated[dict[str, object], Doc("name to a text, number or boolean")]
Lineage: TypeAlias = Annotated[
    dict[str, object],
    Doc("what the run is of and made: program, version, dataset, evaluation, job and the like, by name"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A value of a metric."""

    name: Name
    value: float
    step: Annotated[int, Range(0), Doc("default: one more than the metric's last")] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginRun:
    """A run; the first one makes the experiment."""

    experiment: Experiment
    run: Annotated[str, Length(1, 128), Doc("the id wanted; else one is made")] | None = None
    params: Params = field(default_factory=dict[str, object])
    lineage: Lineage = field(default_factory=dict[str, object])
    note: Note | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRun:
    """What there is to say of a run."""

    experiment: Experiment
    run: Run
    params: Params = field(default_factory=dict[str, object])
    lineage: Lineage = field(default_factory=dict[str, object])
    points: Annotated[list[Point], Length(0, MAX_POINTS), Doc("values of metrics, in their order")] = field(
        default_factory=list[Point]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachArtifact:
    """Something that a run has made; one of the same name is replaced."""

    experiment: Experiment
    run: Run
    name: Name
    content: Annotated[object, Doc("text or bytes")]
    media_type: (
        Annotated[str, Length(1, 128), Doc("default: text/plain, or application/octet-stream")] | None
    ) = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetArtifact:
    """Something that a run has made."""

    experiment: Experiment
    run: Run
    name: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRun:
    """The end of a run; nothing can be said of it after that."""

    experiment: Experiment
    run: Run
    state: Literal["done", "failed"] = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRun:
    """A run."""

    experiment: Experiment
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRuns:
    """Which runs of an experiment."""

    experiment: Experiment
    sort: Annotated[
        str | None,
        Length(1, 128),
        Doc("name of a metric: the highest last value first; default: the newest first"),
    ] = None
    lowest: Annotated[bool, Doc("the lowest value first")] = False
    offset: Annotated[int, Range(0), Doc("how many to leave out: `next` of the page before")] = 0
    limit: Limit = PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPoints:
    """Which values of a run's metrics."""

    experiment: Experiment
    run: Run
    metric: Annotated[str, Length(1, 128), Doc("default: of all")] | None = None
    after: Annotated[int, Range(0), Doc("`next` of the page before")] = 0
    limit: Limit = PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class ListExperiments:
    """Which experiments, by id."""

    prefix: Annotated[str, Length(0, 128), Doc("only ids that begin so")] = ""
    limit: Limit = PAGE
    after: Annotated[str, Length(0, 128), Doc("`next` of the page before")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteExperiment:
    """An experiment, or one run of it."""

    experiment: Experiment
    run: Annotated[str, Length(1, 128), Doc("default: all, and the experiment")] | None = None


EXPERIMENT_METHODS: Final = {
    "experiment.begin": OwnMethod(
        parameters=BeginRun, doc="Begins a run; the first one makes the experiment."
    ),
    "experiment.log": OwnMethod(
        parameters=LogRun, doc="Adds parameters, lineage and values of metrics to a run that has not ended."
    ),
    "experiment.attach": OwnMethod(parameters=AttachArtifact, doc="Keeps what a run has made, by name."),
    "experiment.end": OwnMethod(parameters=EndRun, doc="Ends a run, well or badly."),
    "experiment.run": OwnMethod(parameters=NamedRun, doc="What is known of a run."),
    "experiment.runs": OwnMethod(
        parameters=ListRuns, doc="Runs of an experiment, the newest or the best first, a page at a time."
    ),
    "experiment.points": OwnMethod(
        parameters=ListPoints, doc="Values of a run's metrics over time, a page at a time."
    ),
    "experiment.artifact": OwnMethod(parameters=GetArtifact, doc="What a run has made, by name."),
    "experiment.list": OwnMethod(parameters=ListExperiments, doc="Experiments by id, a page at a time."),
    "experiment.delete": OwnMethod(
        parameters=DeleteExperiment, doc="Forgets a run, or an experiment with all its runs."
    ),
}
