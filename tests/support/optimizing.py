"""A task small enough to be optimized in a second, and optimizers that get better at it.

The offline model has a lesson (`dspex_bridge.sim.lesson`), so that what an optimizer does to a prompt
really makes it answer better.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from unittest import mock

import dspy
from dspy.utils.callback import BaseCallback

from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.metrics.called import FeedbackMetric
from dspex_bridge.metrics.catalog import MetricBuilder
from dspex_bridge.optimizers.taming import tamed
from dspex_bridge.programs.builder import Builder
from dspex_bridge.programs.records import Spec
from dspex_bridge.programs.state import dump_state
from dspex_bridge.sim.model import SimModel
from dspex_protocol import decode_value, encode_value
from dspex_protocol.handshake import LMConfig
from dspex_protocol.records import read

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


@dataclass(frozen=True, slots=True)
class MadeByDSPy:
    """What DSPy makes of the task by itself: a state, and what it has asked, each question once."""

    state: object
    questions: set[str]


@contextmanager
def listening() -> Generator[set[str]]:
    """What offline models in this process are asked, each question once."""
    questions: set[str] = set()
    answer = SimModel.answer

    def heard(model: Any, messages: Any, temperature: Any = None, *more: Any) -> Any:
        questions.add(repr((list(messages), temperature)))
        return answer(model, messages, temperature, *more)

    with mock.patch.object(SimModel, "answer", heard):
        yield questions


class _Quiet(BaseCallback):  # type: ignore[misc]
    """Nothing but a reason for DSPy to go its long way to the model, as it does in a job."""


def by_dspy(name: str) -> MadeByDSPy:
    """DSPy's own optimizer, in this process and thread."""
    lms = LanguageModels(HostFunctions())
    lms.configure({key: read(LMConfig, config, key) for key, config in LMS.items()}, {})
    lm = lms.get(None)
    student: Any = Builder().build(Spec(module="Predict", signature=SIGNATURE)).module
    # A class of its own, since InferRules writes into it.
    student.signature = student.signature.with_instructions(student.signature.instructions)
    settings = {
        "lm": lm,
        "num_threads": THREADS,
        "disable_history": True,
        "trace": None,
        "callbacks": [_Quiet()],
    }
    loop = asyncio.new_event_loop()  # of no use: this metric asks nobody
    feedback = FeedbackMetric(MetricBuilder(Builder(), lms).metric(METRIC, "metric"), loop)
    with dspy.context(**settings), tamed(dspy.Parallel, 0), listening() as questions:
        if name == "BetterTogether":
            student.set_lm(lm)
        optimizer, compiling = in_process(name, lm, feedback)
        compiled = optimizer.compile(student, trainset=examples(), **compiling)
    loop.close()
    return MadeByDSPy(decode_value(encode_value(dump_state(compiled))), questions)
