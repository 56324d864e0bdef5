"""The methods about datasets: what each does with the store, and with a worker."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from dspex_pool.library.answers import moment
from dspex_pool.library.heavy import worked_out
from dspex_pool.library.names import check_prefix, check_program
from dspex_pool.library.writes import Write
from dspex_pool.ports import Stored
from dspex_pool.program_methods import AskWorker, Encoded, Handler, parameters, write_of
from dspex_protocol import decode_value, encode_value, invalid_argument
from dspex_protocol.records import read
from dspex_protocol.slices import cut_map, is_map, join_array, join_map

from .operations import (
    GetDataset,
    GetRows,
    ListDatasets,
    ListDatasetVersions,
    NamedDataset,
    SplitDataset,
    Target,
)
from .reader import Reader
from .records import Contents, Head, Version
from .selections import check_selection, check_shares, rows_of, sizes_of
from .steps import Piece
from .writer import Wish, Writer

if TYPE_CHECKING:
    from dspex_pool.calls import Call

OWN: Final = ("dataset", "newest", "note", "upload", "piece", "done")
"""Entries of a write that are for the supervisor; a worker gets the others."""

BYTES_FOR_ONE_ROW: Final = 16
"""Putting a row number in its place in a shuffle takes as long as working on some bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRows:
    """What a worker answers to `dataset.read`."""

    parts: list[dict[str, object]]
    fields: list[str]
    input_keys: list[str]
    signature: dict[str, object] | None
    chain: bytes


class DatasetMethods:
    """Answers calls about datasets.

    Args:
        stored: The store, new ids, the wall clock, and where what computes for long is done.
        ask: Has a worker read and check rows.
    """

    def __init__(self, stored: Stored, ask: AskWorker) -> None:
        self._reader = Reader(stored.store)
        self._writer = Writer(stored.store, self._reader, wall_ms=stored.wall_ms, new_id=stored.new_id)
        self._apart = stored.tasks.apart
        self._ask = ask

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """What answers each method."""
        return {
            "dataset.put": self._put,
            "dataset.append": self._append,
            "dataset.get": self._get,
            "dataset.rows": self._rows,
            "dataset.split": self._split,
            "dataset.list": self._list,
            "dataset.versions": self._versions,
            "dataset.delete": self._delete,
        }

    # What is written

    async def _put(self, call: Call) -> object:
        return await self._add(call, "put")

    async def _append(self, call: Call) -> object:
        return await self._add(call, "append")

    async def _add(self, call: Call, operation: str) -> object:
        target, given = _cut(call.payload)
        wish = _wish_of(target, operation)

        async def read_piece(before: Contents) -> Piece:
            asked = join_map({**given, "after": encode_value(_known_of(before, wish))})
            return piece_of(await self._ask(call, "dataset.read", asked))

        write = await worked_out(self._apart, len(call.payload), lambda: _write_of(call))
        answer = await self._writer.add(wish, write, read_piece, call.begin_effects)
        assert answer is not None
        dataset, version = answer
        return {"dataset": dataset, "version": version or None}

    async def _delete(self, call: Call) -> object:
        dataset = check_program(parameters(NamedDataset, call).dataset, "dataset")
        write = write_of(call)
        if await self._writer.made(write, "dataset.delete") is None:
            await self._writer.delete(dataset, write, call.begin_effects)
        return None

    # What is read

    async def _get(self, call: Call) -> object:
        wish = parameters(GetDataset, call)
        head, version = await self._reader.version(check_program(wish.dataset, "dataset"), wish.version)
        return {**_version_row(version), "newest": head.newest, "signature": version.contents.signature}

    async def _rows(self, call: Call) -> object:
        wish = parameters(GetRows, call)
        check_selection(wish.select)
        _, version = await self._reader.version(check_program(wish.dataset, "dataset"), wish.version)
        total = version.contents.rows
        wanted = await worked_out(self._apart, total * BYTES_FOR_ONE_ROW, lambda: rows_of(wish.select, total))
        rows = await self._reader.rows(version, wanted[wish.offset : wish.offset + wish.limit])
        end = wish.offset + len(rows)
        said = {
            "dataset": version.dataset,
            "version": version.version,
            "total": len(wanted),
            "next": end if end < len(wanted) else None,
            "input_keys": version.contents.input_keys,
        }
        encoded = {key: encode_value(value) for key, value in said.items()}
        return Encoded(join_map({**encoded, "rows": join_array(rows)}))

    async def _split(self, call: Call) -> object:
        wish = parameters(SplitDataset, call)
        check_shares(wish.split, "split")
        _, version = await self._reader.version(check_program(wish.dataset, "dataset"), wish.version)
        sides = {
            side: {
                "rows": size,
                "select": {"split": wish.split, "side": side, "seed": wish.seed},
            }
            for side, size in sizes_of(wish.split, version.contents.rows).items()
        }
        return {"dataset": version.dataset, "version": version.version, "sides": sides}

    async def _list(self, call: Call) -> object:
        wish = parameters(ListDatasets, call)
        check_prefix(wish.prefix)
        check_prefix(wish.after, "after")
        heads, next_, unreadable = await self._reader.page(wish.prefix, wish.after, wish.limit)
        answer = {"datasets": [_head_row(head) for head in heads], "next": next_}
        return answer | ({"unreadable": unreadable} if unreadable else {})

    async def _versions(self, call: Call) -> object:
        wish = parameters(ListDatasetVersions, call)
        dataset = check_program(wish.dataset, "dataset")
        versions, next_ = await self._reader.versions(dataset, wish.limit, wish.before)
        return {"versions": [_version_row(version) for version in versions], "next": next_}


def _cut(payload: bytes) -> tuple[Target, dict[str, bytes]]:
    """What is for us, and what is for a worker, which is not decoded here: it may be long."""
    if not is_map(payload):
        raise invalid_argument("payload", "a map", decode_value(payload))
    given = cut_map(payload)
    return read(Target, {key: decode_value(given.pop(key)) for key in OWN if key in given}), given


def _write_of(call: Call) -> Write | None:
    """As `write_of`, over the rows as they came: decoded they would be many times as long."""
    write_id = call.meta.get("write_id")
    if write_id is None:
        return None
    digest = hashlib.sha256(call.method.encode())
    for key, piece in sorted(cut_map(call.payload).items()):
        digest.update(encode_value(key) + hashlib.sha256(piece).digest())
    return Write(str(write_id), digest.digest())


def _wish_of(target: Target, operation: str) -> Wish:
    check_program(target.dataset, "dataset")
    if target.upload is None and (target.piece != 1 or not target.done):
        raise invalid_argument("upload", "a name, for rows in several calls", None)
    if target.upload is not None:
        check_program(target.upload, "upload")
    return Wish(
        dataset=target.dataset,
        operation=operation,
        newest=target.newest,
        note=target.note,
        upload=target.upload,
        piece=target.piece,
        is_done=target.done,
    )


def _known_of(before: Contents, wish: Wish) -> dict[str, object]:
    """What a worker must go on with; nothing where these rows are the first ones."""
    has_begun = wish.operation == "append" or wish.piece > 1
    return {
        "chain": before.chain,
        "input_keys": before.input_keys if has_begun else None,
        "signature": before.signature if has_begun else None,
    }


def piece_of(answer: bytes) -> Piece:
    """Rows as a worker has cut them."""
    came = read(ReadRows, decode_value(answer))
    return Piece(
        parts=[(cast("int", part["rows"]), cast("bytes", part["body"])) for part in came.parts],
        fields=came.fields,
        input_keys=came.input_keys,
        signature=came.signature,
        chain=came.chain,
    )


def _head_row(head: Head) -> dict[str, object]:
    return {
        "dataset": head.dataset,
        "version": head.newest,
        "rows": head.rows,
        "size_bytes": head.size_bytes,
        "checksum": head.checksum,
        "input_keys": head.input_keys,
        "created": moment(head.created_ms),
        "updated": moment(head.updated_ms),
    }


def _version_row(version: Version) -> dict[str, object]:
    contents = version.contents
    return {
        "dataset": version.dataset,
        "version": version.version,
        "parent": version.parent,
        "by": version.by,
        "note": version.note,
        "rows": contents.rows,
        "size_bytes": contents.size_bytes,
        "checksum": version.checksum,
        "fields": contents.fields,
        "input_keys": contents.input_keys,
        "created": moment(version.created_ms),
    }
