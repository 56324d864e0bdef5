"""Adapters that ask again: an answer that does not fit its signature goes back with what was wrong.

DSPy tells the model of a constraint and takes whatever it answers. Here each answer of a predictor
is checked as it comes, so what is repeated is one request and not the program around it; what the
model is told stands in a further input field, as `dspy.Refine` has it, so every adapter writes it
in its own way. What a program has learned, traced and returned knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

import dspy
from dspy.utils.exceptions import AdapterParseError

from dspex_protocol import DSPexError

from ..failures import to_failure
from ..signatures.signatures import check_outputs
from ..streams.watcher import begin_again

_DESC: Final = "What was wrong with an earlier answer to the same inputs; this one must put it right."
_MAX_CHARACTERS: Final = 1_000
"""Of an earlier answer, as it is told to the model that gave it."""


class Correcting:
    """Stands before an adapter's class and asks its models again.

    Attributes:
        retries: How often at most, for one answer.
    """

    retries: int = 0

    def __call__(self, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Any) -> Any:
        """As the adapter behind, with answers that fit.

        Raises:
            AdapterParseError: when the last answer could not be read either.
            ProgramError: `prediction_failed` when it breaks a constraint.
        """
        inner: Any = super()
        asked = _Asked(signature, inputs)
        while True:
            try:
                return asked.checked(
                    inner.__call__(lm, dict(lm_kwargs), asked.signature, demos, dict(asked.inputs))
                )
            except (AdapterParseError, _Unfit) as refused:
                asked = asked.again(refused, self.retries)

    async def acall(self, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Any) -> Any:
        """As `__call__`."""
        inner: Any = super()
        asked = _Asked(signature, inputs)
        while True:
            try:
                return asked.checked(
                    await inner.acall(lm, dict(lm_kwargs), asked.signature, demos, dict(asked.inputs))
                )
            except (AdapterParseError, _Unfit) as refused:
                asked = asked.again(refused, self.retries)


class _Unfit(Exception):
    """An answer that could be read breaks a constraint."""

    def __init__(self, failure: DSPexError, value: object) -> None:
        super().__init__(failure.code)
        self.failure = failure
        self.value = value


class _Asked:
    """One question to the model, and how many came before it."""

    def __init__(self, plain: Any, inputs: Mapping[str, Any], attempt: int = 1, told: str = "") -> None:
        self._plain = plain
        self._plain_inputs = inputs
        self._attempt = attempt
        self.signature, name = _with_feedback(plain) if told else (plain, "")
        self.inputs: Mapping[str, Any] = {**inputs, name: told} if told else inputs

    def checked(self, completions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The answers, if the first one, which is the prediction, breaks no constraint."""
        first = completions[0]
        try:
            check_outputs(self._plain, first)
        except DSPexError as failure:
            raise _Unfit(failure, first.get(str(failure.details["field"]))) from None
        return completions

    def again(self, refused: AdapterParseError | _Unfit, retries: int) -> _Asked:
        """The next question; raises where there may be none."""
        failure = refused.failure if isinstance(refused, _Unfit) else to_failure(refused)
        if self._attempt > retries:
            if isinstance(refused, AdapterParseError):
                raise refused  # which some of DSPy's modules expect
            failure.details = {**failure.details, "attempts": self._attempt}
            raise failure from None
        begin_again()
        return _Asked(self._plain, self._plain_inputs, self._attempt + 1, _feedback(failure, refused))


def _feedback(failure: DSPexError, refused: AdapterParseError | _Unfit) -> str:
    """What the model is told: the rule, and what it had answered. Errors never say the latter."""
    field, expected = failure.details.get("field"), failure.details.get("expected")
    if isinstance(refused, _Unfit):
        return f"`{field}` was {_short(repr(refused.value))}; expected {expected}."
    what = f"`{field}` does not fit: expected {expected}." if expected else f"{failure.message}."
    return f"{what}\nThat answer was:\n{_short(str(refused.lm_response))}"


def _short(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"


_EXTENDED: Final[WeakKeyDictionary[Any, tuple[Any, str]]] = WeakKeyDictionary()


def _with_feedback(signature: Any) -> tuple[Any, str]:
    """A signature with one more input, and that one's name."""
    known = _EXTENDED.get(signature)
    if known is None:
        name = "feedback_"
        while name in signature.fields:
            name += "_"
        known = _EXTENDED[signature] = signature.append(name, dspy.InputField(desc=_DESC), str), name
    return known
