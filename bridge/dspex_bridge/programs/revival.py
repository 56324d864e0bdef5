"""Values of DSPy's JSON back to what they were, as far as text and the field's type tell.

DSPy writes its types into JSON as the text that stands for them in a prompt, between two marks.
A marked text says by itself what it was; text of a date or of code only says so together with
the type of its field. What does not fit stays as it came, as DSPy would leave it.
"""

from __future__ import annotations

import datetime as dt
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Union, get_args, get_origin

import dspy
import orjson
import pydantic
from dspy.adapters.types.base_type import CUSTOM_TYPE_END_IDENTIFIER, CUSTOM_TYPE_START_IDENTIFIER

from dspex_protocol import DSPexError

from ..values.incoming import read_dspy_type


def revived(value: Any, annotation: Any) -> Any:
    """What a value of JSON was before it was written.

    Args:
        value: Of JSON.
        annotation: Of its field; `Any` where that is not known.
    """
    origin = get_origin(annotation)
    if origin is Annotated:
        return revived(value, get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return _of_union(value, get_args(annotation))
    if isinstance(value, str):
        return _of_text(value, annotation)
    if isinstance(value, list):
        member = (get_args(annotation) or (Any,))[0] if origin is list else Any
        return [revived(one, member) for one in value]
    if isinstance(value, dict):
        structured = _structured(value, annotation)
        return _of_map(value, annotation, origin) if structured is None else structured
    return value


def _of_union(value: Any, members: tuple[Any, ...]) -> Any:
    if isinstance(value, str) and str in members:
        return _of_text(value, Any)  # a date may have been meant as text
    for member in members:
        found = revived(value, member)
        if type(found) is not type(value) or found != value:
            return found
    return value


def _of_map(value: dict[str, Any], annotation: Any, origin: Any) -> dict[str, Any]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        known = annotation.model_fields
        return {
            name: revived(one, known[name].annotation if name in known else Any)
            for name, one in value.items()
        }
    member = get_args(annotation)[1] if origin is dict and get_args(annotation) else Any
    return {name: revived(one, member) for name, one in value.items()}


def _structured(value: dict[str, Any], annotation: Any) -> Any:
    """DSPy's types that are maps in JSON: conversations and tool calls."""
    if annotation is dspy.ToolCalls:
        return _built("tool_calls", value)
    if annotation is dspy.History:
        return _built("history", revived(value, Any))
    return None


def _of_text(value: str, annotation: Any) -> Any:
    if annotation is str:
        return value
    if value.startswith(CUSTOM_TYPE_START_IDENTIFIER) and value.endswith(CUSTOM_TYPE_END_IDENTIFIER):
        return _of_marked(value)
    if isinstance(annotation, type) and issubclass(annotation, dspy.Code):
        made: Any = annotation
        return made.model_construct(code=value)  # its validator would look for code fences inside
    reader = _TEXTS.get(annotation)
    if reader is None:
        return value
    try:
        return reader(value)
    except ValueError:
        return value


_TEXTS: Final[Mapping[Any, Callable[[str], object]]] = {
    dt.date: dt.date.fromisoformat,
    dt.datetime: lambda text: _in_utc(dt.datetime.fromisoformat(text)),
    dt.time: dt.time.fromisoformat,
    dspy.Reasoning: lambda text: dspy.Reasoning(content=text),
}


def _in_utc(moment: dt.datetime) -> dt.datetime:
    # The wire has instants and times without offset; the offset alone is lost.
    return moment if moment.tzinfo is None else moment.astimezone(dt.UTC)


# Marked text -----------------------------------------------------------------------------


def _of_marked(value: str) -> Any:
    inner = value.removeprefix(CUSTOM_TYPE_START_IDENTIFIER).removesuffix(CUSTOM_TYPE_END_IDENTIFIER)
    try:
        parts: object = orjson.loads(inner)
    except ValueError:
        return value
    found = _of_parts(parts) if isinstance(parts, list) else None
    # Only what says the same again: the text may have come from elsewhere, or say more.
    return found if found is not None and _marked(found) == value else value


def _marked(found: Any) -> object:
    return found.serialize_model()


def _of_parts(parts: list[Any]) -> Any:
    match parts:
        case [{"type": "image_url", "image_url": {"url": str(url)}}]:
            return _built("image", {"url": url})
        case [{"type": "input_audio", "input_audio": {"data": str(data), "format": str(form)}}]:
            return _built("audio", {"data": data, "audio_format": form})
        case [{"type": "file", "file": dict(content)}]:
            return _built("file", content)
        case [{"type": "document", "source": {"media_type": kind, "data": data}} as part]:
            named = {key: part[key] for key in ("title", "context") if key in part}
            return _built("document", {"data": data, "media_type": kind, **named})
        case [{"cited_text": _}, *_]:
            return _built("citations", {"citations": parts})
        case _:
            return None


def _built(tag: str, content: object) -> Any:
    try:
        return read_dspy_type(tag, content, tag)
    except DSPexError:
        return None
