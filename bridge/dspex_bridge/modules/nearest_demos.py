"""A module that takes the examples nearest to its inputs as demos: what `dspy.KNNFewShot` makes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import dspy

from .knn import KNN, Trainset

if TYPE_CHECKING:
    from .vectorizers import Vectorizer


class KNNFewShot(dspy.Module):
    """Bootstraps demos of the examples nearest to a call's inputs, and then runs a module with them.

    Each call first runs the module on some of those examples, as `dspy.BootstrapFewShot` does without
    a metric, and so costs several requests.

    Args:
        signature: Of the module and of the examples.
        module: What is run.
        k: How many examples.
        trainset: What is searched.
        vectorizer: Makes vectors of inputs.
        max_bootstrapped_demos: Demos of which the module has made the outputs, at most.
        max_labeled_demos: Demos taken from the examples as they are, at most.
        max_rounds: How often the module tries an example.
    """

    def __init__(
        self,
        signature: type[dspy.Signature],
        module: dspy.Module,
        k: int,
        trainset: Trainset,
        vectorizer: Vectorizer,
        max_bootstrapped_demos: int = 4,
        max_labeled_demos: int = 16,
        max_rounds: int = 1,
    ) -> None:
        super().__init__()
        self.module = module
        self._nearest = KNN(signature, k, trainset, vectorizer)
        self._inputs = list(signature.input_fields)
        self._options: dict[str, Any] = {
            "max_bootstrapped_demos": max_bootstrapped_demos,
            "max_labeled_demos": max_labeled_demos,
            "max_rounds": max_rounds,
        }

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Find, bootstrap and run; in a thread, which waits."""
        found: Any = self._nearest.forward(**inputs)
        examples = [
            dspy.Example(example).with_inputs(*(name for name in self._inputs if name in example))
            for example in found.examples
        ]
        compiled: Any = _Quiet(**self._options).compile(self.module, trainset=examples)
        prediction: dspy.Prediction = compiled(**inputs)
        return prediction


class _Quiet(dspy.BootstrapFewShot):
    """`dspy.BootstrapFewShot`, which draws a bar and prints a line for each call."""

    def _bootstrap(self, *, max_bootstraps: int | None = None) -> None:
        wanted = max_bootstraps or self.max_bootstrapped_demos
        rounds = range(self.max_rounds)
        self.name2traces: dict[str, list[Any]] = {name: [] for name in self.name2predictor}
        made: set[int] = set()
        for at, example in enumerate(self.trainset):
            if len(made) >= wanted:
                break
            if any(self._bootstrap_one_example(example, number) for number in rounds):
                made.add(at)
        self.validation = [example for at, example in enumerate(self.trainset) if at not in made]
        random.Random(0).shuffle(self.validation)  # the seed that DSPy has for it
