"""The methods about datasets, with their parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from dspex_pool.own_method import PAGE, Limit, Note, OwnMethod
from dspex_protocol.records import Doc, Length, Range

from .selections import Seed, Selection

Dataset = Annotated[str, Length(1, 128), Doc("id of a dataset")]
AVersion = Annotated[int, Range(1), Doc("a version; default: the newest")]

MAX_PIECES: Final = 4096
FORMATS: Final = ("csv", "json", "jsonl", "parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class PutRows:
    """Rows, from one of `rows`, `document` and `loader`; they are the whole of the next version."""

    dataset: Dataset
    rows: Annotated[list[dict[str, object]], Doc("each a map of field to value")] | None = None
    document: Annotated[object, Doc("text or bytes of a file")] = None
    format: Annotated[Literal["csv", "json", "jsonl", "parquet"], Doc("of the document")] | None = None
    loader: Annotated[dict[str, object], Doc("`name` of one of DSPy's datasets, and its options")] | None = (
        None
    )
    input_keys: (
        Annotated[list[str], Doc("fields that a program is given; default: the signature's")] | None
    ) = None
    signature: Annotated[object, Doc("string or map: every row must fit it; kept for what is appended")] = (
        None
    )
    newest: Annotated[int, Range(1), Doc("refuse unless this is the newest version now")] | None = None
    note: Note | None = None
    upload: Annotated[str, Length(1, 128), Doc("name of an upload, for rows in several calls")] | None = None
    piece: Annotated[int, Range(1, MAX_PIECES), Doc("which of its calls this is")] = 1
    done: Annotated[bool, Doc("false: more is to come; the version is made with the last piece")] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the supervisor reads of `PutRows`; the rest is a worker's business."""

    dataset: Dataset
    newest: Annotated[int, Range(1)] | None = None
    note: Note | None = None
    upload: Annotated[str, Length(1, 128)] | None = None
    piece: Annotated[int, Range(1, MAX_PIECES)] = 1
    done: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDataset:
    """A version of a dataset, without its rows."""

    dataset: Dataset
    version: AVersion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRows:
    """Rows of a version, a page at a time."""

    dataset: Dataset
    version: AVersion | None = None
    select: Annotated[Selection, Doc("which rows; default: all, in their order")] = field(
        default_factory=Selection
    )
    offset: Annotated[int, Range(0), Doc("how many of those to leave out: `next` of the page before")] = 0
    limit: Limit = PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitDataset:
    """Sides to share the rows of a version out to."""

    dataset: Dataset
    version: AVersion | None = None
    split: Annotated[dict[str, float], Doc("name of a side to its share, together at most 1")]
    seed: Seed = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListDatasets:
    """Which datasets, by id."""

    prefix: Annotated[str, Length(0, 128), Doc("only ids that begin so")] = ""
    limit: Limit = PAGE
    after: Annotated[str, Length(0, 128), Doc("`next` of the page before")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListDatasetVersions:
    """Which versions; the newest comes first."""

    dataset: Dataset
    limit: Limit = PAGE
    before: Annotated[int, Range(1), Doc("only versions before this one")] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedDataset:
    """A dataset."""

    dataset: Dataset


DATASET_METHODS: Final = {
    "dataset.put": OwnMethod(
        parameters=PutRows, doc="Stores rows as the next version of a dataset; the first one makes it."
    ),
    "dataset.append": OwnMethod(
        parameters=PutRows, doc="Stores the newest version's rows with more of them as the next version."
    ),
    "dataset.get": OwnMethod(parameters=GetDataset, doc="What is known of a version of a dataset."),
    "dataset.rows": OwnMethod(
        parameters=GetRows, doc="Rows of a version: all, a sample or a side of a split; a page at a time."
    ),
    "dataset.split": OwnMethod(
        parameters=SplitDataset, doc="How many rows each side of a split has, and what to select it by."
    ),
    "dataset.list": OwnMethod(
        parameters=ListDatasets, doc="Datasets with their newest versions, a page at a time."
    ),
    "dataset.versions": OwnMethod(
        parameters=ListDatasetVersions, doc="The versions of a dataset, the newest first."
    ),
    "dataset.delete": OwnMethod(parameters=NamedDataset, doc="Forgets a dataset with all its versions."),
}
