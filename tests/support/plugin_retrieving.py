"""A plug-in with a module that uses DSPy's retriever, as programs that were written for DSPy do."""

from __future__ import annotations

from typing import Any

import dspy

from dspex_bridge.modules.catalog import ModuleClass


class Searching(dspy.Module):  # type: ignore[misc]
    """Answers by what it finds."""

    def __init__(self, signature: Any) -> None:
        super().__init__()
        self.retrieve = dspy.Retrieve(k=2)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Join the passages."""
        found: Any = self.retrieve(inputs["question"])
        return dspy.Prediction(answer=" / ".join(found.passages))


MODULES = [ModuleClass(name="Searching", make=Searching)]
