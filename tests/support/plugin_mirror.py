"""A plug-in with a module that answers what it was given, so that a value goes through a program."""

from __future__ import annotations

from typing import Any

import dspy

from dspex_bridge.modules.catalog import ModuleClass


class Mirror(dspy.Module):  # type: ignore[misc]
    """Gives its input `value` back as its output `same`."""

    def __init__(self, signature: Any) -> None:
        super().__init__()
        self.unused = dspy.Predict(signature)

    async def aforward(self, value: Any) -> dspy.Prediction:
        return dspy.Prediction(same=value)


MODULES = [ModuleClass(name="Mirror", make=Mirror, keeps_state=False)]
