"""The metrics of the installed DSPy, found by what their functions and modules take.

A function of a newer DSPy needs no line here while it takes what DSPy's metrics take now. Which
fields one reads, no signature says: those stand in a table below, for checks and for documentation.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, make_dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final

import dspy
import dspy.evaluate
import dspy.evaluate.auto_evaluation
import dspy.evaluate.metrics

from dspex_protocol.errors import describe_value
from dspex_protocol.records import Doc, Length

from ..modules.running import run_module
from ..refusals import unknown_field
from .classes import Building, MetricClass
from .metric import Asking, Metric, Plain
from .rows import Row
from .scores import Score, no_score, score_of

_READS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "answer_exact_match": (("answer",), ("answer",)),
    "answer_passage_match": (("answer",), ("context",)),
    "SemanticF1": (("question", "response"), ("response",)),
    "CompleteAndGrounded": (("question", "response"), ("response", "context")),
}
"""Fields that they read, of the example and of the prediction."""

_DOCS: Final[Mapping[str, str]] = {
    "frac": "below 1 it is enough that so much of the words is the same, as F1",
    "threshold": "a score of this much will do where an optimizer chooses demos",
    "decompositional": "whether the model first lists the key ideas of both",
}

_FORMS: Final[Mapping[tuple[str, ...], str]] = {
    ("example", "pred", "trace"): "example",
    ("prediction", "answers_list"): "answers",
    ("prediction", "ground_truth"): "truth",
}
"""What a metric takes first; more arguments must have defaults of plain types."""

MAX_CHARACTERS: Final = 2_000_000
"""DSPy reads the prediction anew for each answer, at 1 to 6 s for a million characters."""

_PLAIN: Final = (bool, int, float, str)

Texts = Annotated[dict[str, Annotated[str, Length(1, 128)]], Length(0, 64)]


@functools.cache
def found_metrics() -> Mapping[str, MetricClass]:
    """Every metric of the installed DSPy, by name."""
    rows = {name: row for name, found in _public() if (row := _row(name, found)) is not None}
    return MappingProxyType(dict(sorted(rows.items(), key=lambda item: item[0].lower())))


def _public() -> Iterator[tuple[str, Any]]:
    """What DSPy's modules for evaluation define, without underscore."""
    for module in (dspy.evaluate.metrics, dspy.evaluate.auto_evaluation):
        for name, found in vars(module).items():
            if not name.startswith("_") and getattr(found, "__module__", "") == module.__name__:
                yield name, found


def _row(name: str, found: Any) -> MetricClass | None:
    """Its row; None for what is no metric, or has an argument without a form on the wire."""
    if inspect.isfunction(found):
        form = _form(found)
        if form is None:
            return None
        options = _options(name, form, list(_arguments(found).values())[_taken(form) :])
        return None if options is None else _function_row(name, found, form, options)
    if not inspect.isclass(found) or not issubclass(found, dspy.Module):
        return None
    class_: Any = found
    options = _options(name, "example", list(_arguments(class_.__init__).values()))
    if _form(class_.forward) != "example" or options is None:
        return None
    return _module_row(name, class_, options)


def _arguments(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {name: one for name, one in inspect.signature(function).parameters.items() if name != "self"}


def _form(function: Callable[..., Any]) -> str | None:
    names = tuple(_arguments(function))
    return next((form for first, form in _FORMS.items() if names[: len(first)] == first), None)


def _taken(form: str) -> int:
    return 3 if form == "example" else 2


def _options(name: str, form: str, more: list[inspect.Parameter]) -> type | None:
    """The record of its options; None where an argument has no form on the wire."""
    if any(type(one.default) not in _PLAIN for one in more):
        return None
    fields: list[Any] = [*_MAPS[form]]
    for one in more:
        doc = Doc(_DOCS.get(one.name, "as DSPy documents it"))
        fields.append((one.name, Annotated[type(one.default), doc], field(default=one.default)))
    return make_dataclass(name, fields, frozen=True, slots=True, kw_only=True)


_EXAMPLE: Final = "field of the example by the name that DSPy reads, where it has another"
_PREDICTION: Final = "field of the prediction by the name that DSPy reads, where it has another"
_FIELD: Final = ("field", Annotated[str, Length(1, 128), Doc("of the prediction, a text")])
_EXPECTED: Final = "field of the example that has what is expected; default: `field`"
_MAPS: Final[Mapping[str, tuple[Any, ...]]] = {
    "example": (
        ("example", Annotated[dict[str, str], Doc(_EXAMPLE)], field(default_factory=dict[str, str])),
        ("prediction", Annotated[dict[str, str], Doc(_PREDICTION)], field(default_factory=dict[str, str])),
    ),
    "answers": (
        _FIELD,
        (
            "expected",
            Annotated[str | None, Length(1, 128), Doc(_EXPECTED + "; a text, or an array of them")],
            None,
        ),
    ),
    "truth": (_FIELD, ("expected", Annotated[str | None, Length(1, 128), Doc(_EXPECTED + "; a text")], None)),
}


def _function_row(name: str, function: Callable[..., Any], form: str, options: type) -> MetricClass:
    def build(given: Any, path: str, building: Building) -> Metric:
        if form == "example":
            _check_maps(name, given, path)
            arguments = {key: getattr(given, key) for key in list(_arguments(function))[3:]}
            return Plain(
                name, lambda row: _of_example(name, functools.partial(function, **arguments), given, row)
            )
        return Plain(name, lambda row: _of_texts(function, form, given, row))

    return MetricClass(name=name, doc=_told(function), options=options, build=build, kind="dspy")


def _module_row(name: str, class_: Callable[..., Any], options: type) -> MetricClass:
    def build(given: Any, path: str, building: Building) -> Metric:
        _check_maps(name, given, path)
        module = class_(**{key: getattr(given, key) for key in _arguments(class_.__init__)})

        async def ask(row: Row) -> Score:
            example, prediction = _mapped(name, given, row)
            inputs = {"example": example, "pred": prediction, "trace": row.trace}
            return score_of(await run_module(module, inputs, is_async=False))

        return Asking(name, ask, asks_models=True)

    return MetricClass(name=name, doc=_told(class_), options=options, build=build, kind="dspy", asks="model")


def _told(found: Any) -> str:
    return inspect.cleandoc(found.__doc__ or "").partition("\n")[0]


def _check_maps(name: str, given: Any, path: str) -> None:
    for which, known in zip(("example", "prediction"), _READS.get(name, (None, None)), strict=True):
        for key in getattr(given, which):
            if known is not None and key not in known:
                raise unknown_field(f"{path}.{which}", key, known)


def _mapped(name: str, given: Any, row: Row) -> tuple[dspy.Example, dspy.Prediction]:
    """The row with the fields that DSPy reads under the names by which it does."""
    of_example, of_prediction = _READS.get(name, ((), ()))
    wanted = {**dict(zip(of_example, of_example, strict=True)), **given.example}
    came = {**dict(zip(of_prediction, of_prediction, strict=True)), **given.prediction}
    example = {**dict(row.example.items()), **{key: row.wanted(source) for key, source in wanted.items()}}
    prediction = {**dict(row.prediction.items()), **{key: row.given(source) for key, source in came.items()}}
    return dspy.Example(example), dspy.Prediction(prediction)


def _bound(wanted: Sequence[Any], came: Sequence[Any]) -> None:
    """Refuse texts that would hold a thread for long.

    Raises:
        DSPexError: `metric_failed`.
    """
    answers = max((len(one) for one in wanted if isinstance(one, list)), default=1)
    characters = _length(wanted) + max(answers, 1) * _length(came)
    if characters > MAX_CHARACTERS:
        raise no_score(
            "row",
            f"at most {MAX_CHARACTERS} characters, those of the prediction for each answer",
            f"{characters}",
        )


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    return sum(map(_length, value)) if isinstance(value, list | tuple) else 0


def _of_example(name: str, function: Callable[..., Any], given: Any, row: Row) -> Score:
    example, prediction = _mapped(name, given, row)
    wanted, came = _READS.get(name, ((), ()))
    _bound([example[key] for key in wanted], [prediction[key] for key in came])
    return score_of(function(example, prediction, row.trace))


def _of_texts(function: Callable[..., Any], form: str, given: Any, row: Row) -> Score:
    name = given.expected or given.field
    wanted, came = row.wanted(name), row.given(given.field)
    accepted = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(accepted, list) or not accepted or not all(isinstance(one, str) for one in accepted):
        raise no_score(f"example.{name}", "a string, or an array of strings", describe_value(wanted))
    if not isinstance(came, str):
        raise no_score(f"prediction.{given.field}", "a string", describe_value(came))
    _bound([accepted], [came])
    if form == "answers":
        return score_of(function(came, accepted))
    return max((score_of(function(came, one)) for one in accepted), key=lambda score: score.score)
