"""What a simulated job is to do, and what comes of it when nobody disturbs it. Pure.

A job takes steps. In each it asks some questions at once, all of which follow from the answers before,
so that an answer that is lost, or another one, leads it to another result.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Final, NamedTuple, cast
from zlib import crc32

LM: Final = "lm"
HOST: Final = "host"
FUNCTION: Final = "weigh"
"""What the host is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toil:
    """The request of a job.

    Attributes:
        number: Of the submission; no other has it.
        steps: How many.
        at_once: How many questions a step asks at the same time.
        ms: How long an answer takes.
        asks_host: Every second step asks the host as well.
        saves: Its result is a program, to be stored.
        program: Under that id; None for one that is made.
        fails: At its end it says that it has come to nothing.
        is_endless: It has no end.
    """

    number: int
    steps: int
    at_once: int
    ms: int
    asks_host: bool
    saves: bool
    program: str | None
    fails: bool
    is_endless: bool

    def told(self) -> dict[str, object]:
        """As it goes over the wire."""
        return asdict(self)


class Place(NamedTuple):
    """A question, and the how manieth equal one it is."""

    kind: str
    key: bytes
    number: int


class Step(NamedTuple):
    """What a step asks and what the job is after it."""

    number: int
    places: list[Place]
    carry: int


def toil_of(request: object) -> Toil:
    """What was asked for."""
    return Toil(**cast("dict[str, object]", request))  # type: ignore[arg-type]


def draw_toil(random: Random, number: int, programs: tuple[str, ...]) -> Toil:
    """Something to do. What has no end takes its time: it would be all that happens."""
    is_endless = random.random() < 0.12
    return Toil(
        number=number,
        steps=random.randint(1, 6),
        at_once=random.randint(1, 4),
        ms=random.choice((1000, 2000) if is_endless else (0, 5, 50, 200, 600)),
        asks_host=random.random() < 0.5,
        saves=random.random() < 0.5,
        program=random.choice((None, *programs)),
        fails=random.random() < 0.08,
        is_endless=is_endless,
    )


def places_of(toil: Toil, step: int, carry: int) -> list[Place]:
    """What a step asks; in every third one each question is asked twice."""
    twice = step % 3 == 0
    places: list[Place] = []
    for at in range(toil.at_once):
        key = f"{toil.number} {step} {carry} {at // 2 if twice else at}".encode()
        places.append(Place(LM, key, 1 + at % 2 if twice else 1))
    if toil.asks_host and step % 2 == 0:
        places.append(Place(HOST, f"{toil.number} {step} {carry}".encode(), 1))
    return places


def answer_to(key: bytes) -> int:
    """What everybody answers to a question."""
    return crc32(key)


def carried(carry: int, answers: Mapping[Place, int]) -> int:
    """What a job goes on with."""
    return crc32(repr((carry, sorted(answers.items()))).encode())


def walk(toil: Toil) -> Generator[Step]:
    """The steps of a job that nobody disturbs; without end where it has none."""
    step, carry = 0, toil.number
    while toil.is_endless or step < toil.steps:
        step += 1
        places = places_of(toil, step, carry)
        carry = carried(carry, {place: answer_to(place.key) for place in places})
        yield Step(step, places, carry)


def score_of(carry: int) -> float:
    """How good it is then."""
    return carry % 1000 / 10


def result_of(toil: Toil, carry: int) -> dict[str, object]:
    """What it comes to."""
    return {"number": toil.number, "carry": carry}


class Undisturbed(NamedTuple):
    """What comes of a job that has an end and that nobody disturbs."""

    result: dict[str, object]
    best: float
    places: dict[str, int]


def undisturbed(toil: Toil) -> Undisturbed:
    """All of it."""
    steps = list(walk(toil))
    kinds = [place.kind for step in steps for place in step.places]
    return Undisturbed(
        result_of(toil, steps[-1].carry),
        max(score_of(step.carry) for step in steps),
        {kind: kinds.count(kind) for kind in (LM, HOST)},
    )
