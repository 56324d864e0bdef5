"""Pictures, sound and files given as bytes: what they are by their first bytes, and how large they may be.

Bytes come from a host, and go to a language model's provider under a media type. So the type is
read from the bytes, and one that was declared must agree with them, also where they come as
base64 or a data URI. Nothing here opens a file or
a connection: a path is read by the client that names it, and a URL is for the provider to fetch.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

from dspex_protocol.errors import invalid_argument
from dspex_protocol.limits import MEDIA_BYTES

from ..refusals import refusal

_IMAGES: Final = {
    "image/png": rb"\x89PNG\r\n\x1a\n",
    "image/jpeg": rb"\xff\xd8\xff",
    "image/gif": rb"GIF8[79]a",
    "image/webp": rb"RIFF....WEBP",
    "image/bmp": rb"BM....\x00\x00\x00\x00",
    "image/tiff": rb"II\*\x00|MM\x00\*",
}
_AUDIO: Final = {
    "audio/wav": rb"RIFF....WAVE",
    "audio/mpeg": rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]",
    "audio/aac": rb"\xff[\xf0\xf1\xf8\xf9]",
    "audio/flac": rb"fLaC",
    "audio/ogg": rb"OggS",
    "audio/mp4": rb"....ftyp",
    "audio/webm": rb"\x1aE\xdf\xa3",
}
_PDF: Final = {"application/pdf": rb"%PDF-"}
_OFFICE: Final = "application/vnd.openxmlformats-officedocument"
_ZIPPED: Final = {
    f"{_OFFICE}.{kind}": rb"PK\x03\x04"
    for kind in ("wordprocessingml.document", "spreadsheetml.sheet", "presentationml.presentation")
}
_TEXTS: Final = (
    *("text/plain", "text/csv", "text/markdown", "text/html", "text/xml"),
    *("application/json", "application/xml"),
)
_ANY: Final = "application/octet-stream"

MEDIA_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "image": tuple(_IMAGES),
    "audio": tuple(_AUDIO),
    "file": (*_PDF, *_TEXTS, *_ZIPPED, *_IMAGES, *_AUDIO, _ANY),
    "document": (*_PDF, "text/plain"),
}
"""The media types that each tag takes."""

_BEGINNINGS: Final[Mapping[str, re.Pattern[bytes]]] = {
    media_type: re.compile(pattern, re.DOTALL)
    for media_type, pattern in {**_IMAGES, **_AUDIO, **_PDF, **_ZIPPED}.items()
}
_OTHER_NAMES: Final = {
    "image/jpg": "image/jpeg",
    "audio/mp3": "audio/mpeg",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/m4a": "audio/mp4",
    "audio/x-m4a": "audio/mp4",
}
_BASE64: Final = ";base64"
_LONGEST_BEGINNING: Final = 12
"""Bytes; fewer of them, which records may hold from before text was looked into, tell nothing."""

_SCHEMES: Final = ("http://", "https://", "gs://", "data:")


def with_text(tag: str, fields: dict[str, Any], path: str) -> dict[str, Any]:
    """The fields of DSPy's type, with text in place of `bytes` and `media_type`.

    Args:
        tag: `image`, `audio`, `file` or `document`.
        fields: As they came: those of DSPy's type, or `bytes`, with or without `media_type`.
        path: Where they stand, for messages.

    Raises:
        CallerError: `invalid_argument` for bytes that are too many, of a kind that the type does
            not take, or not of the declared media type; for a URL of another scheme.
    """
    if "bytes" not in fields:
        return _given_as_text(tag, fields, path)
    for name in ("url", "data", "audio_format", "file_data", "file_id"):
        if name in fields:
            raise refusal(path, f"bytes or {name}", "both")
    fields = dict(fields)
    data, declared = fields.pop("bytes"), fields.pop("media_type", None)
    _check_size(tag, data, f"{path}.bytes")
    return {**fields, **_as_dspy_has_it(tag, data, media_type_of(tag, data, declared, path))}


def media_type_of(tag: str, data: bytes, declared: object, path: str) -> str:
    """The media type of bytes, by what they begin with; what was declared must agree.

    Raises:
        CallerError: `invalid_argument` naming `bytes` or `media_type`.
    """
    allowed = MEDIA_TYPES[tag]
    found = next((name for name in allowed if name not in _ZIPPED and _begins_as(name, data)), None)
    if declared is None:
        if found is None and tag in ("image", "audio"):
            raise refusal(f"{path}.bytes", f"one of {', '.join(allowed)}", "bytes that begin like none")
        return found or _unmarked(tag, data, path)
    named = _plain_name(declared)
    if named not in allowed:
        raise invalid_argument(f"{path}.media_type", f"one of {', '.join(allowed)}", declared)
    if not _may_be(named, data):
        raise invalid_argument(
            f"{path}.media_type", found or "what the bytes are: they do not begin or read like that", declared
        )
    return named


def _begins_as(media_type: str, data: bytes) -> bool:
    pattern = _BEGINNINGS.get(media_type)
    return pattern is not None and pattern.match(data) is not None


def _plain_name(declared: object) -> str:
    """Without parameters such as a charset, and by one name where there are several."""
    name = declared.partition(";")[0].strip().lower() if isinstance(declared, str) else ""
    return _OTHER_NAMES.get(name, name)


def _may_be(media_type: str, data: bytes) -> bool:
    if media_type in _BEGINNINGS:
        return _begins_as(media_type, data)
    return media_type not in _TEXTS or _is_text(data)


def _unmarked(tag: str, data: bytes, path: str) -> str:
    """Of bytes that begin like nothing known."""
    if _is_text(data):
        return "text/plain"
    if tag == "document":
        raise refusal(f"{path}.bytes", "a PDF or UTF-8 text", "bytes that are neither")
    return _ANY


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _as_dspy_has_it(tag: str, data: bytes, media_type: str) -> dict[str, Any]:
    match tag:
        case "image":
            return {"url": _data_uri(data, media_type)}
        case "audio":
            # By the name that providers take: DSPy's own from_path would say mpeg of an MP3.
            audio_format = "mp3" if media_type == "audio/mpeg" else media_type.partition("/")[2]
            return {"data": base64.b64encode(data).decode(), "audio_format": audio_format}
        case "file":
            return {"file_data": _data_uri(data, media_type)}
        case _:
            is_text = media_type == "text/plain"
            return {
                "data": data.decode() if is_text else base64.b64encode(data).decode(),
                "media_type": media_type,
            }


def _data_uri(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _check_size(tag: str, data: object, path: str) -> None:
    if not isinstance(data, bytes) or not data:
        raise invalid_argument(path, f"the bytes of a {tag}", data)
    if len(data) > MEDIA_BYTES[tag]:
        raise _too_large(tag, path, len(data))


def _too_large(tag: str, path: str, size: int) -> Exception:
    return refusal(path, f"at most {MEDIA_BYTES[tag] // 2**20} MiB of {tag}", f"{size} bytes")


def _given_as_text(tag: str, fields: dict[str, Any], path: str) -> dict[str, Any]:
    if tag != "document" and "media_type" in fields:
        raise refusal(f"{path}.media_type", "nothing where there are no bytes", "a media type")
    if tag == "image":
        _check_url(fields.get("url"), f"{path}.url")
    for name in ("url", "data", "file_data"):
        text = fields.get(name)
        if isinstance(text, str) and _size_in(text) > MEDIA_BYTES[tag]:
            raise _too_large(tag, f"{path}.{name}", _size_in(text))
        if isinstance(text, str):
            _check_text(tag, name, text, fields, f"{path}.{name}")
    return fields


def _check_text(tag: str, name: str, text: str, fields: Mapping[str, Any], path: str) -> None:
    """Whether text that stands for bytes can be read, and is what it says that it is."""
    if name != "data":
        if text[:5].lower() == "data:":
            _check_data_uri(tag, text, path)
    elif tag == "audio":
        _check_encoded(tag, text, _type_of_format(fields.get("audio_format")), path)
    elif _plain_name(fields.get("media_type")) in _PDF:
        _check_encoded(tag, text, fields["media_type"], path)


def _check_data_uri(tag: str, text: str, path: str) -> None:
    head, comma, body = text.partition(",")
    if not comma or not head.lower().endswith(_BASE64):
        raise refusal(path, "a data URI in base64: data:TYPE;base64,…", "one of another form")
    declared = head[len("data:") : -len(_BASE64)]
    if _plain_name(declared) not in MEDIA_TYPES[tag]:
        raise invalid_argument(path, f"a data URI of one of {', '.join(MEDIA_TYPES[tag])}", declared)
    _check_encoded(tag, body, declared, path)


def _check_encoded(tag: str, text: str, declared: object, path: str) -> None:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise refusal(path, "base64, without anything else in it", "text that is none") from None
    if not data:
        raise refusal(path, f"the bytes of a {tag}", "none")
    named = _plain_name(declared)
    if (len(data) >= _LONGEST_BEGINNING or named in _TEXTS) and not _may_be(named, data):
        found = next((name for name in MEDIA_TYPES[tag] if _begins_as(name, data)), "others")
        raise refusal(path, f"bytes that begin or read like {named}", found)


def _type_of_format(audio_format: object) -> str:
    """The media type of a format such as `wav`; providers have formats that no type stands for."""
    return _plain_name(f"audio/{audio_format}")


def _size_in(text: str) -> int:
    """The bytes of a data URI or of base64; of other text about three quarters of its length."""
    start = text.find(",", 0, 256) + 1 if text.startswith("data:") else 0
    return (len(text) - start) // 4 * 3 - text.count("=", max(len(text) - 2, 0))


def _check_url(url: object, path: str) -> None:
    if not isinstance(url, str) or not url.strip().lower().startswith(_SCHEMES):
        raise invalid_argument(path, "a URL of http, https, gs or data (a file is sent as its bytes)", url)
