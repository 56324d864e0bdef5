"""Reports as JSON: the records as they are, with their rows.

JSON has no NaN and no infinity: such a number is null, and `not_finite` says where it stood and what
it was. Whatever else JSON lacks is written as everywhere in DSPex (`notation`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from dspex_pool.notation import to_json

from .shapes import Record, is_list, is_map, list_of, map_of

MAX_NOT_FINITE: Final = 10_000
"""That are listed; all are null."""
ROWS: Final = {"job": "events", "experiment": "runs"}
"""What rows are, where they are not called so."""
_HALVES: Final = re.compile("[\ud800-\udfff]")


class JsonReport:
    """Writes one, of whatever kind.

    Args:
        kind: `evaluation`, `comparison`, `job` or `experiment`.
        record: What it is about; rows of its own are left to `add`.
        more: Other records by name, such as `failures`.
    """

    def __init__(self, kind: str, record: Record, more: Record) -> None:
        self._kind = kind
        self._head = {
            kind: {key: value for key, value in record.items() if key != "rows" or kind != "comparison"},
            **more,
        }
        self._key = ROWS.get(kind, "rows")
        self._written = 0
        self._not_finite: list[dict[str, str]] = []

    def begin(self) -> str:
        """What stands before the rows."""
        entries = [f"{json.dumps('kind')}: {json.dumps(self._kind)}"]
        entries += [
            f"{json.dumps(key)}: {self._dumped(value, f'/{key}')}" for key, value in self._head.items()
        ]
        return "{" + ",\n".join(entries) + f',\n"{self._key}": ['

    def add(self, rows: Sequence[Record]) -> str:
        """Some rows, one a line."""
        written = ""
        for row in rows:
            written += ",\n" if self._written else "\n"
            written += self._dumped(dict(row), f"/{self._key}/{self._written}")
            self._written += 1
        return written

    def end(self) -> str:
        """What stands after them."""
        return f'\n],\n"not_finite": {json.dumps(self._not_finite, ensure_ascii=True)}\n}}\n'

    def _dumped(self, value: object, at: str) -> str:
        written = json.dumps(self._finite(to_json(value), at), ensure_ascii=False, allow_nan=False)
        return _HALVES.sub(lambda found: f"\\u{ord(found[0]):04x}", written)

    def _finite(self, value: object, at: str) -> object:
        if is_map(value):
            entries = map_of(value)
            if list(entries) == ["$float"]:
                self._note(str(entries["$float"]), at)
                return None
            return {key: self._finite(item, f"{at}/{_pointed(key)}") for key, item in entries.items()}
        if is_list(value):
            return [self._finite(item, f"{at}/{n}") for n, item in enumerate(list_of(value))]
        return value

    def _note(self, what: str, at: str) -> None:
        if len(self._not_finite) < MAX_NOT_FINITE:
            self._not_finite.append({"at": at, "value": what})


def _pointed(key: str) -> str:
    """As RFC 6901 has it."""
    return key.replace("~", "~0").replace("/", "~1")
