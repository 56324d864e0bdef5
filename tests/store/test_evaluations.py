"""Evaluations on every backend: rows that come together are stored together, once, by one run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
from tests.pool.evaluation.rooms import row

from dspex_pool.evaluation import records
from dspex_pool.evaluation.examples import Place
from dspex_pool.evaluation.figures import Figures
from dspex_pool.evaluation.reader import Known, Reader
from dspex_pool.evaluation.records import Head, Request
from dspex_pool.evaluation.run import row_of, said_of
from dspex_pool.evaluation.writer import MAX_GROUP, Came, Writer
from dspex_pool.library.sealing import seal
from dspex_pool.store import Append, Change, Delete, Drop, Key, Put, Store
from dspex_pool.tasks import LoopTasks
from dspex_protocol import DSPexError, encode_value

ROWS = 700


def new_head(rows: int = ROWS) -> Head:
    return Head(
        evaluation="e",
        digest=b"d",
        attempt=1,
        program=None,
        version=None,
        dataset="qa",
        dataset_version=1,
        select=None,
        checksum="",
        metrics=["right"],
        failure_score=0.0,
        lm=None,
        note=None,
        state=records.RUNNING,
        rows=rows,
        journal="j",
        created_ms=0,
    )


class Run:
    """One run of an evaluation on a store.

    Attributes:
        stored: Indexes of the rows that are known to be in the store, in order.
        failures: Why it ended.
        commits: After how many rows a commit was done.
    """

    def __init__(self, store: Store, known: Known) -> None:
        self.stored: list[int] = []
        self.failures: list[DSPexError] = []
        self.commits: list[int] = []
        self.tasks = LoopTasks(asyncio.get_running_loop())
        self.reader = Reader(store, self.tasks.apart)
        self.writer = Writer(
            store,
            self.tasks,
            self.reader,
            known,
            Figures(known.head),
            written=lambda: self.commits.append(len(self.stored)),
            fail=self.failures.append,
        )

    def add(self, index: int, score: float = 1.0, size: int = 0) -> None:
        said = said_of(encode_value(row(score, usage={"lm_calls": 1})))
        example = encode_value({"q": index, "text": "x" * size})
        came: Came = row_of(Place(index, index + 10), example, said, ["right"])
        self.writer.add(replace(came, usage={"lm_calls": 1}, stored=lambda: self.stored.append(index)))

    async def settled(self, count: int) -> None:
        """Until so many rows are stored, or it has ended."""
        while len(self.stored) < count and not self.failures:
            await asyncio.sleep(0.005)


async def begun(store: Store, head: Head, expect: int = 0) -> Known:
    """The head as a run has made it."""
    changes: list[Change] = [Put(key=records.head_key("e"), body=records.write_head(head), expect=expect)]
    request = records.write_request("e", Request(metrics={"right": {}}))
    changes.append(Put(key=records.request_key("e"), body=request))
    revision, *_ = await store.commit(changes)
    return Known(head, revision)


@pytest.fixture
async def run(store: Store) -> AsyncGenerator[Run]:
    one = Run(store, await begun(store, new_head()))
    yield one
    await one.tasks.end()


async def test_what_comes_together_is_stored_together(run: Run) -> None:
    """In fewer commits than rows; and it is found again, row by row."""
    for index in reversed(range(ROWS)):
        run.add(index, float(index % 2))
    await run.settled(ROWS)
    assert [] == run.failures
    assert list(reversed(range(ROWS))) == run.stored
    assert len(run.commits) <= 2 + ROWS // MAX_GROUP
    head = await run.reader.head("e")
    assert (ROWS, 0, ROWS) == (head.done, head.failed, head.usage["lm_calls"])
    assert (0.5, ROWS // 2) == (head.scores["right"]["mean"], head.scores["right"]["passed"])
    facts = sorted(await run.reader.facts(head), key=lambda found: found.fact.index)
    assert [(index, index + 10) for index in range(ROWS)] == [(one.fact.index, one.fact.row) for one in facts]
    wanted = [facts[5], facts[699], facts[300]]
    examples: list[Any] = [
        records.decoded(body)["example"]["q"] for body in await run.reader.rows(head, wanted)
    ]
    assert [5, 699, 300] == examples


async def test_long_rows_are_parted(run: Run) -> None:
    """An entry is a megabyte, or one row; and an answer ends before it is too long."""
    for index in range(12):
        run.add(index, size=800_000)
    await run.settled(12)
    head = await run.reader.head("e")
    assert 12 == head.entries
    found = await run.reader.facts(head)
    assert 10 == len(await run.reader.rows(head, found))


async def test_a_later_run_takes_it_over(store: Store, run: Run) -> None:
    """The earlier one stores no more, and what it had stored is kept and counted once."""
    run.add(1)
    await run.settled(1)
    known = await run.reader.known("e")
    assert known is not None
    later = Run(store, await begun(store, replace(known.head, attempt=2), known.revision))
    run.add(2)
    await run.settled(2)
    assert ["evaluation_taken"] == [failure.code for failure in run.failures]
    later.add(3)
    await later.settled(1)
    run.add(4)
    head = await later.reader.head("e")
    assert [1, 3] == [found.fact.index for found in await later.reader.facts(head)]
    await later.tasks.end()


@pytest.mark.parametrize("what", ["head", "request", "facts", "rows", "gone"])
async def test_damage_is_found_and_named(store: Store, run: Run, what: str) -> None:
    """What was changed behind our back is never taken for what was stored."""
    run.add(1)
    await run.settled(1)
    head = await run.reader.head("e")
    broken = encode_value({"schema": 1, "sha256": bytes(32), "body": b"x"})
    keys: dict[str, Key] = {"head": records.head_key("e"), "request": records.request_key("e")}
    if what in keys:
        changes: list[Change] = [Put(key=keys[what], body=broken)]
    elif what == "gone":
        changes = [Drop(journal=records.journal_of(records.FACTS, head))]
    else:
        journal = records.journal_of(records.FACTS if what == "facts" else records.ROWS, head)
        changes = [Drop(journal=journal), Append(journal=journal, body=broken)]
    await store.commit(changes)

    async def read_all() -> None:
        await run.reader.whole("e")
        await run.reader.rows(head, await run.reader.facts(head))

    with pytest.raises(DSPexError) as damaged:
        await read_all()
    assert ("store_damaged", "e") == (damaged.value.code, damaged.value.details["evaluation"])


async def test_deleted_meanwhile_it_is_unknown(store: Store, run: Run) -> None:
    """And not damaged; its run is told so."""
    run.add(1)
    await run.settled(1)
    head = await run.reader.head("e")
    gone = [Drop(journal=records.journal_of(kind, head)) for kind in (records.ROWS, records.FACTS)]
    await store.commit([Delete(key=records.head_key("e")), *gone])
    with pytest.raises(DSPexError) as unknown:
        await run.reader.facts(head)
    assert "unknown_evaluation" == unknown.value.code
    run.add(2)
    await run.settled(2)
    assert ["unknown_evaluation"] == [failure.code for failure in run.failures]


async def test_a_newer_record_is_left_alone(store: Store, run: Run) -> None:
    """It is refused by its schema, and not read."""
    key = records.head_key("new")
    await store.commit([Put(key=key, body=seal(key, records.SCHEMA + 1, encode_value({"x": 1})))])
    with pytest.raises(DSPexError) as newer:
        await run.reader.head("new")
    assert "record_too_new" == newer.value.code
