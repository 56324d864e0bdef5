"""Where clients and servers meet, in words: `stdio` and `unix:PATH`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from dspex_protocol import invalid_argument

STDIO: Final = "stdio"
UNIX: Final = "unix:"
# sockaddr_un has 108 bytes, and the last is for the terminating zero.
MAX_PATH_BYTES: Final = 107


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a server takes clients from; one of the two at least.

    Attributes:
        stdio: Its own client is on stdin and stdout.
        socket: Path of a Unix socket; None for none.
    """

    stdio: bool
    socket: str | None


def read_places(text: str, field: str) -> Places:
    """The setting `listen`: `stdio`, `unix:PATH`, or both with a comma between.

    Args:
        text: What was given.
        field: By which name, for the message.

    Raises:
        CallerError: `invalid_argument`.
    """
    words = [word.strip() for word in text.split(",")]
    sockets = [word for word in words if word.startswith(UNIX)]
    if len(words) != len(set(words)) or len(sockets) > 1 or set(words) - set(sockets) - {STDIO}:
        raise invalid_argument(field, "`stdio`, `unix:PATH`, or both with a comma between, each once", text)
    return Places(stdio=STDIO in words, socket=read_socket(sockets[0], field) if sockets else None)


def read_socket(address: str, field: str) -> str:
    """The path in `unix:PATH`.

    Raises:
        CallerError: `invalid_argument` for another form, or a path that no socket can have.
    """
    path = address.removeprefix(UNIX)
    if path == address or not path or "\0" in path:
        raise invalid_argument(field, "`unix:PATH`", address)
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        expected = f"a path of at most {MAX_PATH_BYTES} bytes, which is what the kernel takes for a socket"
        raise invalid_argument(field, expected, path)
    return path
