"""Which rows there are already: equal ones, and such as say the same in nearly the same words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import orjson

from ..refusals import refusal

Sameness: TypeAlias = Literal["duplicate", "near_duplicate"]

_SPACES: Final = re.compile(r"\W+")


class Distinct:
    """The rows that are known.

    Args:
        fields: What two rows must have in common to count as the same.
        similarity: From 0 to 1: texts that are at least so alike count as near duplicates; None compares
            for equality only. By RapidFuzz's `ratio` over texts without case, accents and punctuation.
        path: Where that was asked for, for messages.

    Raises:
        CallerError: `invalid_argument` where a similarity needs RapidFuzz, which is not installed.
    """

    def __init__(self, fields: Sequence[str], similarity: float | None, path: str = "near") -> None:
        self._fields = fields
        self._similarity = similarity
        self._known: dict[str, None] = {}
        self._extract = None if similarity is None else _extractor(path)

    def __len__(self) -> int:
        return len(self._known)

    def add(self, row: Mapping[str, object]) -> Sameness | None:
        """Take a row in, unless it is there already; says how it is."""
        text = _plain(row, self._fields)
        if text in self._known:
            return "duplicate"
        if self._extract is not None and self._similarity is not None:
            found = self._extract(text, self._known.keys(), self._similarity * 100)
            if found is not None:
                return "near_duplicate"
        self._known[text] = None
        return None


def _extractor(path: str) -> Any:
    try:
        from rapidfuzz import fuzz, process
    except ImportError:
        needed = "the package rapidfuzz, of the extra `metrics` (pip install 'dspex[metrics]')"
        raise refusal(path, needed, "none where the server runs") from None

    def extract(text: str, known: Any, least: float) -> object:
        return process.extractOne(text, known, scorer=fuzz.ratio, score_cutoff=least)

    return extract


def _plain(row: Mapping[str, object], fields: Sequence[str]) -> str:
    """Its fields as one text in which case, accents, spaces and punctuation do not matter."""
    values = [row.get(field) for field in fields]
    text = " | ".join(value if isinstance(value, str) else _json(value) for value in values)
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(character for character in decomposed if not unicodedata.combining(character))
    return _SPACES.sub(" ", bare).strip() or text


def _json(value: object) -> str:
    return orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS).decode()
