"""Rewards: functions of the host that say how good a prediction is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Final

import dspy

from dspex_protocol.errors import describe_value, error
from dspex_protocol.records import Doc, Length, Range, read

from ..host_functions import HostFunctions
from ..values.outgoing import to_wire

CALL_SETTINGS: Final = frozenset(("config", "lm", "signature", "demos"))
"""Keywords of a call that are no inputs of the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardDescription:
    """A reward, as it stands in a spec."""

    function: Annotated[str, Length(1, 128), Doc("name of the host function")]
    desc: Annotated[str, Length(0, 8192), Doc("what it rewards, for models that give advice")] = ""
    timeout_s: Annotated[float, Range(0.001, 86_400), Doc("of one call")] | None = None


class HostReward:
    """A host function in the form that DSPy wants of a reward.

    The function gets `{inputs, prediction}` and answers with a number or a boolean.

    Attributes:
        told: What a model that gives advice is told in place of the function's code.
    """

    def __init__(self, description: RewardDescription, functions: HostFunctions) -> None:
        self.function = description.function
        self.told = description.desc or f"A function of the host: {description.function}"
        self._timeout_s = description.timeout_s
        self._functions = functions

    def __deepcopy__(self, memo: dict[int, Any]) -> HostReward:
        return self  # nothing in it changes, and what it calls cannot be copied

    def __call__(self, inputs: dict[str, Any], prediction: dspy.Prediction) -> float:
        """The score; waits for it in this thread.

        Raises:
            DSPexError: what became of the call, or `function_failed` for no finite number.
        """
        given = {name: to_wire(value) for name, value in inputs.items() if name not in CALL_SETTINGS}
        args = {"inputs": given, "prediction": to_wire(prediction)}
        score = self._functions.wait(
            self.function, lambda: self._functions.acall(self.function, args, self._timeout_s)
        )
        if not isinstance(score, int | float) or not math.isfinite(score):
            raise error(
                "function_failed",
                f"the host function {self.function} gave no reward: expected a finite number,"
                f" got {describe_value(score)}",
            )
        return float(score)


def read_reward(value: object, path: str, functions: HostFunctions) -> HostReward:
    """The reward of a spec: a function's name, or a map with more.

    Raises:
        CallerError: `invalid_argument` or `unknown_function` naming the part.
    """
    given = {"function": value} if isinstance(value, str) else value
    description = read(RewardDescription, given, path)
    functions.require(description.function, path if isinstance(value, str) else f"{path}.function")
    return HostReward(description, functions)
