"""A LESSON: what an offline model can learn, so that better prompts really make it answer better.

It stands in for a model where an optimizer is to be tried without one, and says nothing of any model.
It has been told all answers, and gives the right one with a chance that grows with what its prompt
has of right demos and of certain words in the instructions. For one question the draw is always the
same: a prompt that is better in these ways loses no answer that a worse one had.

Asked for instructions, rules or advice, as DSPy's optimizers ask, it proposes such words.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Annotated, Any, Final

import orjson

from dspex_protocol.records import Doc, Length, Range

from .request import OutputField

_PROPOSED: Final = ("instruction", "rules")
"""What is in the names of fields in which DSPy's optimizers want instructions."""

_ADVISED: Final = "advice"
_NAMES: Final = "[[ ## module_names ## ]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What there is to learn, and what helps."""

    answers: Annotated[dict[str, str], Length(1, 10_000), Doc("input, as it stands in a prompt, to answer")]
    start: Annotated[float, Range(0, 1), Doc("chance of the right answer with nothing that helps")] = 0.3
    per_demo: Annotated[float, Range(0, 1), Doc("what each right demo adds")] = 0.08
    per_hint: Annotated[float, Range(0, 1), Doc("what each hint in the instructions adds")] = 0.12
    most: Annotated[float, Range(0, 1), Doc("the highest chance")] = 0.97
    hints: Annotated[list[str], Length(1, 64), Doc("words that help, where the instructions have them")] = (
        field(
            default_factory=lambda: [
                "step by step",
                "exactly one word",
                "as in the examples",
                "no explanation",
                "think of the sound",
            ]
        )
    )


class Pupil:
    """Answers by a lesson.

    Args:
        lesson: What there is to learn.
        seed: The model's own.
    """

    def __init__(self, lesson: Lesson, seed: int) -> None:
        self._lesson = lesson
        self._seed = str(seed).encode()
        self._values = sorted(set(lesson.answers.values()))

    def said(
        self, messages: Sequence[tuple[str, str]], temperature: float | None, fields: Sequence[OutputField]
    ) -> dict[str, object]:
        """Values of fields that it knows something about; the others are as any offline model makes them."""
        proposed: dict[str, object] = {
            one.name: self._proposal(messages) for one in fields if _is_proposal(one.name)
        }
        advised: dict[str, object] = {
            one.name: self._advice(messages) for one in fields if _ADVISED in one.name
        }
        if proposed or advised:
            return proposed | advised
        question = self._question(messages)
        return (
            {} if question is None or not fields else {fields[-1].name: self._answer(messages, temperature)}
        )

    def text(self, messages: Sequence[tuple[str, str]]) -> str | None:
        """The answer to a prompt without fields, which asks for instructions; None for another."""
        prompt = messages[-1][1] if messages else ""
        if "new instruction" in prompt and "```" in prompt:
            return f"```\n{self._proposal(messages)}\n```"
        return None

    def chance(self, messages: Sequence[tuple[str, str]]) -> float:
        """Of the right answer."""
        lesson = self._lesson
        system = messages[0][1].lower() if messages and messages[0][0] == "system" else ""
        hints = sum(hint.lower() in system for hint in lesson.hints)
        return min(
            lesson.most,
            lesson.start + lesson.per_demo * self._right_demos(messages) + lesson.per_hint * hints,
        )

    def _right_demos(self, messages: Sequence[tuple[str, str]]) -> int:
        return sum(
            asked[0] == "user" and self._truth(asked[1]) in answered[1].splitlines()
            for asked, answered in itertools.pairwise(messages[:-1])
        )

    def _answer(self, messages: Sequence[tuple[str, str]], temperature: float | None) -> str:
        truth = self._truth(messages[-1][1])
        assert truth is not None  # it has found the question
        draw = Random(self._digest(f"{temperature}\0{messages[-1][1]}"))
        if draw.random() < self.chance(messages):
            return truth
        others = [value for value in self._values if value != truth]
        return draw.choice(others) if others else "sim: unknown"

    def _question(self, messages: Sequence[tuple[str, str]]) -> str | None:
        return self._truth(messages[-1][1]) if messages else None

    def _truth(self, text: str) -> str | None:
        """The right answer to what is asked in a message: a line of it is a question of the lesson."""
        return next(
            (self._lesson.answers[line] for line in text.splitlines() if line in self._lesson.answers), None
        )

    def _proposal(self, messages: Sequence[tuple[str, str]]) -> str:
        draw = Random(self._digest("\0".join(text for _, text in messages)))
        hints = draw.sample(self._lesson.hints, draw.randint(1, min(3, len(self._lesson.hints))))
        return f"Answer {', '.join(hints)}."

    def _advice(self, messages: Sequence[tuple[str, str]]) -> dict[str, str]:
        names = _listed_after(_NAMES, messages[-1][1] if messages else "")
        return dict.fromkeys(names, self._proposal(messages))

    def _digest(self, text: str) -> int:
        return int.from_bytes(blake2b(text.encode(), digest_size=8, key=self._seed[:64]).digest(), "big")


def _is_proposal(name: str) -> bool:
    return any(word in name for word in _PROPOSED)


def _listed_after(mark: str, text: str) -> list[str]:
    """The names in a JSON array on the line after a field's mark."""
    lines = text.splitlines()
    for at, line in enumerate(lines[:-1]):
        if line == mark:
            try:
                found: Any = orjson.loads(lines[at + 1])
            except ValueError:
                return []
            return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
    return []
