"""What a write to a dataset makes of it. Pure: records in, records out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from dspex_pool.store.limits import MAX_CHANGES
from dspex_protocol import invalid_argument

from .records import Contents, Head, Part, Upload, Version, digest
from .refusals import unknown_dataset, unknown_version, version_conflict

MAX_PARTS: Final = 4096
"""Of one version. A part is a megabyte or a single row, so this is a few gigabytes."""

REMOVALS: Final = MAX_CHANGES - 1
"""Changes of one commit of a deletion, beside the head's."""

TOMBSTONE_S: Final = 30 * 86_400.0
"""How long the numbers of a deleted dataset's versions are remembered, so that none is given again
to other rows of that id."""

MAX_UPLOADS: Final = 8
"""That may be under way to one dataset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Rows as a worker has read and cut them.

    Attributes:
        parts: Number of rows and encoded array of each part.
        fields, input_keys, signature, chain: As of `records.Contents`.
    """

    parts: Sequence[tuple[int, bytes]]
    fields: list[str]
    input_keys: list[str]
    signature: dict[str, object] | None
    chain: bytes


def empty_head(dataset: str, now_ms: int) -> Head:
    """Of a dataset that is not there yet."""
    return Head(
        dataset=dataset,
        last=0,
        newest=0,
        rows=0,
        size_bytes=0,
        checksum="",
        input_keys=[],
        uploads={},
        created_ms=now_ms,
        updated_ms=now_ms,
    )


def living(dataset: str, head: Head | None) -> Head:
    """A head of a dataset that can be read.

    Raises:
        DSPexError: `unknown_dataset`.
    """
    if head is None or not head.newest:
        raise unknown_dataset(dataset)
    return head


def check_version(head: Head, version: int) -> int:
    """The number of a version.

    Raises:
        DSPexError: `unknown_dataset`.
    """
    # Those before a dataset was deleted are not this one's; they are gone from the store.
    if not 1 <= version <= head.newest:
        raise unknown_version(head.dataset, version, head.newest)
    return version


def check_newest(head: Head, expected: int | None) -> None:
    """Refuse a write that is based on another version than the newest.

    Raises:
        DSPexError: `version_conflict`.
    """
    if expected is not None and expected != head.newest:
        raise version_conflict(head.dataset, expected, head.newest)


def grown(upload: Upload, piece: Piece) -> Upload:
    """An upload with one piece more.

    Raises:
        CallerError: `invalid_argument` when there are too many rows for a version.
    """
    before = upload.contents
    more = [
        Part(
            journal=upload.journal,
            entry=upload.entries + number,
            rows=rows,
            size_bytes=len(body),
            sha256=digest(body),
        )
        for number, (rows, body) in enumerate(piece.parts, start=1)
    ]
    parts = [*before.parts, *more]
    if len(parts) > MAX_PARTS:
        raise invalid_argument("rows", f"at most {MAX_PARTS} parts of a megabyte in a version", len(parts))
    contents = Contents(
        parts=parts,
        fields=list(dict.fromkeys((*before.fields, *piece.fields))),
        input_keys=piece.input_keys,
        signature=piece.signature,
        chain=piece.chain,
    )
    return replace(upload, pieces=upload.pieces + 1, entries=upload.entries + len(more), contents=contents)


def with_upload(head: Head, name: str, journal: str) -> Head:
    """A head that knows of an upload.

    Raises:
        CallerError: `invalid_argument` when there are too many.
    """
    uploads = {**head.uploads, name: journal}
    if len(uploads) > MAX_UPLOADS:
        raise invalid_argument("upload", f"at most {MAX_UPLOADS} that are not done", len(uploads))
    return replace(head, uploads=uploads)


def next_version(head: Head, upload: Upload, name: str | None, now_ms: int) -> tuple[Head, Version]:
    """The version that an upload makes, and the head with it.

    Args:
        head: As it is.
        upload: With all of its pieces.
        name: Its name, where it came in several.
        now_ms: The wall clock.

    Raises:
        DSPexError: `version_conflict` when another version came since it was begun on one.
    """
    if upload.base:
        check_newest(head, upload.base)
    contents = upload.contents
    version = Version(
        dataset=head.dataset,
        version=head.last + 1,
        parent=upload.base or None,
        by="append" if upload.base else "put",
        note=upload.note,
        created_ms=now_ms,
        contents=contents,
    )
    changed = replace(
        head,
        last=version.version,
        newest=version.version,
        rows=contents.rows,
        size_bytes=contents.size_bytes,
        checksum=version.checksum,
        input_keys=contents.input_keys,
        uploads={known: journal for known, journal in head.uploads.items() if known != name},
        updated_ms=now_ms,
    )
    return changed, version
