"""DSPy's own datasets by name: found in the installed DSPy, with the options of their constructors.

Most of them fetch what they have from elsewhere when they are loaded, with packages of their own.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import dspy.datasets

from dspex_protocol.errors import invalid_argument
from dspex_protocol.records import Doc, read

from ..failures import redact
from ..refusals import missing, refusal, unknown_field
from .files import Row

SIDES: Final = ("train", "dev", "test")
OF_DSPY: Final = frozenset(("dspy_uuid", "dspy_split"))
"""What DSPy's loaders put into each example; the first is another one at each load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """Which dataset of DSPy's."""

    name: str
    side: Annotated[str, Doc("train, dev or test")] = "train"
    options: Annotated[dict[str, object], Doc("of its constructor")] = field(
        default_factory=dict[str, object]
    )


def load_rows(given: dict[str, object]) -> tuple[list[Row], list[str]]:
    """The rows of one, and the input keys that it names.

    Raises:
        CallerError: `invalid_argument` naming what there is no such thing of, or why it cannot be
            loaded here, such as for want of a package.
    """
    wanted = read(Loader, given, "loader")
    class_ = _class_of(wanted.name)
    if wanted.side not in SIDES:
        raise invalid_argument("loader.side", f"one of {', '.join(SIDES)}", wanted.side)
    options = _options_of(class_, wanted.options)
    try:
        examples: list[Any] = list(getattr(class_(**options), wanted.side))
    except Exception as reason:
        raise refusal(
            "loader.name", "a dataset that can be loaded here", _why_not(wanted.name, reason)
        ) from None
    rows = [{name: value for name, value in one.toDict().items() if name not in OF_DSPY} for one in examples]
    return rows, _input_keys(examples[0]) if examples else []


def _why_not(name: str, reason: Exception) -> str:
    if isinstance(reason, ImportError) and reason.name:
        return f"{name}, which needs the package {reason.name!r}"
    return f"{name}: {type(reason).__name__}: {redact(str(reason))[:200]}"


def _input_keys(example: Any) -> list[str]:
    try:
        return list(example.inputs().keys())
    except ValueError:  # its loader declares none
        return []


def _class_of(name: str) -> Any:
    found = _classes()
    if name not in found:
        raise refusal("loader.name", f"one of {', '.join(sorted(found))}", repr(name[:64]))
    return found[name]


def _classes() -> dict[str, Any]:
    """Classes of `dspy.datasets` that have sides."""
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(dspy.datasets.__path__, "dspy.datasets."):
        loaded = importlib.import_module(module.name)
        found |= {
            name: class_
            for name, class_ in vars(loaded).items()
            if inspect.isclass(class_) and class_.__module__ == loaded.__name__ and _has_rows(class_)
        }
    return found


def _has_rows(class_: type) -> bool:
    """A subclass of DSPy's base, or one whose constructor makes the sides itself."""
    base = dspy.datasets.Dataset
    if issubclass(class_, base):
        return class_ is not base
    return "self.train" in inspect.getsource(class_) and "self.dev" in inspect.getsource(class_)


def _options_of(class_: Any, given: dict[str, object]) -> dict[str, object]:
    parameters = list(inspect.signature(class_).parameters.values())
    known = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    if issubclass(class_, dspy.datasets.Dataset):
        known += [name for name in inspect.signature(dspy.datasets.Dataset).parameters if name not in known]
    for name, value in given.items():
        if name not in known:
            raise unknown_field("loader.options", name, known)
        if not isinstance(value, bool | int | str | None):
            raise invalid_argument(f"loader.options.{name}", "a number, a string, true or false", value)
    for one in parameters:
        if one.default is one.empty and one.name in known and one.name not in given:
            raise missing(f"loader.options.{one.name}", "a value, since there is no default")
    return given
