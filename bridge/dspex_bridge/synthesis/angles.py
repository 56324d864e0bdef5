"""ANGLES: what each request for rows is to look at, so that equal questions do not get equal answers."""

from __future__ import annotations

from random import Random
from typing import Final

LENGTHS: Final = (
    "short, as in a message between colleagues",
    "a sentence or two",
    "several sentences with details that do not matter",
    "as long as such inputs get",
)
PEOPLE: Final = (
    "somebody who does this every day",
    "somebody who does it for the first time",
    "somebody in a hurry",
    "somebody who writes carefully",
    "somebody who is annoyed",
    "somebody whose first language is another one",
    "a child",
    "an expert who uses the words of the trade",
)
CASES: Final = (
    "the usual case",
    "a rare case",
    "a case at the border between two answers",
    "a case that looks like another one",
    "a case with a misleading detail",
    "a case where something is missing",
    "a case with numbers, names or dates in it",
    "the simplest case that there is",
)


def angle(seed: int, request: int) -> str:
    """What the request of that number is to look at; the same for the same seed and number."""
    random = Random(f"{seed} {request}")
    case, person, length = random.choice(CASES), random.choice(PEOPLE), random.choice(LENGTHS)
    return f"{case}; written as by {person}; {length}"
