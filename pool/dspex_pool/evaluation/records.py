"""What the store keeps of an evaluation. Pure.

    collection            id               what
    evaluation            <evaluation>     HEAD: what was asked in short, how far it is, what came of it
    evaluation-request    <evaluation>     REQUEST: the metrics and the spec, which may be long
    journal               evaluation-rows/<id of the first run>    some rows, each encoded
    journal               evaluation-facts/<that>                  the facts of the same rows

A row that was run again is in a later entry once more, and the last one counts.
An entry of each and the head are written in one commit. Records are sealed as those of programs are,
and so are entries, each under its own number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Any, Final, TypeVar, cast

from dspex_pool.library.records import SEPARATOR, open_body
from dspex_pool.library.sealing import Broken, TooNew, seal
from dspex_pool.library.upgrades import Step
from dspex_pool.store import Key
from dspex_protocol import DSPexError, WireError, decode_value, encode_value
from dspex_protocol.records import read
from dspex_protocol.slices import cut_array, is_array, join_array

from .refusals import damaged, too_new

T = TypeVar("T")

HEAD: Final = "evaluation"
REQUEST: Final = "evaluation-request"
ROWS: Final = "evaluation-rows"
FACTS: Final = "evaluation-facts"

SCHEMA: Final = 1
"""Of all of them; a newer one is refused and left alone."""
STEPS: Final[Mapping[int, Step]] = {}
"""To it from those before; see `library.upgrades`."""

RUNNING: Final = "running"
DONE: Final = "done"
STOPPED: Final = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """An evaluation.

    Attributes:
        evaluation: Its id.
        digest: Of all that the request depends on; another one under the same id is another evaluation.
        attempt: How often it was run, from 1.
        program, version: What was measured; None where the call had a spec.
        dataset, dataset_version, select: On which rows; None where they came with the call.
        checksum: Of the dataset's version, or of the rows that came; equal ones are of equal rows.
        metrics: Their names.
        failure_score: What a row without a score counts for.
        lm, note: As the call said.
        state: `running`, also where it was cut off; `done`; `stopped`, by `max_errors`.
        rows: How many there are to be.
        done, failed: Rows that have a prediction, and such that have an error.
        scores: By metric: scored, failed, passed, mean, …
        usage, metric_usage: What all of it has cost, and what of that metrics have.
        latency_ms: Percentiles of the program's time.
        journal: The name of its journals, without what they are of.
        entries: How many each of them has.
        experiment, run: Where a run tells of it; None for nowhere.
        created_ms, ended_ms: Wall clock, for people.
    """

    evaluation: str
    digest: bytes
    attempt: int
    program: str | None
    version: int | None
    dataset: str | None
    dataset_version: int | None
    select: dict[str, object] | None
    checksum: str
    metrics: list[str]
    failure_score: float
    lm: str | None
    note: str | None
    state: str
    rows: int
    done: int = 0
    failed: int = 0
    scores: dict[str, dict[str, object]] = field(default_factory=dict[str, dict[str, object]])
    usage: dict[str, object] = field(default_factory=dict[str, object])
    metric_usage: dict[str, object] = field(default_factory=dict[str, object])
    latency_ms: dict[str, float] | None = None
    journal: str
    entries: int = 0
    experiment: str | None = None
    run: str | None = None
    created_ms: int
    ended_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What may be long of what was asked for."""

    metrics: dict[str, object]
    spec: object = None


@dataclass(frozen=True, slots=True)
class Fact:
    """What rows are found by.

    Attributes:
        index: Which row of the selection.
        row: Which row of the dataset.
        code: Of its error; None where it has a prediction.
        worker_ms: Time of the program; None where no worker said.
        scores: By each metric in the head's order; None where there is no score.
        passed: Likewise the verdicts; None where there is none.
    """

    index: int
    row: int
    code: str | None
    worker_ms: float | None
    scores: Sequence[float | None]
    passed: Sequence[bool | None]


def head_key(evaluation: str) -> Key:
    """Where an evaluation's head is."""
    return Key(HEAD, evaluation)


def request_key(evaluation: str) -> Key:
    """Where its request is."""
    return Key(REQUEST, evaluation)


def journal_of(kind: str, head: Head) -> str:
    """The journal of its rows, or of its facts."""
    return f"{kind}/{head.journal}"


def write_head(head: Head) -> bytes:
    """A head as the store keeps it."""
    body = {key: value for key, value in asdict(head).items() if key != "evaluation"}
    return seal(head_key(head.evaluation), SCHEMA, encode_value(body))


def read_head(evaluation: str, record: bytes) -> Head:
    """A head as it was kept.

    Raises:
        DSPexError: `store_damaged`, `record_too_new`.
    """
    return _opened(Head, evaluation, head_key(evaluation), record, {"evaluation": evaluation})


def write_request(evaluation: str, request: Request) -> bytes:
    """A request as the store keeps it."""
    body = {"metrics": request.metrics, "spec": request.spec}
    return seal(request_key(evaluation), SCHEMA, encode_value(body))


def read_request(evaluation: str, record: bytes) -> Request:
    """A request as it was kept; else as `read_head`."""
    return _opened(Request, evaluation, request_key(evaluation), record, {})


def write_rows(head: Head, number: int, rows: Sequence[bytes]) -> bytes:
    """An entry of the journal of rows."""
    return seal(_entry_key(ROWS, head, number), SCHEMA, encode_value({"rows": join_array(rows)}))


def write_facts(head: Head, number: int, facts: Sequence[Fact]) -> bytes:
    """An entry of the journal of facts."""
    return seal(
        _entry_key(FACTS, head, number),
        SCHEMA,
        encode_value({"facts": [list(astuple(one)) for one in facts]}),
    )


def read_rows(head: Head, number: int, entry: bytes) -> list[bytes]:
    """The rows of an entry, encoded; else as `read_head`."""
    rows = _body_of(head.evaluation, _entry_key(ROWS, head, number), entry).get("rows")
    try:
        if isinstance(rows, bytes) and is_array(rows):
            return cut_array(rows)
    except WireError as why:
        raise damaged(head.evaluation, why.code) from why
    raise damaged(head.evaluation, f"entry {number} has no rows")


def read_facts(head: Head, number: int, entry: bytes) -> list[Fact]:
    """The facts of an entry; else as `read_head`."""
    facts = _body_of(head.evaluation, _entry_key(FACTS, head, number), entry).get("facts")
    try:
        return [_fact_of(one, head) for one in cast("list[Any]", facts)]
    except (TypeError, ValueError) as why:
        raise damaged(head.evaluation, f"entry {number} has no facts") from why


def _fact_of(value: Any, head: Head) -> Fact:
    fact = Fact(*value)
    if not 0 <= fact.index < head.rows or not len(fact.scores) == len(fact.passed) == len(head.metrics):
        raise ValueError("no fact of this evaluation")
    return fact


def _entry_key(kind: str, head: Head, number: int) -> Key:
    return Key(kind, f"{head.journal}{SEPARATOR}{number}")


def _opened(record: type[T], evaluation: str, key: Key, sealed: bytes, known: Mapping[str, object]) -> T:
    try:
        return read(record, {**_body_of(evaluation, key, sealed), **known})
    except DSPexError as why:
        if why.code != "invalid_argument":
            raise
        raise damaged(evaluation, why.message) from why


def _body_of(evaluation: str, key: Key, sealed: bytes) -> dict[str, object]:
    try:
        return open_body(key, sealed, SCHEMA, STEPS)
    except TooNew as newer:
        raise too_new(evaluation, newer.schema, SCHEMA) from newer
    except Broken as why:
        raise damaged(evaluation, str(why)) from why


def decoded(row: bytes) -> dict[str, Any]:
    """A row of the journal as a map."""
    return cast("dict[str, Any]", decode_value(row))
