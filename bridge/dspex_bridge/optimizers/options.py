"""Arguments of optimizers that may come from the wire, as fields of a record.

An argument of a plain type is read by that type, from its annotation or its default. One without a
type, or that is something else (a language model, settings of a teacher), has a rule here by its
name; the names are DSPy's, and mean the same in all its optimizers. What the request itself brings
(the metric, rows, a teacher, a seed) is no option, and neither is what is left out below.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, make_dataclass
from typing import Annotated, Any, Final, Literal

from dspex_protocol.limits import MAX_NAME_BYTES
from dspex_protocol.records import Doc, Length, Range

MAX_THREADS: Final = 64
"""Rows at once. Each is a thread that mostly waits for a model; the worker has 256 for all it does."""

LMName = Annotated[str, Length(1, MAX_NAME_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherSettings:
    """What holds while the teacher runs."""

    lm: Annotated[LMName | None, Doc("a configured language model that it asks")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NestedOptimizer:
    """An optimizer that is a step of another."""

    optimizer: Annotated[str, Length(1, 128), Doc("its name, such as MIPROv2")]
    options: Annotated[dict[str, object], Doc("of its constructor")] = field(
        default_factory=dict[str, object]
    )
    compile: Annotated[dict[str, object], Doc("of its compile")] = field(default_factory=dict[str, object])


FROM_REQUEST: Final = frozenset(
    ("self", "metric", "student", "teacher", "trainset", "valset", "devset", "programs", "seed")
)
"""Arguments that the request brings under its own names."""

LEFT_OUT: Final[Mapping[str, str]] = {
    "log_dir": "it writes files where the server runs, and some are pickles; a job keeps its own record",
    "use_wandb": "it sends what is learned to a service",
    "wandb_api_key": "as use_wandb",
    "wandb_init_kwargs": "as use_wandb",
    "use_mlflow": "it writes to a tracking server from within the job",
    "gepa_kwargs": "it reaches folders, trackers and pickles; what of it is safe has an option of its own",
    "instruction_proposer": "a Python function",
    "code_proposer": "a Python function",
    "optimizer_compile_args": "options of a step stand beside it, as `compile`",
    "eval_kwargs": "of printing; rows at once is `num_threads` of the request",
    "require_cache": "in a job the same question is asked once, which is what it wants to know",
    "deterministic": "DSPy has no other than false",
    "requires_permission_to_run": "deprecated by DSPy",
    "provide_traceback": "tracebacks in the log only",
    "verbose": "prints prompts",
    "track_stats": "always kept: a job's history is made of it",
    "track_best_outputs": "outputs of each row; an evaluation keeps those",
    "warn_on_score_mismatch": "a line in the log only",
}
"""Arguments that no spec can set, and why."""

UNKEPT: Final = frozenset(("metric_threshold", "teacher_settings", "max_errors"))
"""Of what is spread over KNNFewShot: a program that bootstraps at each call has no place for these."""

SPREAD: Final[Mapping[str, str]] = {
    "few_shot_bootstrap_args": "BootstrapFewShot",
    "kwargs": "BootstrapFewShot",
}
"""Of what another optimizer takes, what a `**` argument of these names stands for."""

_LANGUAGE_MODEL: Final = "a configured language model"

RULES: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("prompt_model", "task_model", "reflection_lm"), LMName),
    "teacher_settings": TeacherSettings,
    "optimizers": dict[str, NestedOptimizer],
    "vectorizer": object,
    "reduce_fn": Literal["majority"],
    "component_selector": Literal["round_robin", "all"],
    "optimize_for": Literal["max", "min"],
    "adapter": LMName,
    "train_kwargs": dict[str, object],
    "num_threads": Annotated[int, Range(1, MAX_THREADS)],
    "max_errors": Annotated[int, Range(1, 1_000_000)],
    "max_demos": Annotated[int, Range(0, 1_000)],
    "size": Annotated[int, Range(1, 1_000)],
    "metric_threshold": float,
    "stop_at_score": Annotated[float, Range(0, 100)],
    "restrict": Annotated[list[int], Length(1, 10_000)],
}
"""Types of arguments that have none, or are no plain values."""

DEFAULTS: Final[Mapping[str, object]] = {"reduce_fn": "majority"}
"""Where DSPy's own makes no program: of several predictions as they are, a call has no answer."""

_RANGES: Final[Mapping[str, Range]] = {
    **dict.fromkeys(
        (
            *("max_rounds", "num_candidate_programs", "num_candidates", "num_rules", "num_trials", "depth"),
            *("max_steps", "max_iters", "bsize", "k", "minibatch_size", "minibatch_full_eval_steps"),
            *("view_data_batch_size", "max_full_evals", "reflection_minibatch_size", "num_train_steps"),
        ),
        Range(1, 100_000),
    ),
    **dict.fromkeys(
        ("max_bootstrapped_demos", "max_labeled_demos", "max_merge_invocations"), Range(0, 1_000)
    ),
    "breadth": Range(2, 1_000),
    "max_metric_calls": Range(1, 100_000_000),
    "demo_input_field_maxlen": Range(0, 10_000_000),
    "valset_ratio": Range(0, 0.99),
    **dict.fromkeys(("temperature_for_sampling", "temperature_for_candidates"), Range(0.001, 1_000)),
}
"""Of numbers, where others make no sense to DSPy or never end."""

_DOCS: Final[Mapping[str, str]] = {
    "prompt_model": f"{_LANGUAGE_MODEL} that writes instructions; default: that of the job",
    "task_model": f"{_LANGUAGE_MODEL} that the program asks; default: that of the job",
    "reflection_lm": f"{_LANGUAGE_MODEL} that reads what went wrong and writes better instructions",
    "teacher_settings": "what holds while the teacher runs",
    "optimizers": "steps by name, as the strategy names them; each {optimizer, options, compile}",
    "vectorizer": "a configured language model that makes vectors, or {function, timeout_s} of the host",
    "reduce_fn": "how several predictions become one; the output that most of them have",
    "component_selector": "which predictors are changed at once",
    "adapter": "by which adapter training data is written; default: chat",
    "train_kwargs": "what the provider is told of the training",
    "num_threads": "rows at once; default: that of the request",
    "max_errors": "rows that may fail before all of it does; DSPy's default is 10",
    "metric_threshold": "a score of this much makes a demo; by default any that is not 0, or has passed",
    "stop_at_score": "of 100: a candidate that reaches it is the last",
    "restrict": "numbers of the candidates that are made, from -3",
    "max_bootstrapped_demos": "demos of which the teacher has made the outputs, at most",
    "max_labeled_demos": "demos taken from the rows as they are, at most",
    "max_rounds": "how often the teacher tries a row",
    "num_candidate_programs": "how many candidates are made beside the first ones",
    "num_candidates": "how many candidates are made",
    "num_trials": "how many combinations are tried",
    "num_rules": "how many rules are asked for",
    "k": "how many examples",
    "size": "how many of the programs are asked each time; default: all",
    "max_demos": "demos at most",
    "breadth": "how many instructions are proposed at a time",
    "depth": "how often they are proposed",
    "bsize": "rows of a batch; there must be as many",
    "max_steps": "how many batches",
    "auto": "how much is tried",
    "strategy": "names of steps, with ' -> ' between",
    "valset_ratio": "share of the rows that is kept for validation where no valset is given",
    "shuffle_trainset_between_steps": "whether each step sees the rows in another order",
    "max_full_evals": "how often all rows may be scored",
    "max_metric_calls": "how many rows may be scored",
    "minibatch": "whether most trials see a part of the rows only",
    "minibatch_size": "rows of such a part",
    "minibatch_full_eval_steps": "trials between those that see all rows",
    "sample": "whether demos are drawn; else they are the first ones",
    "labeled_sample": "as of LabeledFewShot's `sample`",
    "init_temperature": "of the requests that propose",
    "failure_score": "of a row that fails",
    "perfect_score": "the highest that there is",
}


def options_record(name: str, arguments: Mapping[str, inspect.Parameter]) -> type:
    """A record of the options among arguments.

    Args:
        name: Of the record.
        arguments: Of a constructor or of `compile`, by name.

    Raises:
        TypeError: for a required one that has no form on the wire, naming it.
    """
    fields = [one for key, argument in arguments.items() if (one := _field(key, argument)) is not None]
    return make_dataclass(name, fields, frozen=True, slots=True, kw_only=True)


def _field(name: str, argument: inspect.Parameter) -> tuple[str, Any, Any] | None:
    """The field of an argument; None for one that no spec can set."""
    if name in FROM_REQUEST or name in LEFT_OUT:
        return None
    hint = RULES.get(name) or _plain(argument)
    if hint is None:
        if argument.default is argument.empty and argument.kind is not argument.VAR_KEYWORD:
            raise TypeError(name)
        return None
    if argument.kind is argument.VAR_KEYWORD:
        return name, _hinted(name, hint), field(default_factory=dict)
    if argument.default is argument.empty:
        return name, _hinted(name, hint), field()
    default: Any = DEFAULTS.get(name, argument.default)
    if default is None or _may_be_none(argument):
        hint = hint | None
    if hint is float and default is not None:
        default = float(default)
    return name, _hinted(name, hint), field(default=default)


def _hinted(name: str, hint: Any) -> Any:
    doc = Doc(_DOCS.get(name, "as DSPy documents it"))
    if name in _RANGES and name not in RULES:
        return Annotated[hint, doc, _RANGES[name]]
    return Annotated[hint, doc]


def _may_be_none(argument: inspect.Parameter) -> bool:
    annotation: Any = argument.annotation
    if isinstance(annotation, str):
        return "None" in [part.strip() for part in annotation.split("|")]
    return types.NoneType in typing.get_args(annotation)


_PLAIN: Final[Mapping[str, type]] = {kind.__name__: kind for kind in (int, float, bool, str)}


def _plain(argument: inspect.Parameter) -> Any:
    """The type of an argument, without None; None where it is not plain."""
    annotation: Any = argument.annotation
    if annotation is inspect.Parameter.empty:
        annotation = type(argument.default)
    if isinstance(annotation, str):  # postponed, as `from __future__ import annotations` has it
        members: list[Any] = [_PLAIN.get(part.strip(), part.strip()) for part in annotation.split("|")]
    elif typing.get_origin(annotation) in (types.UnionType, typing.Union):
        members = list(typing.get_args(annotation))
    else:
        members = [annotation]
    wanted = [member for member in members if member not in (None, types.NoneType, "None")]
    if wanted and all(typing.get_origin(member) is Literal for member in wanted):
        return Literal[tuple(choice for member in wanted for choice in typing.get_args(member))]
    return wanted[0] if len(wanted) == 1 and wanted[0] in _PLAIN.values() else None


def arguments_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The arguments of a constructor or of `compile`."""
    return inspect.signature(function).parameters
