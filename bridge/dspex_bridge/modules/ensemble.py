"""Several programs as one: what `dspy.Ensemble` makes, as a module that a spec can describe."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import dspy

from .host_module import PartOf


class Ensemble(dspy.Module):
    """Asks several programs, and returns the prediction whose last output most of them agree on.

    Args:
        signature: What all of them take and give.
        programs: By name; their order is kept.
        size: So many of them are asked each time; default: all.
    """

    def __init__(
        self, signature: type[dspy.Signature], programs: Mapping[str, PartOf], size: int | None = None
    ) -> None:
        super().__init__()
        self.programs = [part.module for part in programs.values()]
        self.size = size

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Ask them one after the other."""
        outputs: Any = [program(**inputs) for program in self._asked(inputs)]
        chosen: dspy.Prediction = dspy.majority(outputs)
        return chosen

    def _asked(self, inputs: Mapping[str, Any]) -> list[Any]:
        """Those that are asked: by the inputs, so that the same question goes to the same ones."""
        if self.size is None or self.size >= len(self.programs):
            return list(self.programs)
        draw = random.Random(repr(sorted(inputs.items(), key=lambda one: one[0])))
        return draw.sample(self.programs, self.size)
