"""What programs give without a bridge: plain DSPy in this process, with the same offline model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import dspy

from dspex_bridge.lms.answering import AnsweringLM
from dspex_bridge.sim import SimModel, SimOptions, SimSource

SEED: Final = 7
_MODULES: Final[dict[str, Any]] = {"Predict": dspy.Predict, "ChainOfThought": dspy.ChainOfThought}
_SIGNATURE: Final[Any] = dspy.Signature  # called with a string, it makes a class


class Reference:
    """Programs by module and signature, built once, as a DSPy user would write them."""

    def __init__(self) -> None:
        self._programs: dict[tuple[str, str], Any] = {}
        self._lm = AnsweringLM("sim/test", SimSource(SimModel(SimOptions(seed=SEED))))

    def predict(self, module: str, signature: str, inputs: Mapping[str, object]) -> dict[str, object]:
        """The fields of a prediction."""
        return asyncio.run(self._predict(module, signature, inputs))

    def predict_all(self, calls: Sequence[tuple[str, str, Mapping[str, object]]]) -> list[dict[str, object]]:
        """The fields of many predictions, on an event loop and a thread of its own."""

        async def run() -> list[dict[str, object]]:
            return [await self._predict(*call) for call in calls]

        return asyncio.run(run())

    async def _predict(self, module: str, signature: str, inputs: Mapping[str, object]) -> dict[str, object]:
        program = self._programs.get((module, signature))
        if program is None:
            program = self._programs[module, signature] = _MODULES[module](_SIGNATURE(signature))
        with dspy.context(lm=self._lm, disable_history=True):
            prediction: Any = await program.acall(**inputs)
            return dict(prediction)
