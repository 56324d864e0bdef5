"""Adds golden records: `python -m tests.golden.write_records`, after a new case or a new schema.

What is there is never written again: those records stand for the ones in the stores of users.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.golden import CASES, RECORDS, build, load, requests_text

from dspex_bridge.programs.upgrades import SCHEMA, upgraded
from dspex_protocol import decode_value, encode_value


def missing_files(name: str) -> dict[Path, bytes]:
    """The files that a case has not got yet."""
    first = sorted(RECORDS.glob(f"{name}.*.msgpack"))[:1]
    record = encode_value(upgraded(decode_value(first[0].read_bytes())) if first else build(name).record())
    files = {
        RECORDS / f"{name}.{SCHEMA}.msgpack": record,
        RECORDS / f"{name}.requests.json": requests_text(name, load(record)).encode(),
    }
    return {path: content for path, content in files.items() if not path.exists()}


def main() -> None:
    """Write what is missing, and say so."""
    for name in CASES:
        for path, content in missing_files(name).items():
            with path.open("xb") as file:
                file.write(content)
            sys.stdout.write(f"added {path.name}\n")


if __name__ == "__main__":
    main()
