"""What came over the wire, with DSPy's objects made of the tagged maps in it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import dspy

from dspex_protocol import Tagged
from dspex_protocol.errors import invalid_argument
from dspex_protocol.limits import MEDIA_BYTES

from ..refusals import unknown_field
from .dspy_types import ATOMS, DSPY_TYPES, code_class
from .media import with_text

T = TypeVar("T")

_WITH_BYTES: Final = {
    tag: tuple(dict.fromkeys((*DSPY_TYPES[tag][1], "bytes", "media_type"))) for tag in MEDIA_BYTES
}
"""Fields of what may be given as bytes too."""


def from_wire(value: object, path: str = "value") -> object:
    """Make DSPy's objects of the tagged values in what came.

    Tags without a class of DSPy's, `tool` (its function lives in the host) and tensors
    stay what the codec made of them.

    Raises:
        CallerError: `invalid_argument` when the content of a tag is not what its class wants.
    """
    kind = type(value)
    if kind in ATOMS:
        return value
    if isinstance(value, Tagged):
        reader = _READERS.get(value.tag)
        return value if reader is None else reader(value.value, path)
    if isinstance(value, dict):
        return {key: from_wire(member, f"{path}.{key}") for key, member in value.items()}
    if isinstance(value, list | tuple):
        members = [from_wire(member, f"{path}[{n}]") for n, member in enumerate(value)]
        return members if kind is list else tuple(members)
    return value


def read_dspy_type(tag: str, content: object, path: str) -> object:
    """Build one of DSPy's types from a map of its fields.

    Args:
        tag: Such as `image`; one of the tags of docs/protocol.md section 3.1.
        content: A map; for a type that is one text (`image`, `code`, `reasoning`), also a string;
            for one of media, also its bytes.
        path: Where it stands, for messages.

    Raises:
        CallerError: `invalid_argument`.
    """
    class_, names = DSPY_TYPES[tag]
    is_media = tag in MEDIA_BYTES
    if isinstance(content, str):
        content = {names[0]: content}
    elif isinstance(content, bytes) and is_media:
        content = {"bytes": content}
    fields = _fields_of(content, _WITH_BYTES[tag] if is_media else names, path)
    if is_media:
        fields = with_text(tag, fields, path)
    try:
        return _BUILDERS[tag](class_, fields)
    except (ValueError, TypeError, KeyError, AttributeError):  # pydantic's ValidationError is a ValueError
        raise invalid_argument(
            path, f"the fields of DSPy's {class_.__name__}: {', '.join(names)}", content
        ) from None


def _fields_of(content: object, names: tuple[str, ...], path: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise invalid_argument(path, f"a map with {', '.join(names)}", content)
    for name in content:
        if name not in names:
            raise unknown_field(path, name, names)
    return {name: from_wire(value, f"{path}.{name}") for name, value in content.items()}


def _build(class_: Any, fields: dict[str, Any]) -> object:
    return class_(**fields)


def _build_history(class_: Any, fields: dict[str, Any]) -> object:
    # The validator looks, but what came is kept: it would take blanks off the ends of names.
    class_(**fields)
    return class_.model_construct(**fields)


def _build_code(class_: Any, fields: dict[str, Any]) -> object:
    # Not through the validator: it looks for code fences inside, so code about Markdown
    # would lose its surroundings each time it passes.
    code, language = fields["code"], fields.get("language", dspy.Code.language)
    if not isinstance(code, str):
        raise TypeError
    return code_class(language).model_construct(code=code)


def _build_tool_calls(class_: Any, fields: dict[str, Any]) -> object:
    calls = [class_.ToolCall(**call) for call in fields["tool_calls"]]
    results = fields.get("tool_call_results")
    if isinstance(results, dict) and "tool_call_results" in results:
        results = dspy.ToolCallResults(**results)
    return class_(tool_calls=calls, tool_call_results=results)


def _build_citations(class_: Any, fields: dict[str, Any]) -> object:
    return class_(citations=[class_.Citation(**citation) for citation in fields["citations"]])


_BUILDERS: Final[Mapping[str, Callable[[Any, dict[str, Any]], object]]] = {
    **dict.fromkeys(("image", "audio", "file", "reasoning", "document", "tool_call_results"), _build),
    "history": _build_history,
    "code": _build_code,
    "tool_calls": _build_tool_calls,
    "citations": _build_citations,
}


def _read_example(content: object, path: str) -> object:
    parts = _fields_of(content, ("fields", "inputs"), path)
    example = dspy.Example(_part(parts, "fields", dict, path))
    if "inputs" not in parts:
        return example
    names = _part(parts, "inputs", list, path)
    if not all(isinstance(name, str) for name in names):
        raise invalid_argument(f"{path}.inputs", "an array of names of fields", names)
    return example.with_inputs(*names)


def _read_prediction(content: object, path: str) -> object:
    parts = _fields_of(content, ("fields", "completions", "usage", "reasoning", "trace", "requests"), path)
    fields = _part(parts, "fields", dict, path)
    if parts.get("reasoning") is not None:
        fields.setdefault("reasoning", parts["reasoning"])
    prediction = dspy.Prediction(fields)
    if "completions" in parts:
        rows = _part(parts, "completions", list, path)
        if not rows or any(not isinstance(row, dict) or row.keys() != rows[0].keys() for row in rows):
            raise invalid_argument(f"{path}.completions", "an array of maps with the same keys", rows)
        prediction = dspy.Prediction.from_completions(rows)
        for name, value in fields.items():
            prediction[name] = value
    if "usage" in parts:
        prediction.set_lm_usage(_part(parts, "usage", dict, path))
    return prediction


def _part(parts: dict[str, Any], name: str, kind: type[T], path: str) -> T:
    value = parts.get(name)
    if not isinstance(value, kind):
        raise invalid_argument(f"{path}.{name}", "a map" if kind is dict else "an array", value)
    return value


_READERS: Final[Mapping[str, Callable[[object, str], object]]] = {
    **{tag: functools.partial(read_dspy_type, tag) for tag in _BUILDERS},
    "example": _read_example,
    "prediction": _read_prediction,
}
