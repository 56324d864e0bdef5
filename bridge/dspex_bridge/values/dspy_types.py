"""Which types travel how: plain ones as they are, DSPy's as tagged maps of some of their fields.

Never as `model_dump()`, which turns most of DSPy's types into a marker string inside a prompt.
"""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Mapping
from decimal import Decimal
from types import NoneType
from typing import Any, Final

import dspy
from dspy.experimental import Citations, Document

from dspex_protocol import FunctionReference, Tensor

ATOMS: Final = frozenset(
    (
        NoneType,
        bool,
        int,
        float,
        str,
        bytes,
        Decimal,
        Tensor,
        FunctionReference,
        dt.date,
        dt.datetime,
        dt.time,
        dt.timedelta,
        uuid.UUID,
    )
)
"""Exact types that are values of the protocol and hold no others."""

DSPY_TYPES: Final[Mapping[str, tuple[Any, tuple[str, ...]]]] = {
    "image": (dspy.Image, ("url",)),
    "audio": (dspy.Audio, ("data", "audio_format")),
    "file": (dspy.File, ("file_data", "file_id", "filename")),
    "history": (dspy.History, ("messages",)),
    "reasoning": (dspy.Reasoning, ("content",)),
    "document": (Document, ("data", "title", "media_type", "context")),
    "citations": (Citations, ("citations",)),
    "tool_calls": (dspy.ToolCalls, ("tool_calls", "tool_call_results")),
    "tool_call_results": (dspy.ToolCallResults, ("tool_call_results",)),
    "tool": (dspy.Tool, ("name", "desc", "args", "arg_desc")),
    "code": (dspy.Code, ("code", "language")),
}
"""Tag to class and to the fields that are sent."""

_TAGGED_CLASSES: Final = frozenset(class_ for class_, _ in DSPY_TYPES.values())


def has_tag(value: object) -> bool:
    """Whether a value is of one of DSPy's types that travel under a tag."""
    return type(value) in _TAGGED_CLASSES


def code_class(language: object) -> type[dspy.Code]:
    """`dspy.Code` of a language; the same class each time."""
    if language == dspy.Code.language:
        plain: type[dspy.Code] = dspy.Code
        return plain
    if not isinstance(language, str) or not 1 <= len(language) <= 32:
        raise ValueError
    return _code_class(language)


@functools.lru_cache(maxsize=64)
def _code_class(language: str) -> type[dspy.Code]:
    made: type[dspy.Code] = dspy.Code[language]  # pyright: ignore[reportInvalidTypeArguments, reportUnknownVariableType]
    return made
