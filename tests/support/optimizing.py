"""A task small enough to be optimized in a second, and optimizers that get better at it.

The offline model has a lesson (`dspex_bridge.sim.lesson`), so that what an optimizer does to a prompt
really makes it answer better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import dspy

SOUNDS: Final = (
    *("moo", "woof", "meow", "neigh", "oink", "baa", "cluck", "quack", "hoot", "roar"),
    *("hiss", "buzz", "croak", "bray", "growl", "squeak", "chirp", "bleat", "honk", "howl"),
)
ANSWERS: Final = {f"animal {n}": sound for n, sound in enumerate(SOUNDS)}
LESSON: Final = {"answers": ANSWERS, "start": 0.2}
LMS: Final[dict[str, object]] = {
    "default": {"model": "sim/learner", "options": {"lesson": LESSON}},
    "vectors": {"model": "sim/vectors", "model_type": "embedding"},
}
ROWS: Final[list[dict[str, object]]] = [
    {"animal": animal, "sound": sound} for animal, sound in ANSWERS.items()
]
SIGNATURE: Final = "animal -> sound"
METRIC: Final = {"metric": "exact_match", "options": {"field": "sound"}}
THREADS: Final = 4

OPTIMIZERS: Final[dict[str, dict[str, Any]]] = {
    "LabeledFewShot": {"options": {"k": 6}},
    "BootstrapFewShot": {"options": {"max_bootstrapped_demos": 3, "max_labeled_demos": 4}},
    "BootstrapFewShotWithRandomSearch": {
        "options": {"num_candidate_programs": 3, "max_bootstrapped_demos": 3, "max_labeled_demos": 3}
    },
    "BootstrapFewShotWithOptuna": {"options": {"num_candidate_programs": 4}, "compile": {"max_demos": 3}},
    "COPRO": {"options": {"breadth": 3, "depth": 2}},
    "MIPROv2": {
        "options": {"auto": None, "num_candidates": 3},
        "compile": {"num_trials": 5, "minibatch": False},
    },
    "SIMBA": {"options": {"bsize": 8, "num_candidates": 3, "max_steps": 2}},
    "GEPA": {"options": {"max_metric_calls": 150, "reflection_lm": "default", "use_merge": False}},
    "InferRules": {"options": {"num_candidates": 3, "num_rules": 3}},
    "BetterTogether": {
        "options": {
            "optimizers": {
                "p": {
                    "optimizer": "BootstrapFewShotWithRandomSearch",
                    "options": {
                        "num_candidate_programs": 2,
                        "max_bootstrapped_demos": 2,
                        "max_labeled_demos": 2,
                    },
                },
                "q": {"optimizer": "COPRO", "options": {"breadth": 2, "depth": 1}},
            }
        },
        "compile": {"strategy": "p -> q", "valset_ratio": 0.5},
    },
}
"""Each with as little as lets it find something."""


def request(name: str, **more: object) -> dict[str, object]:
    """The request of a job that optimizes the task."""
    return {
        "spec": {"module": "Predict", "signature": SIGNATURE},
        "optimizer": {"optimizer": name, **OPTIMIZERS[name]},
        "metric": METRIC,
        "trainset": ROWS,
        "num_threads": THREADS,
        **more,
    }


def examples() -> list[dspy.Example]:
    """The rows as DSPy's."""
    return [dspy.Example(row).with_inputs("animal") for row in ROWS]


def right(example: Any, prediction: Any, trace: Any = None, *more: Any) -> float:
    """The metric in Python."""
    return float(example.sound == prediction.sound)


def in_process(name: str, lm: dspy.LM, feedback: Callable[..., Any]) -> tuple[Any, dict[str, Any]]:
    """DSPy's optimizer of the same options, and what its `compile` is given.

    Args:
        name: Of the optimizer.
        lm: That GEPA reflects with.
        feedback: The metric as GEPA wants it.
    """
    options, compiling = (dict(OPTIMIZERS[name].get(part, {})) for part in ("options", "compile"))
    make: Callable[..., Any] = getattr(dspy.teleprompt, name)
    if name == "LabeledFewShot":
        return make(**options), compiling
    if name == "GEPA":
        return make(metric=feedback, **{**options, "reflection_lm": lm}), compiling
    if name == "BetterTogether":
        steps = {
            step: getattr(dspy.teleprompt, spec["optimizer"])(metric=right, **spec["options"])
            for step, spec in options["optimizers"].items()
        }
        return make(metric=right, **steps), {**compiling, "seed": 0}
    return make(metric=right, **options), compiling
