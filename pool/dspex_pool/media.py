"""Values that a Python program gives to predictions: pictures, sound, files, documents, examples.

Each is a tagged value of docs/protocol.md section 3.1, to be put into `inputs` as it is. A path is
read here, with the rights of the program that names it: no path goes over the wire.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from dspex_protocol import Tagged
from dspex_protocol.errors import error
from dspex_protocol.limits import MEDIA_BYTES


def image(source: bytes | Path | str, media_type: str | None = None) -> Tagged:
    """A picture: its bytes, the path of a file, or a URL, which only the provider fetches.

    Args:
        source: A `str` is a URL of `http`, `https`, `gs` or `data`; a file is named by a `Path`.
        media_type: Where you know it; the server tells it from the bytes, and the two must agree.

    Raises:
        DSPexError: `invalid_argument` for a file that is too large.
        OSError: The file cannot be read.
    """
    if isinstance(source, str):
        return Tagged("image", {"url": source})
    return _tagged("image", source, media_type)


def audio(source: bytes | Path, media_type: str | None = None) -> Tagged:
    """Sound: its bytes or the path of a file; else as `image`."""
    return _tagged("audio", source, media_type)


def file(source: bytes | Path, media_type: str | None = None, *, filename: str | None = None) -> Tagged:
    """A file of any kind, such as a PDF: its bytes or its path; else as `image`.

    Args:
        source: Bytes, or a path, of which no name is sent.
        media_type: By default that of the path's ending, where the server takes it, or what the
            bytes tell.
        filename: What the model is told that it is called, by the providers that take one;
            through DSPy's own clients most do not, and fail with `lm_invalid_request`.
    """
    if isinstance(source, Path):
        media_type = media_type or _TEXTS.get(source.suffix.lower()) or _office(source)
    return _tagged("file", source, media_type, filename=filename)


def document(
    source: str | bytes | Path,
    *,
    title: str | None = None,
    context: str | None = None,
    media_type: str | None = None,
) -> Tagged:
    """A text that may be cited: the text itself, or the bytes or path of a text or PDF."""
    told = {"title": title, "context": context}
    if isinstance(source, str):
        return Tagged("document", {"data": source, **_known(told)})
    return _tagged("document", source, media_type, **told)


def history(messages: Iterable[Mapping[str, object]]) -> Tagged:
    """A conversation: of each turn the fields of the signature."""
    return Tagged("history", {"messages": [dict(message) for message in messages]})


def example(fields: Mapping[str, object], inputs: Sequence[str] | None = None) -> Tagged:
    """An example: fields and, where they are told, which of them are inputs."""
    return Tagged("example", {"fields": dict(fields), **_known({"inputs": inputs and list(inputs)})})


_TEXTS: Final = {
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".html": "text/html",
    ".json": "application/json",
}


def _office(path: Path) -> str | None:
    guessed, _ = mimetypes.guess_type(path.name)
    return guessed if guessed is not None and "openxmlformats" in guessed else None


def _tagged(tag: str, source: bytes | Path, media_type: str | None, **told: str | None) -> Tagged:
    data = _read(tag, source) if isinstance(source, Path) else source
    _check_size(tag, len(data))
    return Tagged(tag, {"bytes": data, **_known({"media_type": media_type, **told})})


def _read(tag: str, path: Path) -> bytes:
    with path.open("rb") as opened:
        # One more than may be, so that a file that grows, or never ends, is told too.
        return opened.read(MEDIA_BYTES[tag] + 1)


def _check_size(tag: str, size: int) -> None:
    if not 0 < size <= MEDIA_BYTES[tag]:
        expected = f"1 byte to {MEDIA_BYTES[tag] // 2**20} MiB of {tag}"
        got = "nothing" if size == 0 else "more"
        raise error(
            "invalid_argument",
            f"{tag}: expected {expected}, got {got}",
            details={"field": tag, "expected": expected, "got": got},
        )


def _known(parts: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in parts.items() if value is not None}
