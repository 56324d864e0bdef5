"""How a prediction came about: what each predictor was given and what it gave, in order.

DSPy keeps the trace in a list of its setting `trace`, which a call has only where it was asked
for: the list holds on to all inputs and outputs for as long as the call runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import dspy

from .outgoing import to_wire


def steps_of(module: dspy.Module, trace: Sequence[tuple[Any, dict[str, Any], Any]]) -> list[object]:
    """A trace as values of the wire.

    Args:
        module: The one that ran, whose predictors have the names.
        trace: What DSPy kept: predictor, inputs and prediction of each step, oldest first.

    Returns:
        Maps of `predictor` (None for one that is not the module's), `inputs` and `outputs`.

    Raises:
        DSPexError: `value_unencodable` when a step holds a value that has no form on the wire.
    """
    names = PredictorNames(module)
    return [
        {
            "predictor": names.of(predictor),
            "inputs": to_wire(inputs),
            "outputs": to_wire(dict(outputs.items(include_dspy=True))),
        }
        for predictor, inputs, outputs in trace
    ]


class PredictorNames:
    """Of a module's predictors, also of copies of them: some of DSPy's modules run copies of their parts."""

    def __init__(self, module: dspy.Module) -> None:
        predictors: list[tuple[str, Any]] = module.named_predictors()
        self._by_identity = {id(predictor): name for name, predictor in predictors}
        shared = Counter(id(predictor.signature) for _, predictor in predictors)
        # A copy has its original's own signature class; one that several have tells nothing.
        self._by_signature = {
            id(predictor.signature): name
            for name, predictor in predictors
            if shared[id(predictor.signature)] == 1
        }

    def of(self, predictor: Any) -> str | None:
        """Its name, or None."""
        name = self._by_identity.get(id(predictor))
        return name or self._by_signature.get(id(predictor.signature))
