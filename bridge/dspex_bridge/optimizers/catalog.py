"""Optimizers of specs: found by name, their options checked, and made when all they need is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Final, Protocol

import dspy

from dspex_protocol.errors import describe_value
from dspex_protocol.records import Doc, Length, read

from ..adapters.choosing import adapter_of
from ..adapters.classes import read_adapter
from ..host_functions import HostFunctions
from ..lms.lms import LanguageModels
from ..modules.vectorizers import Vectorizer, read_vectorizer
from ..refusals import refusal
from .classes import OptimizerClass, optimizer_classes
from .options import NestedOptimizer, TeacherSettings

MAX_STEPS: Final = 16
"""Optimizers within one; more would be a strategy that nobody can follow."""

LM_OPTIONS: Final = ("prompt_model", "task_model", "reflection_lm")
"""Options that are language models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSpec:
    """An optimizer, as it stands in a request."""

    optimizer: Annotated[str, Length(1, 128), Doc("its name, such as MIPROv2")]
    options: Annotated[dict[str, object], Doc("of its constructor; docs/optimizers.md")] = field(
        default_factory=dict[str, object]
    )
    compile: Annotated[dict[str, object], Doc("of its compile")] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """An optimizer whose options have been checked.

    Attributes:
        row: Its class.
        path: Where it stands in the request.
        options: Of its constructor, by name.
        compile: Of its compile, by name.
        steps: Optimizers within it, by name.
    """

    row: OptimizerClass
    path: str
    options: Mapping[str, Any]
    compile: Mapping[str, Any]
    steps: Mapping[str, Chosen]

    @property
    def trains(self) -> bool:
        """Whether it, or a step of it, has language models trained."""
        bare = self.row.name == "BetterTogether" and not self.steps  # DSPy's own steps then train
        return self.row.trains or bare or any(step.trains for step in self.steps.values())


class Means(Protocol):
    """What an optimizer is made with."""

    lms: LanguageModels
    functions: HostFunctions
    seed: int | None
    trainset: list[dspy.Example]

    gepa_callbacks: list[Any]

    def metric_for(self, row: OptimizerClass) -> Callable[..., Any] | None:
        """The metric in the form that a class of optimizers wants; None where there is none."""
        ...


def read_optimizer(spec: object, path: str, depth: int = 0) -> Chosen:
    """Check a spec.

    Args:
        spec: A map of `optimizer`, `options` and `compile`.
        path: Where it stands, for messages.
        depth: How many it is within.

    Raises:
        CallerError: `invalid_argument` naming the part; for an optimizer that cannot run here, with
            the reason.
    """
    wanted = read(OptimizerSpec, spec, path)
    row = _find(wanted.optimizer, path)
    options = _values(read(row.options, wanted.options, f"{path}.options"))
    steps = options.pop("optimizers", {})
    if len(steps) > MAX_STEPS or depth > 1:
        raise refusal(f"{path}.options.optimizers", f"at most {MAX_STEPS} steps, one in another", "more")
    return Chosen(
        row=row,
        path=path,
        options=options,
        compile=_values(read(row.compile, wanted.compile, f"{path}.compile")),
        steps={name: _step(step, f"{path}.options.optimizers.{name}", depth) for name, step in steps.items()},
    )


def _step(step: NestedOptimizer, path: str, depth: int) -> Chosen:
    return read_optimizer({one.name: getattr(step, one.name) for one in fields(step)}, path, depth + 1)


def _find(name: str, path: str) -> OptimizerClass:
    row = optimizer_classes().get(name)
    if row is None:
        known = ", ".join(optimizer_classes())
        raise refusal(f"{path}.optimizer", f"one of the optimizers {known}", describe_value(name))
    lacking = row.lacking()
    if lacking is not None:
        raise refusal(f"{path}.optimizer", "an optimizer that can run here", f"{name}: {lacking}")
    return row


def _values(record: object) -> dict[str, Any]:
    return {one.name: getattr(record, one.name) for one in fields(record)}  # type: ignore[arg-type]


def check_means(chosen: Chosen, lms: LanguageModels, functions: HostFunctions) -> None:
    """See that what the options name is there.

    Raises:
        CallerError: `unknown_lm`, `unknown_function` or `invalid_argument` naming the option.
    """
    for name, value in chosen.options.items():
        _argument(name, value, f"{chosen.path}.options.{name}", lms, functions)
    for step in chosen.steps.values():
        check_means(step, lms, functions)


def make_optimizer(chosen: Chosen, means: Means) -> Any:
    """One of DSPy's optimizers.

    Raises:
        CallerError: `invalid_argument` with what DSPy says of its options; as `check_means`.
    """
    arguments = {
        name: _argument(name, value, f"{chosen.path}.options.{name}", means.lms, means.functions)
        for name, value in chosen.options.items()
    }
    arguments |= {name: make_optimizer(step, means) for name, step in chosen.steps.items()}
    arguments |= _from_request(chosen.row, means)
    try:
        return chosen.row.make(**arguments)
    except (AssertionError, ValueError, TypeError) as reason:
        said = str(reason).partition("\n")[0][:512]
        raise refusal(
            f"{chosen.path}.options", f"what {chosen.row.name} takes ({said})", "something else"
        ) from None


def _from_request(row: OptimizerClass, means: Means) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if "metric" in row.takes:
        given["metric"] = means.metric_for(row)
    if "trainset" in row.constructor:
        given["trainset"] = means.trainset
    if "seed" in row.constructor and means.seed is not None:
        given["seed"] = means.seed
    if "gepa_kwargs" in row.constructor:
        given["gepa_kwargs"] = {"callbacks": means.gepa_callbacks}
    return given | {name: value for name, value in _ALWAYS.items() if name in row.constructor}


_ALWAYS: Final[Mapping[str, Any]] = {
    "track_stats": True,  # the history of candidates is made of it
    "require_cache": False,  # in a job the same question is asked once, whatever the model's cache
    "warn_on_score_mismatch": False,
}


def compile_arguments(chosen: Chosen, seed: int | None) -> dict[str, Any]:
    """What `compile` is given beside programs and rows."""
    arguments = dict(chosen.compile)
    if "seed" in chosen.row.compiling and "seed" not in chosen.row.constructor:
        arguments["seed"] = seed or 0  # with none, BetterTogether shuffles as it happens to
    if chosen.steps:
        arguments["optimizer_compile_args"] = {
            name: compile_arguments(step, seed) for name, step in chosen.steps.items()
        }
    return arguments


def _argument(name: str, value: Any, path: str, lms: LanguageModels, functions: HostFunctions) -> Any:
    """What an option stands for."""
    if value is None:
        return None
    if name in LM_OPTIONS:
        return lms.get(value, path)
    if isinstance(value, TeacherSettings):
        return {} if value.lm is None else {"lm": lms.get(value.lm, f"{path}.lm")}
    if name == "vectorizer":
        return _embedder(read_vectorizer(value, path, functions, lms))
    if name == "reduce_fn":
        return dspy.majority
    if name == "adapter":
        return adapter_of(read_adapter(value, path), 0, lms, path)
    return value


def _embedder(vectorizer: Vectorizer) -> dspy.Embedder:
    """Vectors in the form that DSPy wants, for a thread that may wait for them."""
    import numpy as np

    def embed(texts: list[str]) -> Any:
        made = vectorizer.wait(lambda: vectorizer.vectors(texts))
        return np.frombuffer(made.data, "<f4").reshape(made.shape)

    return dspy.Embedder(embed, batch_size=256, caching=False)
