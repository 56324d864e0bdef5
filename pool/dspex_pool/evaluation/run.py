"""A RUN of an evaluation as a batch: a row goes out with its example, and comes back with its scores.

A row is settled when it is in the store: what a client has heard of is never run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final, cast

from dspex_pool import batch as rules
from dspex_pool.batch_plan import Reply, Settings, Settled
from dspex_pool.spending import Spent
from dspex_protocol import DSPexError, Meta, decode_value, encode_failure, encode_value, error
from dspex_protocol.slices import cut_map, join_map

from . import records
from .answers import evaluation_answer
from .examples import Examples, Place
from .records import Fact, Head, Request
from .request import ROW_METHOD
from .writer import Came, Writer

if TYPE_CHECKING:
    from dspex_pool.batch import Batch
    from dspex_pool.batch_rows import Row
    from dspex_pool.ports import Stored

    from .figures import Figures

ENTRY_BYTES: Final = 1024
"""A row is so much longer at most than its example and what a worker says of it."""

NOTHING: Final = encode_value(None)
EMPTY: Final = encode_value({})
MORE: Final = ("trace", "requests")


class EvaluationPlan:
    """An evaluation that goes on from where it is; `batch_plan.Plan`.

    Args:
        head: As this run has made it.
        request: Of it.
        shared: What each row's payload has besides its example, encoded.
        settings: How to run rows; `max_errors` counts those of earlier runs too.
        examples: Those rows that have not come yet.
        figures: Of those that have.
        stored: The wall clock, and where what takes long is done.
        writer: Makes what keeps the rows of what it is told when rows are kept, and when they cannot be.

    Attributes:
        method: What a worker is asked.
        keeps: Nothing: the rows are in the store.
    """

    method = ROW_METHOD
    keeps = False

    def __init__(
        self,
        head: Head,
        request: Request,
        shared: Mapping[str, bytes],
        settings: Settings,
        examples: Examples,
        figures: Figures,
        stored: Stored,
        writer: Callable[[Callable[[], None], Callable[[DSPexError], None]], Writer],
    ) -> None:
        self.settings = settings
        self._head = head
        self._request = request
        self._shared = shared
        self._examples = examples
        self._figures = figures
        self._stored = stored
        self._new_writer = writer
        self._writer: Writer | None = None
        self._fail: Callable[[DSPexError], None] = lambda failure: None

    @property
    def rows(self) -> int:
        """How many have not come yet."""
        return len(self._examples.places)

    @property
    def at_hand(self) -> int:
        """Those below this one have been read."""
        return self._examples.at_hand

    def begin(self, go_on: Callable[[], None], fail: Callable[[DSPexError], None]) -> None:
        """Read the first rows."""
        self._fail = fail
        self._writer = self._new_writer(go_on, fail)
        self._examples.begin(go_on, fail)

    def payload_of(self, row: int) -> bytes:
        """What a worker gets."""
        return join_map({**self._shared, "example": self._examples.of(row)})

    def entry_bytes(self, row: int) -> int:
        """The example stands in it."""
        return ENTRY_BYTES + len(self._examples.of(row))

    # What comes

    def keep(self, row: Row, failure: DSPexError | None, settled: Settled) -> None:
        """Have it stored; then it is settled."""
        example = self._examples.of(row.index)
        said = _failed(failure, row.meta) if failure is not None else said_of(row.payload)
        came = row_of(self._examples.places[row.index], example, said, self._head.metrics)
        # An example that no frame of this client holds is in the store all the same.
        entry = came.body if row.max_frame_bytes else join_map({**cut_map(came.body), "example": NOTHING})

        def stored() -> None:
            self._examples.settled(row.index)
            settled(entry, came.fact.code is None)

        assert self._writer is not None  # it was begun
        spent = cast("Mapping[str, object]", row.meta)
        self._writer.add(replace(came, usage=spent, stored=stored))

    # The end

    def end(self, batch: Batch, reply: Reply) -> None:
        """Sum it up, store that, and answer."""
        self._stored.tasks.start(self._end(batch, reply))

    async def _end(self, batch: Batch, reply: Reply) -> None:
        assert self._writer is not None
        try:
            head = await self._stored.tasks.apart(lambda: self._figures.summed(self._writer_head()))
            state = records.STOPPED if batch.left else records.DONE
            head = replace(head, state=state, ended_ms=self._stored.wall_ms())
            await self._writer.put(head)
        except DSPexError as failure:
            self._fail(failure)
        except Exception as fault:
            # Here a task ends: without a word of it the call would stay open until its deadline.
            self._fail(error("internal", f"the evaluation could not be ended: {type(fault).__name__}"))
        else:
            self._answer(head, rules.usage_of(batch), reply)

    def _writer_head(self) -> Head:
        assert self._writer is not None
        return self._writer.head

    def _answer(self, head: Head, usage: Meta, reply: Reply) -> None:
        reply(encode_value(evaluation_answer(head, self._request)), usage)

    def left(self) -> None:
        """No more rows are read; what has come is still stored."""
        self._examples.left()


class EndedPlan:
    """An evaluation that has all of its rows already; `batch_plan.Plan`."""

    method = ROW_METHOD
    keeps = False
    rows = 0
    at_hand = 0

    def __init__(self, head: Head, request: Request, settings: Settings) -> None:
        self.settings = settings
        self._head = head
        self._request = request

    def begin(self, go_on: Callable[[], None], fail: Callable[[DSPexError], None]) -> None:
        """Nothing is left to do."""

    def payload_of(self, row: int) -> bytes:
        """There is no row."""
        raise AssertionError("an evaluation that has ended has no rows to run")

    def entry_bytes(self, row: int) -> int:
        """There is no row."""
        raise AssertionError("an evaluation that has ended has no rows to run")

    def keep(self, row: Row, failure: DSPexError | None, settled: Settled) -> None:
        """There is no row."""
        raise AssertionError("an evaluation that has ended has no rows to run")

    def end(self, batch: Batch, reply: Reply) -> None:
        """As it was answered before."""
        reply(encode_value(evaluation_answer(self._head, self._request)), {})

    def left(self) -> None:
        """Nothing is to be let go."""


def said_of(payload: bytes) -> dict[str, bytes]:
    """What a worker says of a row; an error in its place where that is nothing of the kind."""
    try:
        said = cut_map(payload)
        for key in ("scores", "error", "worker_ms", "metric_usage"):  # what is read here
            decode_value(said[key])
        return {**said, "prediction": said["prediction"]}
    except (DSPexError, KeyError):
        return _failed(error("internal", "a worker's answer was no row of an evaluation"), {})


def _failed(failure: DSPexError, meta: Meta) -> dict[str, bytes]:
    usage = {key: meta[key] for key in asdict(Spent()) if key in meta}
    return {"error": encode_failure(failure), "usage": encode_value(usage)}


def row_of(place: Place, example: bytes, said: Mapping[str, bytes], metrics: list[str]) -> Came:
    """A row as it is stored, and what it is found by.

    Args:
        place: Which row.
        example: Its example, encoded.
        said: What a worker has said of it.
        metrics: Their names, in order.
    """
    row = {
        "index": encode_value(place.index),
        "row": encode_value(place.row),
        "example": example,
        "prediction": said.get("prediction", NOTHING),
        "error": said.get("error", NOTHING),
        "scores": said.get("scores", EMPTY),
        "usage": said.get("usage", EMPTY),
        "metric_usage": said.get("metric_usage", EMPTY),
        "worker_ms": said.get("worker_ms", NOTHING),
    }
    failure, scores = decode_value(row["error"]), decode_value(row["scores"])
    worker_ms, of_metrics = decode_value(row["worker_ms"]), decode_value(row["metric_usage"])
    fact = Fact(
        index=place.index,
        row=place.row,
        code=None if failure is None else str(_entry(failure, "code")),
        worker_ms=float(worker_ms) if isinstance(worker_ms, int | float) else None,
        scores=[_score_of(_entry(scores, name)) for name in metrics],
        passed=[_passed_of(_entry(scores, name)) for name in metrics],
    )
    body = join_map({**row, **{key: said[key] for key in MORE if key in said}})
    spent: Mapping[str, object] = {}
    if isinstance(of_metrics, dict):
        spent = cast("Mapping[str, object]", of_metrics)
    return Came(body=body, fact=fact, usage={}, metric_usage=spent, stored=_nothing)


def _entry(fields: object, name: str) -> object:
    return cast("dict[str, object]", fields).get(name) if isinstance(fields, dict) else None


def _score_of(told: object) -> float | None:
    score = _entry(told, "score")
    return float(score) if isinstance(score, int | float) else None


def _passed_of(told: object) -> bool | None:
    passed = _entry(told, "passed")
    return passed if isinstance(passed, bool) else None


def _nothing() -> None:
    """Nobody waits for it."""
