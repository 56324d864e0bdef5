"""The payload of `evaluation.run`, taken apart: what is ours, and what goes with each row to a worker."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, cast

from dspex_pool.batch_payload import rows_in, take_settings
from dspex_pool.batch_plan import MAX_ROWS, OWN, MaxErrors, Parallelism, RowDeadline, Settings
from dspex_pool.datasets.operations import AVersion, Dataset
from dspex_pool.datasets.selections import Selection, check_selection
from dspex_pool.experiments.requests import params_of
from dspex_pool.library.names import check_program
from dspex_pool.library.writes import in_order
from dspex_pool.own_method import Note
from dspex_protocol import decode_value, encode_value, invalid_argument
from dspex_protocol.records import Doc, Length, Range, read
from dspex_protocol.slices import cut_map, is_map

if TYPE_CHECKING:
    from dspex_pool.calls import Call

METHOD: Final = "evaluation.run"
ROW_METHOD: Final = "evaluation.row"
CHECK_METHOD: Final = "evaluation.check"

EvaluationId = Annotated[str, Length(1, 128), Doc("id of an evaluation")]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDataset:
    """Rows of a stored dataset."""

    dataset: Dataset
    version: AVersion | None = None
    select: Annotated[Selection, Doc("which rows; default: all")] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvaluation:
    """A program, rows, and metrics; whatever else is given goes to each row."""

    evaluation: (
        Annotated[str, Length(1, 128), Doc("its id: one that was begun goes on; default: a new one")] | None
    ) = None
    dataset: Annotated[OnDataset, Doc("on which rows")] | None = None
    rows: (
        Annotated[
            list[dict[str, object]], Length(0, MAX_ROWS), Doc("the rows themselves, in place of a dataset")
        ]
        | None
    ) = None
    failure_score: Annotated[float, Range(-1e9, 1e9), Doc("what a row without a score counts for")] = 0.0
    again: Annotated[
        bool, Doc("of one that has begun: rows that have an error or lack a score are run again")
    ] = False
    note: Note | None = None
    experiment: (
        Annotated[str, Length(1, 128), Doc("id of an experiment, in which there is a run that tells of it")]
        | None
    ) = None
    parallelism: Parallelism | None = None
    max_errors: MaxErrors | None = None
    row_deadline_ms: RowDeadline | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Own:
    """What the supervisor reads of it, besides rows and settings."""

    evaluation: Annotated[str, Length(1, 128)] | None = None
    dataset: OnDataset | None = None
    failure_score: Annotated[float, Range(-1e9, 1e9)] = 0.0
    again: bool = False
    note: Note | None = None
    experiment: Annotated[str, Length(1, 128)] | None = None


FOR_US: Final = ("evaluation", "dataset", "failure_score", "again", "note", "experiment")
NOT_OF_THE_REQUEST: Final = frozenset(("evaluation", "again", "note", "experiment", *OWN))
"""What may differ when an evaluation goes on: how it is run, and not what comes of it."""

TOLD_APART: Final = frozenset(("evaluation", "again", "note", "experiment"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An evaluation as it was asked for.

    Attributes:
        evaluation: The id wanted; None for a new one.
        on: The dataset; None where the rows came with the call.
        rows: Those, encoded; empty where there is a dataset.
        settings: How to run them.
        failure_score, again, note, experiment: As in the payload.
        params: What a run says of the request; empty without an experiment.
        metrics: Name to spec.
        spec, lm: As in the payload.
        shared: What each row's payload has besides its example, encoded.
        checksum: Of the rows that came; "" where there is a dataset.
        digest: Of all that the result depends on.
    """

    evaluation: str | None
    on: OnDataset | None
    rows: list[bytes]
    settings: Settings
    failure_score: float
    again: bool
    note: str | None
    experiment: str | None
    params: dict[str, object]
    metrics: dict[str, object]
    spec: object
    lm: str | None
    shared: Mapping[str, bytes]
    checksum: str
    digest: bytes


def read_request(call: Call) -> Asked:
    """Take the payload of an `evaluation.run` apart.

    Raises:
        DSPexError: `invalid_argument` naming the field; a `value_…` code.
    """
    if not is_map(call.payload):
        raise invalid_argument("payload", "a map", decode_value(call.payload))
    entries = cut_map(call.payload)
    has_rows = "rows" in entries
    rows = rows_in(entries, "rows", "a map of field to value") if has_rows else []
    checksum = _checksum_of(rows) if has_rows else ""
    digest = _digest_of(call, entries, checksum)
    asked = {} if "experiment" not in entries else _asked(entries)
    settings = take_settings(entries)
    own = read(_Own, {key: decode_value(entries.pop(key)) for key in FOR_US if key in entries})
    _check(own, entries, has_rows=has_rows)
    metrics = _metrics_of(entries)
    lm = decode_value(entries["lm"]) if "lm" in entries else None
    return Asked(
        evaluation=own.evaluation,
        on=own.dataset,
        rows=rows,
        settings=settings,
        failure_score=own.failure_score,
        again=own.again,
        note=own.note,
        experiment=own.experiment,
        params=params_of({**asked, "rows": len(rows) if has_rows else None}) if asked else {},
        metrics=metrics,
        spec=decode_value(entries["spec"]) if "spec" in entries else None,
        lm=lm if isinstance(lm, str) else None,  # what it is else, a worker refuses
        shared=entries,
        checksum=checksum,
        digest=digest,
    )


def _check(own: _Own, entries: Mapping[str, bytes], *, has_rows: bool) -> None:
    for name, given in (("evaluation", own.evaluation), ("experiment", own.experiment)):
        if given is not None:
            check_program(given, name)
    if own.again and own.evaluation is None:
        raise invalid_argument("again", "the id of the one that has begun, as `evaluation`", own.again)
    if (own.dataset is None) == (not has_rows):
        raise invalid_argument("dataset", "a dataset or rows, one of them", "both" if has_rows else None)
    if own.dataset is not None:
        check_program(own.dataset.dataset, "dataset.dataset")
        if own.dataset.select is not None:
            check_selection(own.dataset.select, "dataset.select")
        if "input_keys" in entries:
            raise invalid_argument(
                "input_keys",
                "nothing beside a dataset, which declares them",
                decode_value(entries["input_keys"]),
            )


def _metrics_of(entries: Mapping[str, bytes]) -> dict[str, object]:
    """Names to specs; a worker reads what is in those."""
    given: object = decode_value(entries["metrics"]) if "metrics" in entries else None
    metrics = _map_of(given)
    if not metrics:
        raise invalid_argument("metrics", "a map of name to {metric, options}", given)
    for name in metrics:
        check_program(name, "metrics")
    return metrics


def _asked(entries: Mapping[str, bytes]) -> dict[str, object]:
    """What was asked for, but for what a run says elsewhere."""
    asked = {key: decode_value(piece) for key, piece in entries.items() if key not in TOLD_APART}
    dataset = _map_of(asked.pop("dataset", None))
    return {**asked, "select": dataset.get("select")}


def _map_of(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _checksum_of(rows: list[bytes]) -> str:
    """Of rows that are sound: they are kept as they came, and whoever reads them later must be able to."""
    digest = hashlib.sha256()
    for row in rows:
        decode_value(row)
        digest.update(hashlib.sha256(row).digest())
    return digest.hexdigest()


def _digest_of(call: Call, entries: Mapping[str, bytes], checksum: str) -> bytes:
    wanted = None if call.wanted is None else list(call.wanted)
    given = {
        key: in_order(decode_value(piece))
        for key, piece in sorted(entries.items())
        if key not in NOT_OF_THE_REQUEST
    }
    return hashlib.sha256(encode_value([wanted, checksum, given])).digest()
