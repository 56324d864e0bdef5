"""NAMES in MLflow: what it permits, and how ours are written there. Pure.

MLflow takes letters, digits and `_ - . : /` and spaces, in names that could be paths. Any other
character is written as `_x` and its code point in hexadecimal and `_`, as in Office Open XML:
`f1 %` is `f1 _x0025_`. What looks like that already has its own `_` written so, so each name comes back.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from typing import Final

MAX_CHARACTERS: Final = 250
"""Of a name in MLflow."""
MAX_STEP: Final = 2**63 - 1
_DIGEST_CHARACTERS: Final = 12

_NOT_PERMITTED: Final = re.compile(r"[^A-Za-z0-9_\-.: /]")
_NO_FILE_NAME: Final = re.compile(r"[^A-Za-z0-9_\-.]")
"""Artifacts are files of one folder: with a `/` one could be the folder of another."""
_LOOKS_WRITTEN: Final = re.compile(r"_(?=x[0-9a-fA-F]{4,6}_)")


def name_in_mlflow(name: str) -> str:
    """A parameter's, metric's or tag's name; the same for equal names only."""
    written = _NOT_PERMITTED.sub(_written, _LOOKS_WRITTEN.sub("_x005F_", name))
    if posixpath.normpath(written) != written or written.startswith(("/", "..")) or written == ".":
        written = re.sub(r"[/.]", _written, written)  # as a path it would be another name
    return _within(written, name)


def file_in_mlflow(name: str) -> str:
    """An artifact's name, likewise."""
    written = _NO_FILE_NAME.sub(_written, _LOOKS_WRITTEN.sub("_x005F_", name))
    return _within(_written_dots(written) if written.startswith(".") else written, name)


def text_in_mlflow(value: object) -> str:
    """The text of a parameter or tag: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _written(found: re.Match[str]) -> str:
    return f"_x{ord(found.group()):04X}_"


def _written_dots(name: str) -> str:
    return re.sub(r"\.", _written, name)


def _within(written: str, name: str) -> str:
    """Of one that is too long the beginning, and a digest that tells it from others."""
    if len(written) <= MAX_CHARACTERS:
        return written
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{written[: MAX_CHARACTERS - _DIGEST_CHARACTERS - 1]}_{digest}"
