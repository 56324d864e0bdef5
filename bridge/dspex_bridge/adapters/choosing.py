"""The adapter of a call: the one that it names, else its program's, else DSPy's default."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

import dspy

from dspex_protocol import decode_value, encode_value

from ..lms.lms import LanguageModels
from .adapters import ADAPTERS, DEFAULT, REMEMBERING
from .choices import AdapterChoice
from .classes import NATIVE_TYPES, STRUCTURED, adapter_classes
from .correcting import Correcting

_MAX_KEPT: Final = 64
"""Adapters with options, or that ask again: a class each, of some kilobytes."""


def adapter_of(
    choice: AdapterChoice | None, retries: int, lms: LanguageModels, path: str = "adapter"
) -> dspy.Adapter:
    """The adapter that was chosen; the same object for the same choice, while it is remembered.

    Args:
        choice: Checked; None for DSPy's default.
        retries: How often an answer that does not fit its signature is asked for again.
        lms: Where those are that its options name.
        path: Where it stands in the call, for messages.

    Raises:
        DSPexError: as `LanguageModels.get`, for a model that an option names.
    """
    if choice is None:
        if not retries:
            return ADAPTERS[DEFAULT]
        choice = AdapterChoice(name=DEFAULT)
    row = adapter_classes()[choice.name]
    models = tuple(
        (key, lms.get(str(value), f"{path}.options.{key}"))
        for key, value in choice.options.items()
        if row.options[key].names_lm
    )
    return _made(choice.name, encode_value(choice.options), models, retries)


@functools.lru_cache(maxsize=_MAX_KEPT)
def _made(name: str, encoded: bytes, models: tuple[tuple[str, dspy.LM], ...], retries: int) -> dspy.Adapter:
    make = adapter_classes()[name].make
    options: Any = decode_value(encoded)
    if not options and not retries and name in ADAPTERS:
        return ADAPTERS[name]
    parts: list[type[Any]] = [REMEMBERING.get(make, make)]
    if not options.pop(STRUCTURED, True):
        parts.insert(0, _Unstructured)
    if retries:
        parts.insert(0, Correcting)
    return _class_of(make.__name__, tuple(parts), {**options, **dict(models)}, retries)()


def _class_of(name: str, parts: tuple[type[Any], ...], options: Mapping[str, Any], retries: int) -> type[Any]:
    """A class whose constructor takes no arguments: DSPy derives from an adapter's, and makes one so.

    Its name is that of DSPy's, which errors tell.
    """
    arguments = {key: _argument(key, value) for key, value in options.items()}

    def init(self: Any) -> None:
        parts[-1].__init__(self, **arguments)

    return type(name, parts, {"__init__": init, "retries": retries})


def _argument(key: str, value: Any) -> Any:
    return [NATIVE_TYPES[name] for name in value] if key == "native_response_types" else value


_CHAT: Final[Any] = dspy.ChatAdapter


class _Unstructured:
    """Stands before an adapter's class that is a `dspy.JSONAdapter`, and sends no schema."""

    def __call__(self, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Any) -> Any:
        """As the chat adapter, from which it has all but the schema."""
        return _CHAT.__call__(self, lm, lm_kwargs, signature, demos, inputs)

    async def acall(self, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Any) -> Any:
        """As `__call__`."""
        return await _CHAT.acall(self, lm, lm_kwargs, signature, demos, inputs)
