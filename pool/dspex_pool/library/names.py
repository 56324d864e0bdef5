"""Names that clients give: of programs, tags and writes. Which there can be, and what a call names.

A name is text and nothing else. It is never a path, a pattern or a part of a command, so `../x`,
`.` and names in any script are as good as others. Only control characters are refused: they would
break what people read, and one of them stands between program and version in the store's ids.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from dspex_protocol import Meta, error, invalid_argument
from dspex_protocol.limits import MAX_ID, MAX_NAME_BYTES, MAX_TAG_BYTES

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class Reference(NamedTuple):
    """A program as a call names it.

    Attributes:
        program: Its id.
        version: Its number; None for the newest, or that of the tag.
        tag: The version that carries it; None beside a version.
    """

    program: str
    version: int | None = None
    tag: str | None = None


def reference_of(meta: Meta) -> Reference:
    """What a call's meta names by `program`, `version` and `tag`.

    Raises:
        CallerError: `invalid_argument` naming the key.
    """
    program = check_program(meta.get("program"), "meta.program")
    version, tag = meta.get("version"), meta.get("tag")
    if version is None:
        return Reference(program, None, None if tag is None else check_tag(tag, "meta.tag"))
    if type(version) is not int or not 1 <= version <= MAX_ID:
        raise invalid_argument("meta.version", "an integer from 1", version)
    if tag is not None:
        raise error(
            "invalid_argument",
            "meta.tag: expected nothing beside meta.version: either of them says which version",
            details={"field": "meta.tag", "expected": "nothing beside meta.version", "got": "both"},
        )
    return Reference(program, version)


def check_program(value: object, field: str = "program") -> str:
    """The id of a program.

    Raises:
        CallerError: `invalid_argument` naming the field.
    """
    return _check(value, field, MAX_NAME_BYTES)


def check_write_id(value: object, field: str = "meta.write_id") -> str:
    """The id of a write.

    Raises:
        CallerError: `invalid_argument` naming the field.
    """
    return _check(value, field, MAX_NAME_BYTES)


def check_tag(value: object, field: str = "tag") -> str:
    """A tag.

    Raises:
        CallerError: `invalid_argument` naming the field.
    """
    return _check(value, field, MAX_TAG_BYTES)


def check_prefix(value: object, field: str = "prefix") -> str:
    """What ids may begin with; "" is any.

    Raises:
        CallerError: `invalid_argument` naming the field.
    """
    return "" if value == "" else _check(value, field, MAX_NAME_BYTES)


def _check(value: object, field: str, max_bytes: int) -> str:
    if isinstance(value, str) and 1 <= _length(value) <= max_bytes and _CONTROL.search(value) is None:
        return value
    raise invalid_argument(field, f"1 to {max_bytes} bytes of UTF-8 without control characters", value)


def _length(text: str) -> int:
    """Bytes as UTF-8; 0 for what has none, such as half a surrogate pair of a command line."""
    try:
        return len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        return 0
