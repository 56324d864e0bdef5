"""A method that the supervisor answers itself, as it is described, and what several of them take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from dspex_protocol.records import Doc, Length, Range

MAX_PAGE: Final = 1000
"""Rows of one answer; a page of them is far from a frame's limit."""
PAGE: Final = 100
MAX_NOTE_CHARACTERS: Final = 10_000

Note = Annotated[str, Length(0, MAX_NOTE_CHARACTERS), Doc("why, for people who read its history")]
Limit = Annotated[int, Range(1, MAX_PAGE), Doc("rows at most")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """No parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMethod:
    """One of them.

    Attributes:
        parameters: Dataclass of its payload; None takes any value.
        doc: One sentence.
    """

    parameters: type | None
    doc: str
