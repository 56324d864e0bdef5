"""Datasets with real workers and real stores: what goes in comes out, in versions, whoever dies."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib
import io
import os
import signal
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.servers import serving
from tests.support.standing import Standing

from dspex_pool.client import Client
from dspex_protocol import DSPexError, Tagged

pytestmark = pytest.mark.slow

pa: Any = importlib.import_module("pyarrow")  # it comes without types
pq: Any = importlib.import_module("pyarrow.parquet")

QA = "question -> answer, score: int"


def rows(count: int, first: int = 0) -> list[dict[str, object]]:
    return [{"question": f"What is {n}?", "answer": str(n)} for n in range(first, first + count)]


async def call(client: Client, method: str, payload: Mapping[str, object], **meta: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", await client.call(f"dataset.{method}", payload, **meta))


async def refused(client: Client, method: str, payload: Mapping[str, object], **meta: Any) -> DSPexError:
    with pytest.raises(DSPexError) as caught:
        await call(client, method, payload, **meta)
    return caught.value


async def all_rows(client: Client, dataset: str, **more: object) -> list[dict[str, object]]:
    """Page by page."""
    found: list[dict[str, object]] = []
    offset: int | None = 0
    while offset is not None:
        page = await call(client, "rows", {"dataset": dataset, "offset": offset, "limit": 400, **more})
        found += page["rows"]
        offset = page["next"]
    return found


async def test_rows_come_back_in_versions_that_never_change(standing: Standing) -> None:
    """Put, append, put anew: each version has its rows, whatever came after it."""
    async with standing.client() as client:
        given = {"dataset": "qa", "rows": rows(2500), "input_keys": ["question"], "note": "first"}
        assert {"dataset": "qa", "version": 1} == await call(client, "put", given)
        assert 2 == (await call(client, "append", {"dataset": "qa", "rows": rows(10, 2500)}))["version"]
        assert 3 == (await call(client, "put", {**given, "rows": rows(3)}))["version"]
        assert rows(2500) == await all_rows(client, "qa", version=1)
        assert rows(2510) == await all_rows(client, "qa", version=2)
        assert rows(3) == await all_rows(client, "qa")
        known = await call(client, "get", {"dataset": "qa", "version": 2})
        assert (1, "append", 2510, 3) == tuple(known[key] for key in ("parent", "by", "rows", "newest"))
        assert ["question", "answer"] == known["fields"]
        versions = (await call(client, "versions", {"dataset": "qa"}))["versions"]
        assert [(3, 3), (2, 2510), (1, 2500)] == [(one["version"], one["rows"]) for one in versions]
        listed = (await call(client, "list", {"prefix": "q"}))["datasets"]
        assert [("qa", 3, 3)] == [(one["dataset"], one["version"], one["rows"]) for one in listed]


async def test_equal_rows_have_one_checksum_however_they_were_sent(standing: Standing) -> None:
    """In one call, in pieces, appended; and another for other rows."""
    async with standing.client() as client:
        keys = {"input_keys": ["question"]}
        await call(client, "put", {"dataset": "whole", "rows": rows(30), **keys})
        await call(client, "put", {"dataset": "grown", "rows": rows(10), **keys})
        await call(client, "append", {"dataset": "grown", "rows": rows(20, 10)})
        for piece in (1, 2, 3):
            upload = {"upload": "u", "piece": piece, "done": piece == 3, **(keys if piece == 1 else {})}
            made = await call(
                client, "put", {"dataset": "pieces", "rows": rows(10, 10 * piece - 10), **upload}
            )
            assert made["version"] == (1 if piece == 3 else None)
        await call(client, "put", {"dataset": "other", "rows": [*rows(29), *rows(1)], **keys})
        sums = {one["dataset"]: one["checksum"] for one in (await call(client, "list", {}))["datasets"]}
    assert sums["whole"] == sums["grown"] == sums["pieces"] != sums["other"]


async def test_an_upload_that_is_not_done_is_seen_by_nobody(standing: Standing) -> None:
    """Its pieces come in order, each once; a version is made with the last."""
    async with standing.client() as client:
        first = {"dataset": "big", "input_keys": ["question"], "upload": "u", "done": False}
        await call(client, "put", {**first, "rows": rows(5), "piece": 1})
        assert "unknown_dataset" == (await refused(client, "get", {"dataset": "big"})).code
        assert [] == (await call(client, "list", {}))["datasets"]
        later = {"dataset": "big", "upload": "u", "rows": rows(5, 5)}
        assert "piece" == (await refused(client, "put", {**later, "piece": 3})).details["field"]
        declared = await refused(client, "put", {**later, "piece": 2, "input_keys": ["answer"]})
        assert "input_keys" == declared.details["field"]
        for _ in range(2):  # the answer to the first may have been lost
            made = await call(client, "put", {**later, "piece": 2}, write_id="last")
            assert {"dataset": "big", "version": 1} == made
        assert rows(10) == await all_rows(client, "big")
        assert "upload" == (await refused(client, "put", {**later, "piece": 3})).details["field"]


async def test_files_become_rows_of_the_signatures_types(standing: Standing) -> None:
    """CSV says numbers as text; JSON lines and Parquet have some types of their own."""
    table = pa.table(
        {"question": ["a", "b"], "answer": ["x", "y"], "score": [1, 2], "day": [dt.date(2026, 1, 2)] * 2}
    )
    parquet = io.BytesIO()
    pq.write_table(table, parquet)
    files: dict[str, str | bytes] = {
        "csv": 'question,answer,score\n"a, or ""b""",x,1\nb,"two\nlines",2\n',
        "jsonl": '{"question": "a\u2028", "answer": "x", "score": 1}\n\n'
        '{"question": "b", "answer": "y", "score": 2}\n',
        "json": b'[{"question": "a", "answer": "x", "score": 1}]',
        "parquet": parquet.getvalue(),
    }
    async with standing.client() as client:
        for format_, document in files.items():
            given = {"dataset": format_, "document": document, "format": format_, "signature": QA}
            await call(client, "put", given)
        found = {format_: await all_rows(client, format_) for format_ in files}
        known = await call(client, "get", {"dataset": "csv"})
    assert ["question"] == known["input_keys"]
    assert [
        {"question": 'a, or "b"', "answer": "x", "score": 1},
        {"question": "b", "answer": "two\nlines", "score": 2},
    ] == found["csv"]
    assert ["a\u2028", "b"] == [row["question"] for row in found["jsonl"]]
    assert [{"question": "a", "answer": "x", "score": 1}] == found["json"]
    assert {"question": "b", "answer": "y", "score": 2, "day": dt.date(2026, 1, 2)} == found["parquet"][1]


async def test_a_row_that_does_not_fit_is_named_and_nothing_is_stored(standing: Standing) -> None:
    """By its number and field, in what is put and in what is appended."""
    async with standing.client() as client:
        good = {"question": "a", "answer": "x", "score": 1}
        bad: list[tuple[dict[str, object], str]] = [
            ({"rows": [good, {**good, "score": "many"}]}, "rows[1].score"),
            ({"rows": [good, good, {"answer": "x"}]}, "rows[2].question"),
            ({"rows": [good, 7]}, "rows[1]"),
            ({"document": "question,answer,score\na,b,c\n", "format": "csv"}, "document[0].score"),
            ({"document": "question,answer\na,b,c\n", "format": "csv"}, "document"),
            ({"document": '{"question": 1', "format": "jsonl"}, "document line 1"),
            ({"document": b"\xff\xfe", "format": "csv"}, "document"),
            ({"document": b"PAR1 no", "format": "parquet"}, "document"),
            ({"document": "a", "format": "xml"}, "format"),
            ({"loader": {"name": "Nothing"}}, "loader.name"),
            ({"loader": {"name": "Colors", "options": {"path": "/etc"}}}, "loader.options.path"),
            ({"rows": [good], "document": "x", "format": "csv"}, "rows"),
            ({}, "rows"),
            ({"rows": [good], "piece": 2}, "upload"),
            ({"rows": [good], "colour": "red"}, "colour"),
        ]
        for given, field in bad:
            failure = await refused(client, "put", {"dataset": "d", "signature": QA, **given})
            assert ("invalid_argument", field) == (failure.code, failure.details["field"])
        undeclared = await refused(client, "put", {"dataset": "d", "rows": [good]})
        assert "input_keys" == undeclared.details["field"]
        assert "unknown_dataset" == (await refused(client, "append", {"dataset": "d", "rows": [good]})).code
        await call(client, "put", {"dataset": "d", "signature": QA, "rows": [good]})
        failure = await refused(client, "append", {"dataset": "d", "rows": [{**good, "score": 0.5}]})
        assert "rows[0].score" == failure.details["field"]
        assert 1 == (await call(client, "get", {"dataset": "d"}))["rows"]


async def test_values_come_back_as_they_were(standing: Standing) -> None:
    """Those that JSON lacks too."""
    row = {
        "question": "q",
        "when": dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
        "price": Decimal("1.10"),
        "large": 2**80,
        "raw": b"\x00\xff",
        "picture": Tagged("image", {"url": "https://example.org/a.png"}),
        "deep": {"list": [1, [2, {"x": None}]]},
    }
    async with standing.client() as client:
        await call(client, "put", {"dataset": "d", "rows": [row], "input_keys": ["question"]})
        assert [row] == await all_rows(client, "d")


async def test_samples_and_splits_are_the_same_each_time(standing: Standing) -> None:
    """A split shares all rows out, and its sides have none in common; another seed, other sides."""
    shares = {"train": 0.6, "dev": 0.3, "test": 0.1}
    async with standing.client() as client:
        await call(client, "put", {"dataset": "d", "rows": rows(101), "input_keys": ["question"]})
        split = await call(client, "split", {"dataset": "d", "split": shares, "seed": 3})
        sides = {
            name: await all_rows(client, "d", version=split["version"], select=side["select"])
            for name, side in split["sides"].items()
        }
        again = await all_rows(client, "d", select=split["sides"]["dev"]["select"])
        other = await all_rows(client, "d", select={"split": shares, "side": "dev", "seed": 4})
        sample = [await all_rows(client, "d", select={"sample": 7, "seed": seed}) for seed in (1, 1, 2)]
        failure = await refused(client, "rows", {"dataset": "d", "select": {"split": shares, "side": "x"}})
    assert {"train": 61, "dev": 30, "test": 10} == {name: len(side) for name, side in sides.items()}
    assert sides["dev"] == again != other
    assert {row["answer"] for row in rows(101)} == {row["answer"] for side in sides.values() for row in side}
    assert sample[0] == sample[1] != sample[2]
    assert 7 == len({row["answer"] for row in sample[0]})
    assert "select.side" == failure.details["field"]


async def test_dspys_own_datasets_load_by_name(standing: Standing) -> None:
    """One that is in DSPy loads; one that is elsewhere says what it lacks."""
    async with standing.client() as client:
        loader = {"name": "Colors", "side": "dev", "options": {"eval_seed": 1}}
        given = {"dataset": "colors", "input_keys": ["color"]}
        await call(client, "put", {**given, "loader": loader})
        await call(client, "put", {**given, "loader": loader})
        one, two = (await call(client, "versions", {"dataset": "colors"}))["versions"]
        assert one["checksum"] == two["checksum"]
        assert ["color"] == one["fields"]
        unset = await refused(client, "put", {**given, "loader": {"name": "MATH"}})
        math: dict[str, object] = {"name": "MATH", "options": {"subset": "algebra"}}
        failure = await refused(client, "put", {**given, "loader": math})
    assert "loader.options.subset" == unset.details["field"]
    assert ("loader.name", "MATH, which needs the package 'datasets'") == (
        failure.details["field"],
        failure.details["got"],
    )


async def test_a_worker_that_dies_in_a_write_costs_nothing(tmp_path: Path) -> None:
    """It is asked of another one, and the version is there once."""
    async with serving("--workers", "2", "--store", f"sqlite:{tmp_path}/s.db") as client:
        await client.call("system.echo")
        document = "\n".join(f'{{"question": "q{n}", "answer": "{n}"}}' for n in range(40_000))
        given = {"dataset": "d", "document": document, "format": "jsonl", "signature": "question -> answer"}
        writing = asyncio.ensure_future(call(client, "put", given, write_id="w"))
        await asyncio.sleep(0.15)
        system = cast("dict[str, Any]", await client.call("system.info"))
        for worker in system["workers"]:
            os.kill(worker["pid"], signal.SIGKILL)
        assert {"dataset": "d", "version": 1} == await writing
        assert {"dataset": "d", "version": 1} == await call(client, "put", given, write_id="w")
        known = await call(client, "get", {"dataset": "d"})
    assert (40_000, 1) == (known["rows"], known["newest"])


async def test_what_is_stored_outlives_the_server(lasting_store: str) -> None:
    """And a deleted dataset is gone; its numbers are not given again."""
    store = ("--workers", "1", "--store", lasting_store)
    async with serving(*store) as client:
        await call(client, "put", {"dataset": "d", "rows": rows(5), "input_keys": ["question"]})
    async with serving(*store) as client:
        assert rows(5) == await all_rows(client, "d")
        await client.call("dataset.delete", {"dataset": "d"})
        assert "unknown_dataset" == (await refused(client, "rows", {"dataset": "d"})).code
        made = await call(client, "put", {"dataset": "d", "rows": rows(2), "input_keys": ["question"]})
        assert 2 == made["version"]
        assert "unknown_dataset" == (await refused(client, "rows", {"dataset": "d", "version": 1})).code
        conflict = await refused(client, "append", {"dataset": "d", "rows": rows(1), "newest": 1})
    assert ("version_conflict", 2) == (conflict.code, conflict.details["newest"])
