"""Datasets over a store: what is written at the same time, in pieces, by halves, and what is removed."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.stores import MemoryPlace

from dspex_pool.datasets import records, steps
from dspex_pool.datasets.reader import Reader
from dspex_pool.datasets.records import Contents
from dspex_pool.datasets.steps import Piece
from dspex_pool.datasets.writer import Wish, Writer
from dspex_pool.library.writes import Write
from dspex_pool.store import Key, Put, Store
from dspex_protocol import DSPexError, decode_value, encode_value

PUT = Wish(dataset="d", operation="put", newest=None, note=None, upload=None, piece=1, is_done=True)


class Data:
    """A writer and a reader of one store, and rows that are numbers."""

    def __init__(self, store: Store) -> None:
        ids = itertools.count()
        self.store = store
        self.reader = Reader(store)
        self.writer = Writer(store, self.reader, wall_ms=lambda: 0, new_id=lambda: f"{id(self)}-{next(ids)}")
        self.looks = 0

    async def add(self, rows: list[int], write: Write | None = None, **wish: Any) -> Any:
        """Write rows; a worker would cut them into parts of two."""

        async def read_piece(before: Contents) -> Piece:
            self.looks += 1
            await asyncio.sleep(0)
            chain = before.chain
            for row in rows:
                chain = hashlib.sha256(chain + encode_value(row)).digest()
            pairs = [rows[n : n + 2] for n in range(0, len(rows), 2)]
            parts = [(len(pair), encode_value(pair)) for pair in pairs]
            return Piece(parts=parts, fields=["n"], input_keys=["n"], signature=None, chain=chain)

        return await self.writer.add(replace(PUT, **wish), write, read_piece, lambda: None)

    async def rows(self, version: int | None = None) -> list[Any]:
        """All of them."""
        _, found = await self.reader.version("d", version)
        return [decode_value(row) for row in await self.reader.rows(found, range(found.contents.rows))]


@pytest.fixture
def data(store: Store) -> Data:
    return Data(store)


async def test_appends_at_the_same_time_lose_nothing(data: Data) -> None:
    """Each becomes a version; the last one has all."""
    await data.add([0])
    made = await asyncio.gather(*(data.add([n], operation="append") for n in range(1, 9)))
    assert [("d", n) for n in range(2, 10)] == sorted(made)
    assert list(range(9)) == sorted(await data.rows())


async def test_puts_at_the_same_time_read_their_rows_once(data: Data) -> None:
    """What a worker has read is not read again where it only has to be numbered another way."""
    made = await asyncio.gather(*(data.add([n]) for n in range(6)))
    assert [("d", n) for n in range(1, 7)] == sorted(made)
    assert 6 == data.looks


async def test_a_write_with_an_id_happens_once(data: Data) -> None:
    """Also when another one came after it; with other rows it is refused."""
    one, other = Write("w", b"1" * 32), Write("w", b"2" * 32)
    assert ("d", 1) == await data.add([1], one)
    assert ("d", 2) == await data.add([2])
    assert ("d", 1) == await data.add([1], one)
    with pytest.raises(DSPexError, match="write_id"):
        await data.add([3], other)
    assert [2] == await data.rows()


async def test_an_append_is_of_the_version_that_was_named(data: Data) -> None:
    """Or it is refused, and so is an upload that was overtaken."""
    await data.add([1])
    await data.add([2], operation="append", upload="u", is_done=False)
    await data.add([3], operation="append", newest=1)
    refusals: list[dict[str, Any]] = [{"newest": 1}, {"upload": "u", "piece": 2}]
    for refused in refusals:
        with pytest.raises(DSPexError) as caught:
            await data.add([4], operation="append", **refused)
        assert ("version_conflict", 2) == (caught.value.code, caught.value.details["newest"])
    assert [1, 3] == await data.rows()


async def test_an_upload_that_was_given_up_leaves_nothing() -> None:
    """The next write to the dataset removes what came of it."""
    place = MemoryPlace()
    data = Data(place.build())
    await data.add([1, 2, 3], upload="u", is_done=False)
    head = (await data.reader.head("d")).head
    assert head is not None
    (journal,) = head.uploads.values()
    await place.advance(records.UPLOAD_TTL_S + 1)
    await data.add([4])
    assert [] == await data.store.entries(journal)
    assert [4] == await data.rows()
    with pytest.raises(DSPexError, match="upload"):
        await data.add([5], upload="u", piece=2)


async def test_too_many_uploads_at_once_are_refused(data: Data) -> None:
    """Each keeps rows that nobody can see."""
    for number in range(steps.MAX_UPLOADS):
        await data.add([1], upload=f"u{number}", is_done=False)
    with pytest.raises(DSPexError, match="upload"):
        await data.add([1], upload="one-more", is_done=False)


async def test_a_deleted_dataset_leaves_nothing_but_its_number(data: Data) -> None:
    """No version, no part, no upload; also where it was deleted only by half."""
    await data.add([1, 2, 3])
    await data.add([4], operation="append")
    await data.add([5], upload="u", is_done=False)
    _, version = await data.reader.version("d", 2)
    head, revision = await data.reader.head("d")
    assert head is not None
    journals = {part.journal for part in version.contents.parts} | set(head.uploads.values())
    half = replace(head, newest=0, is_deleted=True)  # as a server leaves it that dies then
    await data.store.commit([Put(key=records.head_key("d"), body=records.write_head(half), expect=revision)])
    assert ("d", 3) == await data.add([6])
    for journal in journals:
        assert [] == await data.store.entries(journal)
    assert [3] == [found.version for found in (await data.reader.versions("d", 10, None))[0]]
    await data.writer.delete("d", None, lambda: None)
    assert [] == await data.store.scan(records.VERSION)
    assert [] == await data.store.scan(records.UPLOAD)


async def test_a_sweep_stops_where_the_dataset_is_there_again(data: Data) -> None:
    """Two servers may be at it; what was written meanwhile stays."""
    await data.add([1])
    head, revision = await data.reader.head("d")
    assert head is not None
    gone = replace(head, newest=0, is_deleted=True)
    await data.store.commit([Put(key=records.head_key("d"), body=records.write_head(gone), expect=revision)])
    await asyncio.gather(data.writer.sweep("d"), data.add([2]), data.writer.sweep("d"))
    assert [2] == await data.rows()


@pytest.mark.parametrize("what", ["head", "version", "part"])
async def test_damage_is_found_and_named(data: Data, what: str) -> None:
    """A flipped bit anywhere is an error that names the dataset, and no other rows."""
    await data.add([1, 2, 3])
    _, version = await data.reader.version("d", 1)
    if what == "part":
        version = replace(
            version,
            contents=replace(
                version.contents, parts=[replace(part, sha256=bytes(32)) for part in version.contents.parts]
            ),
        )
        with pytest.raises(DSPexError) as caught:
            await data.reader.rows(version, range(3))
    else:
        key: Key = records.head_key("d") if what == "head" else records.version_key("d", 1)
        (record,) = await data.store.get([key])
        assert record is not None
        flipped = bytes([*record.body[:-1], record.body[-1] ^ 1])
        await data.store.commit([Put(key=key, body=flipped)])
        with pytest.raises(DSPexError) as caught:
            await data.rows(1)
    assert ("store_damaged", "d") == (caught.value.code, caught.value.details["dataset"])


@given(
    st.lists(st.tuples(st.sampled_from(["put", "append"]), st.lists(st.integers(), max_size=7)), max_size=8)
)
@settings(max_examples=60, deadline=None)
def test_any_writes_leave_what_they_say(writes: list[tuple[str, list[int]]]) -> None:
    """Every version has its rows at the end, as a list of lists would."""

    async def run() -> None:
        data = Data(MemoryPlace().build())
        model: list[list[int]] = []
        for operation, rows in writes:
            if operation == "append" and not model:
                with pytest.raises(DSPexError):
                    await data.add(rows, operation=operation)
                continue
            made = await data.add(rows, operation=operation)
            model.append([*model[-1], *rows] if operation == "append" else rows)
            assert ("d", len(model)) == made
        for number, rows in enumerate(model, start=1):
            assert rows == await data.rows(number)

    asyncio.run(run())
