"""ASKING: what a job's worker asks of the supervisor itself, and what it gets."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any, Final, cast

from dspex_pool.calls import Call
from dspex_pool.datasets.methods import piece_of
from dspex_pool.datasets.reader import Reader
from dspex_pool.datasets.records import Contents
from dspex_pool.datasets.steps import Piece
from dspex_pool.datasets.writer import Writer, whole
from dspex_pool.library.failures import told
from dspex_pool.library.names import Reference, check_program, check_tag
from dspex_pool.library.writes import Write
from dspex_pool.own_method import Note
from dspex_pool.ports import Stored, Timers
from dspex_pool.program_methods import Encoded
from dspex_protocol import DSPexError, decode_value, encode_value, error, invalid_argument
from dspex_protocol.records import read
from dspex_protocol.slices import cut_map, is_map, join_map

from . import records, steps
from .keeping import AGAIN_S, AWAY, Keeper
from .pausing import pause
from .tally import Tally

if TYPE_CHECKING:
    from dspex_pool.library.library import Library

MAX_ANSWERS: Final = 200
"""Answers of one message: some ten thousand bytes each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRows:
    """What a worker says of rows that are to be stored, beside the rows."""

    note: Note | None = None


Rows = Callable[["Call"], Awaitable[object]]
"""Answers `dataset.rows`."""


class Asking:
    """Answers the calls of one job's worker.

    Args:
        keeper: The job.
        stored: The store.
        timers: For another try of a store that gives no answer.
        library: Programs.
        rows: Answers `dataset.rows`.
        tally: Counts answers.

    Attributes:
        under_way: Requests to models of which the worker has told, where a budget counts them, and whose
            answers are not kept.
    """

    def __init__(
        self, keeper: Keeper, stored: Stored, timers: Timers, library: Library, rows: Rows, tally: Tally
    ) -> None:
        self.under_way = 0
        self._tally = tally
        self._keeper = keeper
        self._store = stored.store
        self._tasks = stored.tasks
        self._timers = timers
        self._wall_ms = stored.wall_ms
        self._library = library
        self._rows = rows
        self._datasets = Reader(stored.store)
        self._writer = Writer(stored.store, self._datasets, wall_ms=stored.wall_ms, new_id=stored.new_id)
        self._handlers: Mapping[str, Callable[[dict[str, bytes]], Awaitable[bytes]]] = {
            "job.answers": self._answers,
            "job.answered": self._answered,
            "job.event": self._event,
            "job.best": self._best,
            "job.model": self._model,
            "job.rows": self._dataset_rows,
            "job.program": self._program,
            "job.dataset": self._store_rows,
        }

    async def answer(self, method: str, payload: bytes) -> bytes:
        """The payload of the REPLY.

        A store that gives no answer is asked again until it does: the job waits.

        Raises:
            DSPexError: for the FAIL.
            Lost: the job is not ours any more.
        """
        handler = self._handlers.get(method)
        if handler is None or not is_map(payload):
            raise error("unknown_method", f"there is no method {method!r} for a job")
        while True:
            try:
                return await handler(cut_map(payload))
            except DSPexError as failure:
                if failure.code not in AWAY:
                    raise
            await pause(self._timers, self._tasks, AGAIN_S)

    # The journal

    async def _answers(self, asked: dict[str, bytes]) -> bytes:
        after, limit = _whole(asked, "after"), min(MAX_ANSWERS, _whole(asked, "limit"))
        with told:
            entries = await self._store.entries(
                records.answers_of(self._keeper.job.job), after=after, limit=limit
            )
        last = entries[-1].number if entries else after
        self._tally.answers_replayed += len(entries)
        return encode_value({"entries": [entry.body for entry in entries], "last": last})

    async def _answered(self, asked: dict[str, bytes]) -> bytes:
        entries = cast("list[object]", decode_value(asked.get("entries", b"\x90")))
        if not all(isinstance(entry, bytes) for entry in entries):
            raise invalid_argument("entries", "an array of bytes", entries)
        kept = cast("list[bytes]", entries)
        self.under_way = max(0, self.under_way - steps.paid_among(kept))  # what the commit says counts
        await self._keeper.commit(lambda job: steps.answered(job, kept))
        self._tally.answers_kept += len(kept)
        self._tally.lm_calls += steps.paid_among(kept)
        return encode_value(None)

    async def _event(self, asked: dict[str, bytes]) -> bytes:
        number = _whole(asked, "n")
        event = cast("dict[str, object]", decode_value(asked.get("event", b"\x80")))
        if not isinstance(event.get("type"), str):
            raise invalid_argument("event", "a map with a type", event)
        is_anew = decode_value(asked.get("anew", b"\xc2")) is True
        await self._keeper.commit(
            lambda job: steps.event_told(job, number, event, self._wall_ms(), is_anew=is_anew)
        )
        return encode_value(None)

    async def _best(self, asked: dict[str, bytes]) -> bytes:
        score, content = decode_value(asked.get("score", b"\xc0")), asked.get("content", b"\xc0")
        if not isinstance(score, int | float) or isinstance(score, bool) or isnan(score):
            raise invalid_argument("score", "a number", score)
        await self._keeper.commit(lambda job: steps.best_told(job, float(score), content))
        return encode_value(None)

    async def _model(self, asked: dict[str, bytes]) -> bytes:
        """A language model answers nobody, or does so again.

        An event of ours and not one of the attempt's own: another attempt need not come by it.
        """
        is_away = decode_value(asked.get("is_away", b"\xc2")) is True
        event: dict[str, object] = {
            "type": "waiting_for_model" if is_away else "model_is_back",
            "model": decode_value(asked.get("model", b"\xc0")),
        }
        if is_away:
            event["code"] = decode_value(asked.get("code", b"\xc0"))
        await self._keeper.commit(lambda job: steps.happened(job, event, self._wall_ms()))
        return encode_value(None)

    # What it works on

    async def _dataset_rows(self, asked: dict[str, bytes]) -> bytes:
        dataset = check_program(decode_value(asked.get("dataset", b"\xc0")), "dataset")
        version = decode_value(asked.get("version", b"\xc0"))
        if version is None:
            pinned = await self._pinned(f"dataset/{dataset}", lambda: self._newest_rows(dataset))
            asked["version"] = encode_value(pinned)
        page = await self._rows(Call(cast("Any", None), 0, "dataset.rows", {}, join_map(asked), 0.0))
        assert isinstance(page, Encoded)
        return page.payload

    async def _store_rows(self, asked: dict[str, bytes]) -> bytes:
        """Rows that the job has made become a version of a dataset, once however many attempts make them."""
        dataset = check_program(decode_value(asked.pop("dataset", b"\xc0")), "dataset")
        note = read(StoredRows, {"note": decode_value(asked.pop("note", b"\xc0"))}).note
        piece = piece_of(join_map(asked))
        job = self._keeper.job.job
        # The job alone says which write it is: attempts come to the same, and if not, the first one counts.
        write = Write(f"job/{job}/{dataset}", hashlib.sha256(f"{job} {dataset}".encode()).digest())

        async def read_piece(before: Contents) -> Piece:
            return piece

        answer = await self._writer.add(whole(dataset, note), write, read_piece, lambda: None)
        assert answer is not None
        return encode_value({"dataset": answer[0], "version": answer[1]})

    async def _newest_rows(self, dataset: str) -> int:
        _, version = await self._datasets.version(dataset, None)
        return version.version

    async def _program(self, asked: dict[str, bytes]) -> bytes:
        program = check_program(decode_value(asked.get("program", b"\xc0")), "program")
        version = decode_value(asked.get("version", b"\xc0"))
        if version is None:
            tag = decode_value(asked.get("tag", b"\xc0"))
            tag = None if tag is None else check_tag(tag)
            version = await self._pinned(
                records.pin_of(program, tag), lambda: self._version_of(Reference(program, None, tag))
            )
        if not isinstance(version, int) or isinstance(version, bool):
            raise invalid_argument("version", "the number of a version", version)
        reference = Reference(program, version)
        held = self._library.known(reference) or await self._library.fetch(reference)
        said = {"program": encode_value(program), "version": encode_value(held[1]), "record": held[2]}
        return join_map(said)

    async def _version_of(self, reference: Reference) -> int:
        return (await self._library.fetch(reference))[1]

    async def _pinned(self, what: str, newest: Callable[[], Awaitable[int]]) -> int:
        """The version that this job works on: the one that was the newest when it first asked."""
        if what not in self._keeper.job.pins:
            version = await newest()
            await self._keeper.commit(lambda job: steps.pinned(job, what, version))
        return self._keeper.job.pins[what]


def _whole(asked: dict[str, bytes], name: str) -> int:
    value = decode_value(asked.get(name, b"\x00"))
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise invalid_argument(name, "an integer from 0", value)
    return value
