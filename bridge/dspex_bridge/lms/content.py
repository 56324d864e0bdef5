"""What a message to a host function or an offline model says: text, with media and tool calls between."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from dspex_protocol import Tagged, encode_value
from dspex_protocol.errors import error

Content: TypeAlias = str | list[str | Tagged]
"""A string where there is only text, else the parts in order: strings and tagged values."""

_TAGS: Final = {"image": "image", "audio": "audio", "document": "file", "binary": "file"}
"""Of DSPy's kinds of parts."""


def content_of(parts: Sequence[Any]) -> Content:
    """The content of a message of DSPy's.

    Raises:
        ProgramError: `lm_invalid_request` for a part that is neither text nor media, nor of tools.
    """
    read = [_read(part) for part in parts if part.type != "thinking"]
    texts = [part for part in read if isinstance(part, str)]
    return "".join(texts) if len(texts) == len(read) else read


def text_of(content: Content) -> str:
    """The text, with a short word for each picture or other medium, which says apart from each other."""
    if isinstance(content, str):
        return content
    return "".join(part if isinstance(part, str) else _told(part) for part in content)


def _read(part: Any) -> str | Tagged:
    if part.type == "text":
        text: str = part.text
        return text
    if part.type == "tool_call":
        call = {"id": part.id, "name": part.name, "args": dict(part.input)}
        return Tagged("tool_calls", {"tool_calls": [call]})
    if part.type == "tool_result":
        return Tagged("tool_call_results", {"tool_call_results": [_result(part)]})
    tag = _TAGS.get(part.type)
    if tag is None:
        raise error(
            "lm_invalid_request",
            f"this language model takes text, media and tool calls, and the prompt has a {part.type}",
        )
    if part.data is not None:
        return Tagged(tag, {"bytes": part.bytes, "media_type": part.media_type})
    named = {"url": part.url, "file_id": part.file_id}
    return Tagged(tag, {name: value for name, value in named.items() if value is not None})


def _result(part: Any) -> dict[str, object]:
    said = content_of(part.content)
    result = {"call_id": part.id, "name": part.name, "value": said, "is_error": part.is_error}
    return {name: value for name, value in result.items() if value is not None}


def _told(medium: Tagged) -> str:
    digest = hashlib.blake2b(encode_value(medium), digest_size=4).hexdigest()
    return f"<{medium.tag} {digest}>"
