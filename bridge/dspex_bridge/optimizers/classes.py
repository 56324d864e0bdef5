"""Optimizer classes: every one of the installed DSPy, what it takes, and why some cannot run here.

They are found in DSPy's modules of optimizers, so one of a newer DSPy needs no line here while its
arguments are plain or have names that DSPy uses already.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import dspy
import dspy.teleprompt

from dspex_protocol.records import describe

from .options import SPREAD, arguments_of, options_record


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerClass:
    """A class of optimizers.

    Attributes:
        name: In a spec.
        make: The class.
        options: Record of its constructor's arguments.
        compile: Record of those of `compile`.
        constructor: Names of all arguments of its constructor.
        compiling: Names of all arguments of `compile`.
        takes: What else it takes: of `metric`, `trainset`, `valset`, `teacher`, `programs`.
        needs: What of that must be given.
        wants_feedback: Its metric says in words what is wrong.
        spread: Options that are handed to another optimizer.
        lacking: Why it cannot run here, in words, where that is so.
    """

    name: str
    make: Callable[..., Any]
    options: type
    compile: type
    constructor: frozenset[str]
    compiling: frozenset[str]
    takes: frozenset[str]
    needs: frozenset[str]
    wants_feedback: bool
    spread: frozenset[str]
    lacking: Callable[[], str | None]

    @property
    def trains(self) -> bool:
        """Whether it has language models trained."""
        return self.name == "BootstrapFinetune"

    @property
    def binds_lms(self) -> bool:
        """Whether each predictor must have its language model, and not that of the settings."""
        return self.name in _BINDING

    @property
    def seeded(self) -> bool:
        """Whether it has a seed of its own, in its constructor or in `compile`."""
        return "seed" in self.constructor or "seed" in self.compiling


_WITHOUT_METRIC: Final = frozenset(("BootstrapFewShot", "BootstrapFinetune"))
"""Those that take a metric and need none: all that a teacher makes will do."""

_NOT_TAKEN: Final[Mapping[str, frozenset[str]]] = {
    "GEPA": frozenset(("teacher",)),
    "KNNFewShot": frozenset(("metric", "teacher")),
}
"""Arguments that are there, and that DSPy refuses, or that no stored program could keep."""

_GIVEN: Final = ("metric", "trainset", "valset", "teacher", "programs")
_BINDING: Final = frozenset(("BetterTogether", "BootstrapFinetune", "GRPO"))
_ALIASES: Final[Mapping[str, str]] = {"devset": "trainset"}

_EXTRA: Final = "which `pip install 'dspex[optimizers]'` brings"

_MODULES: Final[Mapping[str, str]] = {
    "SIMBA": "numpy",
    "KNNFewShot": "numpy",
    "GEPA": "gepa",
    "MIPROv2": "optuna",
    "BootstrapFewShotWithOptuna": "optuna",
}
"""Packages that optimizers import when they run."""

_ALWAYS: Final[Mapping[str, str]] = {
    "GRPO": "it trains weights by a provider that can reinforce a model, and no language model here has one",
}
"""Why some cannot run, whatever is installed."""


@functools.cache
def optimizer_classes() -> Mapping[str, OptimizerClass]:
    """Every optimizer of the installed DSPy, by name."""
    found = {class_.__name__: class_ for class_ in _classes()}
    rows = {name: _row(name, class_, found) for name, class_ in found.items()}
    return MappingProxyType(dict(sorted(rows.items(), key=lambda item: item[0].lower())))


def _classes() -> Iterator[Any]:
    base = dspy.teleprompt.Teleprompter
    for info in pkgutil.walk_packages(dspy.teleprompt.__path__, "dspy.teleprompt."):
        try:
            module = importlib.import_module(info.name)
        except ImportError:  # of what an optimizer needs; where it is public, DSPy has something in its place
            continue
        for found in vars(module).values():
            if not inspect.isclass(found) or not issubclass(found, base) or found.__module__ != info.name:
                continue
            if found is not base and "compile" in vars(found):  # else it is what others are derived from
                yield found
    if (
        dspy.teleprompt.GEPA.__module__ == dspy.teleprompt.__name__
    ):  # it stands in for one whose package lacks
        yield dspy.teleprompt.GEPA


def _row(name: str, class_: Any, found: Mapping[str, Any]) -> OptimizerClass:
    own, compiling = arguments_of(class_.__init__), arguments_of(class_.compile)
    spread = _spread(own, found)
    given = {_ALIASES.get(key, key): argument for key, argument in {**own, **spread, **compiling}.items()}
    try:
        options, compile_ = (
            options_record(f"{name}Options", {**spread, **own}),
            options_record(f"{name}Compile", compiling),
        )
        formless = None
    except TypeError as reason:
        options = compile_ = options_record("None", {})
        formless = f"its argument {reason} has no form on the wire"
    return OptimizerClass(
        name=name,
        make=class_,
        options=options,
        compile=compile_,
        constructor=frozenset(own) | frozenset(spread),
        compiling=frozenset(compiling),
        takes=frozenset(key for key in _GIVEN if key in given) - _NOT_TAKEN.get(name, frozenset()),
        needs=frozenset(key for key in _GIVEN if key in given and _is_needed(name, key, given[key]))
        - _NOT_TAKEN.get(name, frozenset()),
        wants_feedback="Feedback" in str(given["metric"].annotation) if "metric" in given else False,
        spread=frozenset(spread) - frozenset(own),
        lacking=functools.partial(_lacking, name, formless),
    )


def _spread(own: Mapping[str, inspect.Parameter], found: Mapping[str, Any]) -> dict[str, inspect.Parameter]:
    """Arguments that a `**` of the constructor hands to another optimizer."""
    for name, argument in own.items():
        if argument.kind is argument.VAR_KEYWORD and name in SPREAD:
            return {
                key: one for key, one in arguments_of(found[SPREAD[name]].__init__).items() if key != "self"
            }
    return {}


def _is_needed(name: str, key: str, argument: inspect.Parameter) -> bool:
    if key == "metric":  # some have None as its default, and fail with it
        return name not in _WITHOUT_METRIC
    return argument.default is argument.empty


def _lacking(name: str, formless: str | None) -> str | None:
    if formless is not None or name in _ALWAYS:
        return formless or _ALWAYS[name]
    package = _MODULES.get(name)
    if package is not None and importlib.util.find_spec(package) is None:
        return f"it needs {package}, {_EXTRA}" if package != "gepa" else "it needs gepa"
    return _broken(name)


def _broken(name: str) -> str | None:
    """What of the installed DSPy does not work by itself."""
    if name == "AvatarOptimizer" and not hasattr(dspy, "TypedPredictor"):
        return "it is made with dspy.TypedPredictor, which the installed DSPy does not have"
    if name == "SignatureOptimizer":
        positional = [
            one
            for one in arguments_of(dspy.teleprompt.COPRO.__init__).values()
            if one.kind is one.POSITIONAL_OR_KEYWORD
        ]
        if len(positional) < 8:  # itself, and the seven that it is given
            return "DSPy deprecated it for COPRO, and the installed DSPy's hands COPRO an argument too many"
    return None


def describe_optimizers() -> list[dict[str, object]]:
    """Every optimizer, for `system.describe`.

    Returns:
        Rows of `name`, `doc`, `available` (it can run here), `options` and `compile` (name to
        `{type, doc, required, default}`), `takes` and `needs` (of `metric`, `trainset`, `valset`,
        `teacher`, `programs`), `feedback` (its metric says in words what is wrong), `seeded`; and
        the `reason` where it cannot run.
    """
    return [_described(row) for row in optimizer_classes().values()]


def _described(row: OptimizerClass) -> dict[str, object]:
    lacking = row.lacking()
    told: dict[str, object] = {
        "name": row.name,
        "doc": _DOCS.get(row.name) or _told(row.make),
        "available": lacking is None,
        "options": describe(row.options),
        "compile": describe(row.compile),
        "takes": sorted(row.takes),
        "needs": sorted(row.needs),
        "feedback": row.wants_feedback,
        "seeded": row.seeded,
    }
    return told if lacking is None else {**told, "reason": lacking}


_DOCS: Final[Mapping[str, str]] = {
    "AvatarOptimizer": "Compares what an agent did well and badly, and rewrites its instructions.",
    "BetterTogether": "Runs several optimizers after one another, and keeps the best program of all steps.",
    "BootstrapFewShot": "Demos that a teacher makes of the rows, where the metric likes them.",
    "BootstrapFewShotWithOptuna": "Bootstraps demos, and searches with Optuna for the ones that score best.",
    "BootstrapFewShotWithRandomSearch": "Bootstraps several sets of demos, and keeps what scores best.",
    "BootstrapFinetune": "Trains the model on what the program and the metric make of the rows.",
    "COPRO": "Has instructions proposed, round by round, by what the earlier ones scored.",
    "Ensemble": "Makes one program of several, which asks them all and takes what most of them say.",
    "GEPA": "Has a model reflect on what went wrong, in words, and keeps a front of candidates.",
    "GRPO": "Trains the model by reinforcement.",
    "InferRules": "Has rules inferred from the rows, and adds those that score best to the instructions.",
    "KNNFewShot": "Takes the rows nearest to each call's inputs as its demos.",
    "LabeledFewShot": "Takes rows as they are for demos.",
    "MIPROv2": "Bootstraps demos, has instructions proposed, and searches for the best of both.",
    "ReAnchor": "Fits the thresholds, cuts and weights of decision outputs to the metric.",
    "SignatureOptimizer": "The former name of COPRO.",
    "SIMBA": "Looks at batches where outcomes differ, and adds demos, or rules that a model makes of them.",
}
"""In a sentence each: DSPy's own say it of few."""


def _told(class_: Any) -> str:
    """The first line that says what a class does."""
    lines = inspect.cleandoc(class_.__doc__ or class_.__init__.__doc__ or "").splitlines()
    return next((line for line in lines if line and not line.startswith(("..", "Experimental:"))), "")
