"""What the store keeps of experiments. Pure.

    collection        id                               what
    experiment        <experiment>                     HEAD: that there is one
    experiment-run    <experiment> U+001F <run>        RUN: all but the values of its metrics over time
    journal           run-points/<id of the run's>     values of metrics, those of one call in an entry
    journal           run-artifacts/<id of the run's>  artifacts, each an entry

A record and what it says of a journal change in one commit. The journals have ids of their own, so that
a run that is made anew under the name of a deleted one does not find that one's values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final, TypeVar

from dspex_pool.library.records import SEPARATOR, open_body
from dspex_pool.library.sealing import Broken, TooNew, seal
from dspex_pool.library.upgrades import Step
from dspex_pool.store import Key
from dspex_protocol import DSPexError, encode_value
from dspex_protocol.records import read

from .refusals import damaged, too_new

T = TypeVar("T")

HEAD: Final = "experiment"
RUN: Final = "experiment-run"

SCHEMA: Final = 1
"""Of both; a newer one is refused and left alone."""
STEPS: Final[Mapping[int, Step]] = {}
"""To it from those before; see `library.upgrades`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """An experiment.

    Attributes:
        begun: How many runs were ever begun in it.
        created_ms, updated_ms: Wall clock, for people; the second is when the last run was begun.
    """

    experiment: str
    begun: int
    created_ms: int
    updated_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """The values of a metric, in short.

    Attributes:
        last, step: The value that was said last, and its step.
        least, most: Of all values.
        points: How many there are.
    """

    last: float
    step: int
    least: float
    most: float
    points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Something that a run has made.

    Attributes:
        entry: Of the run's journal.
        size_bytes, sha256: Of its content.
        is_text: It came as text, and is given so.
    """

    entry: int
    media_type: str
    size_bytes: int
    sha256: bytes
    is_text: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run.

    Attributes:
        number: Counts the runs of its experiment.
        state: `open`, `done` or `failed`.
        journals: Names its journals.
        entries: How many entries its points have.
        attached: How many its artifacts have.
        of: What tells of itself here, `job/<id>` or `evaluation/<id>`; None for none.
        heard: The number of that job's last event that is told here.
        pins: Entries of lineage that a job decides when it begins, by name the job's pins.
        created_ms, ended_ms: Wall clock, for people.
    """

    experiment: str
    run: str
    number: int
    state: str
    journals: str
    note: str | None
    params: dict[str, object] = field(default_factory=dict[str, object])
    lineage: dict[str, object] = field(default_factory=dict[str, object])
    metrics: dict[str, Metric] = field(default_factory=dict[str, Metric])
    artifacts: dict[str, Artifact] = field(default_factory=dict[str, Artifact])
    entries: int = 0
    attached: int = 0
    of: str | None = None
    heard: int = 0
    pins: dict[str, str] = field(default_factory=dict[str, str])
    created_ms: int
    ended_ms: int | None = None

    @property
    def points_journal(self) -> str:
        """Where the values of its metrics are."""
        return f"run-points/{self.journals}"

    @property
    def artifacts_journal(self) -> str:
        """Where its artifacts are."""
        return f"run-artifacts/{self.journals}"


def head_key(experiment: str) -> Key:
    """Where an experiment's head is."""
    return Key(HEAD, experiment)


def run_key(experiment: str, run: str) -> Key:
    """Where a run is."""
    return Key(RUN, f"{experiment}{SEPARATOR}{run}")


def prefix_of(experiment: str) -> str:
    """What the ids of an experiment's runs begin with, and no others."""
    return experiment + SEPARATOR


def write_head(head: Head) -> bytes:
    """A head as the store keeps it."""
    return _sealed(head_key(head.experiment), asdict(head))


def write_run(run: Run) -> bytes:
    """A run as the store keeps it."""
    return _sealed(run_key(run.experiment, run.run), asdict(run))


def read_head(experiment: str, record: bytes) -> Head:
    """A head as it was kept.

    Raises:
        DSPexError: `store_damaged`, `record_too_new`.
    """
    return _opened(Head, experiment, head_key(experiment), record)


def read_run(key: Key, record: bytes) -> Run:
    """A run as it was kept; else as `read_head`."""
    return _opened(Run, key.id.partition(SEPARATOR)[0], key, record)


def _sealed(key: Key, body: Mapping[str, object]) -> bytes:
    return seal(key, SCHEMA, encode_value(dict(body)))


def _opened(record: type[T], experiment: str, key: Key, sealed: bytes) -> T:
    try:
        return read(record, open_body(key, sealed, SCHEMA, STEPS))
    except TooNew as newer:
        raise too_new(experiment, newer.schema, SCHEMA) from newer
    except Broken as why:
        raise damaged(experiment, str(why)) from why
    except DSPexError as why:
        raise damaged(experiment, why.message) from why
