"""A plug-in with modules of its own: they keep state, each in another way, or have many predictors.

Loaded into workers by the setting `plugins`; specs name them like DSPy's own.
"""

from __future__ import annotations

from typing import Any

import dspy

from dspex_bridge.modules.catalog import CONFIG, ModuleClass, Option


class Remembering(dspy.Module):  # type: ignore[misc]
    """Shows its model what it has answered before: each call becomes a demo of the next."""

    def __init__(self, signature: Any, **config: Any) -> None:
        super().__init__()
        self.answer = dspy.Predict(signature, **config)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        prediction: Any = await self.answer.acall(**inputs)
        self.answer.demos = [*self.answer.demos, dspy.Example(**{**inputs, **dict(prediction)})]
        return prediction


class Counting(dspy.Module):  # type: ignore[misc]
    """Counts its calls beside its predictors, and has no async form."""

    def __init__(self, signature: Any, start: int = 0) -> None:
        super().__init__()
        self.answer = dspy.Predict(signature)
        self.calls = start

    def forward(self, **inputs: Any) -> dspy.Prediction:
        self.calls += 1
        prediction: Any = self.answer(**inputs)
        prediction["answer"] = f"{self.calls}: {prediction.answer}"
        return prediction

    def dump_memory(self) -> object:
        return {"calls": self.calls}

    def load_memory(self, value: Any) -> None:
        self.calls = value["calls"]


class FivePredictors(dspy.Module):  # type: ignore[misc]
    """Thinks four times before it answers. Keeps nothing."""

    def __init__(self, signature: Any, **config: Any) -> None:
        super().__init__()
        self.drafts = [dspy.Predict(signature, **config) for _ in range(4)]
        self.answer = dspy.Predict(signature, **config)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        for draft in self.drafts:
            await draft.acall(**inputs)
        return await self.answer.acall(**inputs)


class Growing(dspy.Module):  # type: ignore[misc]
    """Has another predictor after each call, which no session can keep."""

    def __init__(self, signature: Any) -> None:
        super().__init__()
        self.signature = signature
        self.answer = dspy.Predict(signature)
        self.others: list[dspy.Predict] = []

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        self.others.append(dspy.Predict(self.signature))
        return await self.answer.acall(**inputs)


def _read_start(value: object, path: str, parts: object) -> object:
    if not isinstance(value, int):
        raise TypeError(path)
    return value


MODULES = [
    ModuleClass(name="Remembering", make=Remembering, options={"config": CONFIG}),
    ModuleClass(
        name="Counting",
        make=Counting,
        options={"start": Option(read=_read_start, type="an integer", doc="what it has counted already")},
    ),
    ModuleClass(name="FivePredictors", make=FivePredictors, options={"config": CONFIG}, keeps_state=False),
    ModuleClass(name="Growing", make=Growing),
]
