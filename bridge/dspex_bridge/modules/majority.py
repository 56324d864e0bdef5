"""The vote of several predictions, as a module: DSPy has it as a function only."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy


class Majority(dspy.Module):
    """Runs a module several times and returns the prediction whose field most of them agree on.

    Args:
        module: What is run, each time with a rollout of its own at temperature 1.0.
        N: How often.
        field: The output that is voted on; the last one by default.
    """

    def __init__(self, module: dspy.Module, N: int, field: str | None = None) -> None:  # noqa: N803 - DSPy's name
        super().__init__()
        self.module = module
        self.N = N
        self.field = field

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Run it that often, one after the other."""
        return self._vote([rollout(**inputs) for rollout in self._rollouts()])

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """Run it that often, at once."""
        running = [rollout.acall(**inputs) for rollout in self._rollouts()]
        return self._vote(await asyncio.gather(*running))

    def _rollouts(self) -> list[Any]:
        return [rolled_out(self.module, n) for n in range(self.N)]

    def _vote(self, predictions: list[dspy.Prediction]) -> dspy.Prediction:
        rows = [dict(prediction.items()) for prediction in predictions]
        field = self.field or list(rows[0])[-1]
        # DSPy's own normalization is for text; what else there is counts as it is.
        texts = all(isinstance(row[field], str) for row in rows)
        chosen = dspy.majority(rows, field=field) if texts else dspy.majority(rows, repr, field)
        return dspy.Prediction(**dict(chosen.items()))


def rolled_out(module: dspy.Module, number: int) -> Any:
    """A copy of a module whose language models answer as rollout `number`, as in `dspy.BestOfN`."""
    lm: Any = module.get_lm() or dspy.settings.lm
    copied = module.deepcopy()
    copied.set_lm(lm.copy(rollout_id=lm.kwargs.get("rollout_id", 0) + number, temperature=1.0))
    return copied
