"""Experiments over every store: what is said of a run is there once, in order, until it is deleted."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from dspex_pool.experiments import records, steps
from dspex_pool.experiments.operations import Point
from dspex_pool.experiments.records import Run
from dspex_pool.experiments.shelf import Changing, Shelf
from dspex_pool.library.writes import Write
from dspex_pool.store import Append, Put, Store
from dspex_protocol import DSPexError


def nothing(run: Run) -> tuple[Run, Sequence[Append]]:
    return run, ()


def said(*points: tuple[str, float]) -> Changing:
    """Values of metrics."""

    def change(run: Run) -> tuple[Run, Sequence[Append]]:
        grown, entry = steps.with_points(run, [Point(name=name, value=value) for name, value in points], 0)
        assert entry is not None
        return grown, (entry,)

    return change


def made(name: str, content: object) -> Changing:
    """An artifact."""

    def change(run: Run) -> tuple[Run, Sequence[Append]]:
        grown, entry = steps.with_artifact(run, name, content, None)
        return grown, (entry,)

    return change


@pytest.fixture
def shelf(store: Store) -> Shelf:
    ids = itertools.count()
    return Shelf(store, new_id=lambda: f"id-{next(ids)}", wall_ms=lambda: 0)


async def values(shelf: Shelf, run: str, metric: str | None = None, limit: int = 1000) -> list[Any]:
    """All values, page by page."""
    found, rows, after = (await shelf.run("e", run)).run, list[Any](), 0
    while True:
        page, next_ = await shelf.points(found, metric, after, limit)
        rows += page
        if next_ is None:
            return [value for _, _, value, _ in rows]
        after = next_


async def test_runs_at_the_same_time_get_names_of_their_own(shelf: Shelf) -> None:
    """And the experiment knows how many it has had."""
    names = await asyncio.gather(*(shelf.begin("e", None, nothing, None) for _ in range(6)))
    assert {f"run-{n}" for n in range(1, 7)} == set(names)
    ((head,), next_, unreadable) = await shelf.page("", "", 10)
    assert (6, None, []) == (head.begun, next_, unreadable)


async def test_values_said_at_the_same_time_are_all_there(shelf: Shelf) -> None:
    """Each once, and the short form agrees with them."""
    run = await shelf.begin("e", "r", nothing, None)
    writers = (shelf.change("e", run, said(("loss", float(n))), None, "log") for n in range(8))
    await asyncio.gather(*writers)
    assert [float(n) for n in range(8)] == sorted(await values(shelf, run))
    metric = (await shelf.run("e", run)).run.metrics["loss"]
    assert (8, 0.0, 7.0, 7) == (metric.points, metric.least, metric.most, metric.step)


async def test_pages_of_values_lose_none(shelf: Shelf) -> None:
    """Whatever their size, of one metric and of all."""
    await shelf.begin("e", "r", nothing, None)
    for n in range(5):
        await shelf.change("e", "r", said(("a", n), ("b", -n), ("a", n + 0.5)), None, "log")
    for limit in (1, 2, 4, 1000):
        assert [n / 2 for n in range(10)] == await values(shelf, "r", "a", limit)
        assert 15 == len(await values(shelf, "r", None, limit))


async def test_a_write_that_is_made_again_happens_once(shelf: Shelf) -> None:
    """And its answer is the first one's."""
    begin = Write("w1", b"begin")
    assert 2 * ["run-1"] == [await shelf.begin("e", None, nothing, begin) for _ in range(2)]
    for _ in range(2):
        await shelf.change("e", "run-1", said(("a", 1)), Write("w2", b"log"), "experiment.log")
    assert [1.0] == await values(shelf, "run-1")
    with pytest.raises(DSPexError) as reused:
        await shelf.change("e", "run-1", said(("a", 2)), Write("w2", b"other"), "experiment.log")
    assert "write_id_reused" == reused.value.code


@pytest.mark.parametrize("content", ["text \N{SNOWMAN}", b"\x00\xff bytes", "", b""])
async def test_artifacts_come_back_as_they_were(shelf: Shelf, content: str | bytes) -> None:
    """One of the same name takes the place of the first."""
    await shelf.begin("e", "r", nothing, None)
    for one in ("before", content):
        await shelf.change("e", "r", made("report", one), None, "attach")
    run = (await shelf.run("e", "r")).run
    body = await shelf.artifact(run, run.artifacts["report"])
    assert (content.encode() if isinstance(content, str) else content) == body


async def test_what_is_deleted_is_gone(shelf: Shelf, store: Store) -> None:
    """With its journals; a run of the same name begins with nothing."""
    for name in ("r", "s"):
        await shelf.begin("e", name, nothing, None)
        await shelf.change("e", name, said(("a", 1)), None, "log")
    journal = (await shelf.run("e", "r")).run.points_journal
    await shelf.delete_run("e", "r")
    assert [] == await store.entries(journal)
    with pytest.raises(DSPexError, match="has no run 'r'"):
        await shelf.run("e", "r")
    await shelf.begin("e", "r", nothing, None)
    assert [] == await values(shelf, "r")
    await shelf.delete("e")
    for look in (shelf.run("e", "s"), shelf.runs("e")):
        with pytest.raises(DSPexError) as gone:
            await look
        assert "unknown_experiment" == gone.value.code
    await shelf.delete("e")  # again is no error
    assert [] == await store.scan(records.RUN)


async def test_a_run_begun_while_its_experiment_is_deleted_is_not_left_without_one(shelf: Shelf) -> None:
    """Either it goes with the others, or the experiment stays for it."""
    await shelf.begin("e", None, nothing, None)
    await asyncio.gather(shelf.delete("e"), *(shelf.begin("e", None, nothing, None) for _ in range(4)))
    heads, _, _ = await shelf.page("", "", 10)
    if heads:
        assert 4 >= len(await shelf.runs("e"))
    else:
        with pytest.raises(DSPexError):
            await shelf.runs("e")


async def test_a_damaged_run_is_told_and_harms_no_other(shelf: Shelf, store: Store) -> None:
    """A flipped bit in its record, and one in its journal."""
    await shelf.begin("e", "r", nothing, None)
    await shelf.begin("e", "s", made("note", "fine"), None)
    key = records.run_key("e", "r")
    (record,) = await store.get([key])
    assert record is not None
    await store.commit([Put(key=key, body=record.body[:-1] + bytes([record.body[-1] ^ 1]))])
    with pytest.raises(DSPexError) as damaged:
        await shelf.run("e", "r")
    assert "store_damaged" == damaged.value.code
    run = (await shelf.run("e", "s")).run
    await store.commit([Append(journal=run.artifacts_journal, body=b"more")])
    assert b"fine" == await shelf.artifact(run, run.artifacts["note"])
