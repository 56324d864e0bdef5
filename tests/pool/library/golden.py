"""The golden records of the library: what was written once must be read for ever.

`python -m tests.pool.library.golden` writes those of today's schemas where there are none; it never
writes over one.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Final

from dspex_pool.library import Head, Lineage, Version, Write
from dspex_pool.library.documents import SCHEMA as DOCUMENT_SCHEMA
from dspex_pool.library.documents import Document, write_document
from dspex_pool.library.records import write_head, write_version
from dspex_pool.library.upgrades import HEAD_SCHEMA, VERSION_SCHEMA, WRITE_SCHEMA
from dspex_pool.library.writes import remember
from dspex_protocol import Tagged, encode_value

FOLDER: Final = Path(__file__).parents[2] / "golden" / "library"
PROGRAM: Final = "Übersicht/2"

HEAD: Final = Head(
    program=PROGRAM,
    first=3,
    last=8,
    newest=7,
    tags={"live": 7, "größte": 3},
    module="ChainOfThought",
    created_ms=1_700_000_000_000,
    updated_ms=1_700_000_123_456,
)
DELETED: Final = Head(
    program="gone",
    first=9,
    last=8,
    newest=8,
    tags={},
    module="Predict",
    created_ms=1_700_000_000_000,
    updated_ms=1_700_000_123_456,
    is_deleted=True,
)
CONTENT: Final = encode_value(
    {
        "spec": {"module": "ChainOfThought", "signature": "question -> answer", "options": {"n": 2**70}},
        "state": {
            "predict": {
                "instructions": "Answer.",
                "demos": [
                    {"question": Tagged("image", b"\x00\xff"), "at": dt.datetime(2026, 1, 31, tzinfo=dt.UTC)}
                ],
            }
        },
        "dspy": "3.4.1",
        "schema": 2,
    }
)
VERSION: Final = Version(
    program=PROGRAM,
    version=7,
    content=CONTENT,
    lineage=Lineage(by="MIPROv2", parent=3, note="besser", scores={"accuracy": 0.75}),
    created_ms=1_700_000_100_000,
    dspy="3.4.1",
    schema=2,
)
DOCUMENT: Final = Document(program=PROGRAM, versions=[VERSION], tags={"live": 7})
WRITE: Final = Write("w-1", b"\x01" * 32)


def main() -> None:
    """Write what is missing."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    files = {
        f"head.{HEAD_SCHEMA}.msgpack": write_head(HEAD),
        f"deleted.{HEAD_SCHEMA}.msgpack": write_head(DELETED),
        f"version.{VERSION_SCHEMA}.msgpack": write_version(VERSION),
        f"write.{WRITE_SCHEMA}.msgpack": remember(WRITE, "add", (PROGRAM, 7)).body,
        f"document.{DOCUMENT_SCHEMA}.json": write_document(DOCUMENT).encode(),
    }
    for name, body in files.items():
        if not (FOLDER / name).exists():
            (FOLDER / name).write_bytes(body)


if __name__ == "__main__":
    main()
