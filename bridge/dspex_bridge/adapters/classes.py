"""DSPy's adapters by name, with their options: found in the installed DSPy, read from its constructors.

An option of a plain type is read by that type; one that is something else has a rule here by its
name. An adapter of a newer DSPy needs no line here while what it requires is plain or has a rule.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import dspy
import dspy.adapters
from dspy.experimental import Citations

from dspex_protocol.errors import describe_value, invalid_argument

from ..modules.options import plain_argument
from ..refusals import missing, refusal, unknown_field
from ..streams.fieldtext import ChatReader, JSONReader, Reader, XMLReader
from .choices import AdapterChoice

STRUCTURED: Final = "structured_output"
"""An option of ours, of adapters that send a schema of the answer along with the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterOption:
    """An option of an adapter.

    Attributes:
        read: Checks what came at a path; gives it as it is stored.
        type: In words.
        doc: What it does, in a sentence.
        required: There is no default.
        names_lm: Its value is the name of a language model.
    """

    read: Callable[[object, str], object]
    type: str
    doc: str
    required: bool = False
    names_lm: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterClass:
    """A class of adapters.

    Attributes:
        name: On the wire.
        make: DSPy's class.
        options: By name.
        reader: What reads fields out of an answer that is still coming; None where none can.
    """

    name: str
    make: type[Any]
    options: Mapping[str, AdapterOption]
    reader: Callable[[list[str]], Reader] | None


NATIVE_TYPES: Final[Mapping[str, Any]] = {"citations": Citations, "reasoning": dspy.Reasoning}
"""Types of outputs that a provider may give beside the text, by their names in a signature."""


def _read_lm_name(value: object, path: str) -> object:
    if not isinstance(value, str) or not 1 <= len(value) <= 128:
        raise invalid_argument(path, "the name of a configured language model", value)
    return value


def _read_native_types(value: object, path: str) -> object:
    expected = f"an array of one or more of {', '.join(NATIVE_TYPES)}"
    names: list[object] = value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]
    if not names or not all(isinstance(name, str) and name in NATIVE_TYPES for name in names):
        raise invalid_argument(path, expected, value)
    return names


def _read_boolean(value: object, path: str) -> object:
    if type(value) is not bool:
        raise invalid_argument(path, "a boolean", value)
    return value


_RULES: Final[Mapping[str, AdapterOption]] = {
    "extraction_model": AdapterOption(
        read=_read_lm_name,
        type="the name of a configured language model",
        doc="the model that reads the fields out of what the other one wrote freely",
        names_lm=True,
    ),
    "native_response_types": AdapterOption(
        read=_read_native_types,
        type=f"an array of {' and '.join(NATIVE_TYPES)}",
        doc="types of outputs that are taken from the provider where it gives them beside the text",
    ),
}
_DOCS: Final[Mapping[str, str]] = {
    "use_native_function_calling": "tools go to the provider as functions, where the model can call them",
    "parallel_tool_calls": "whether the provider may answer with several tool calls at once",
    "use_json_adapter_fallback": "an answer that cannot be read is asked for once more, by the adapter json",
}
_STRUCTURED: Final = AdapterOption(
    read=_read_boolean,
    type="a boolean",
    doc="true, the default: the provider gets a schema of the answer, where the model takes one;"
    " false: the answer's form is told in words only",
)
_LEFT_OUT: Final = frozenset(("self", "callbacks"))


@functools.cache
def adapter_classes() -> Mapping[str, AdapterClass]:
    """Every adapter of the installed DSPy that can be made from plain values, by name."""
    rows = (_row(class_) for class_ in _found())
    return {row.name: row for row in sorted(filter(None, rows), key=lambda row: row.name)}


def read_adapter(choice: str | AdapterChoice | None, path: str) -> AdapterChoice | None:
    """An adapter as it was chosen, checked.

    Args:
        choice: A name, or a name with options.
        path: Where it stands in the call, for messages.

    Raises:
        CallerError: `invalid_argument` naming the part, and what there is.
    """
    if choice is None:
        return None
    name, options = (choice, {}) if isinstance(choice, str) else (choice.name, choice.options)
    row = adapter_classes().get(name)
    if row is None:
        where = path if isinstance(choice, str) else f"{path}.name"
        raise refusal(where, f"one of the adapters {', '.join(adapter_classes())}", describe_value(name))
    checked: dict[str, object] = {}
    for key, value in options.items():
        if key not in row.options:
            raise unknown_field(f"{path}.options", key, row.options)
        checked[key] = row.options[key].read(value, f"{path}.options.{key}")
    for key, option in row.options.items():
        if option.required and key not in checked:
            raise missing(f"{path}.options.{key}", option.type)
    return AdapterChoice(name=name, options=checked)


def reader_of(adapter: object, path: str = "adapter") -> Callable[[list[str]], Reader]:
    """What reads the fields out of an adapter's answers while they come.

    Raises:
        CallerError: `invalid_argument` for an adapter whose answers cannot be read so.
    """
    reader = _reader(dspy.ChatAdapter if adapter is None else type(adapter))
    if reader is None:
        names = ", ".join(name for name, row in adapter_classes().items() if row.reader is not None)
        raise refusal(
            path, f"one of {names}, which can be streamed", f"{type(adapter).__name__}, which can not"
        )
    return reader


def describe_adapters() -> list[dict[str, object]]:
    """Every adapter, for `system.describe`.

    Returns:
        Rows of `name`, `doc`, `class` (DSPy's name for it), `streams`, and `options`: name to
        `{type, doc, required}`.
    """
    return [
        {
            "name": row.name,
            "doc": _told(row.make),
            "class": row.make.__name__,
            "streams": row.reader is not None,
            "options": {
                key: {"type": option.type, "doc": option.doc, "required": option.required}
                for key, option in row.options.items()
            },
        }
        for row in adapter_classes().values()
    ]


def _found() -> Iterator[type[Any]]:
    """Adapter classes of DSPy's package for them; some are in no namespace of it."""
    for module in pkgutil.iter_modules(dspy.adapters.__path__):
        if not module.name.endswith("_adapter"):
            continue
        name = f"{dspy.adapters.__name__}.{module.name}"
        for class_ in vars(importlib.import_module(name)).values():
            if inspect.isclass(class_) and issubclass(class_, dspy.Adapter) and class_.__module__ == name:
                yield class_


def _row(class_: type[Any]) -> AdapterClass | None:
    options: dict[str, AdapterOption] = {}
    for name, parameter in _arguments(class_).items():
        option = _option(name, parameter)
        if option is not None:
            options[name] = option
        elif parameter.default is inspect.Parameter.empty:
            return None  # nobody could give it what it needs
    if issubclass(class_, dspy.JSONAdapter):
        options[STRUCTURED] = _STRUCTURED
    return AdapterClass(name=_name_of(class_), make=class_, options=options, reader=_reader(class_))


def _arguments(class_: type[Any]) -> dict[str, inspect.Parameter]:
    """Of its constructor, and of those further up that it hands other keywords on to."""
    found: dict[str, inspect.Parameter] = {}
    for base in class_.__mro__:
        own = vars(base).get("__init__")
        if own is None:
            continue
        parameters = inspect.signature(own).parameters.values()
        open_ended = [one for one in parameters if one.kind is inspect.Parameter.VAR_KEYWORD]
        for one in parameters:
            if one.kind is not inspect.Parameter.VAR_KEYWORD and one.name not in _LEFT_OUT:
                found.setdefault(one.name, one)
        if not open_ended:
            break
    return found


def _option(name: str, parameter: inspect.Parameter) -> AdapterOption | None:
    required = parameter.default is inspect.Parameter.empty
    rule = _RULES.get(name)
    if rule is not None:
        return AdapterOption(
            read=rule.read, type=rule.type, doc=rule.doc, required=required, names_lm=rule.names_lm
        )
    plain = plain_argument(parameter)
    if plain is None:
        return None
    words, read = plain
    return AdapterOption(
        read=read, type=words, doc=_DOCS.get(name, "as DSPy documents it"), required=required
    )


def _reader(class_: type[Any]) -> Callable[[list[str]], Reader] | None:
    # The narrow ones first: both are kinds of the chat adapter.
    if issubclass(class_, dspy.JSONAdapter):
        return JSONReader
    if issubclass(class_, dspy.XMLAdapter):
        return XMLReader
    return ChatReader if issubclass(class_, dspy.ChatAdapter) else None


def _name_of(class_: type[Any]) -> str:
    """As in `two_step` for `TwoStepAdapter`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", class_.__name__.removesuffix("Adapter")).lower()


def _told(class_: type[Any]) -> str:
    """The first line of a class's own docstring."""
    return inspect.cleandoc(vars(class_).get("__doc__") or "").partition("\n")[0].rstrip(":")
