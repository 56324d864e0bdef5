"""Where a store is, in words: `memory`, `sqlite:PATH`, `redis://…`, `postgresql://…`. Pure.

An address may hold a password. Nothing that is said of one, here or in an error, has more of it
than `redact` leaves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dspex_protocol import DSPexError, invalid_argument

EXPECTED: Final = (
    "`memory`, `sqlite`, `sqlite:PATH`, `redis://…`, `rediss://…`, `unix://…` or `postgresql://…`"
)

REDIS: Final = ("redis", "rediss", "unix")
POSTGRES: Final = ("postgresql", "postgres")

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]{0,19}(?=:|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteAddress:
    """A file of SQLite.

    Attributes:
        path: Of the file.
        full: Whether a commit waits for the disk.
    """

    path: Path
    full: bool


def scheme_of(url: str) -> str:
    """The word before the colon, or the whole when it is one word; "" when there is none."""
    found = _SCHEME.match(url)
    return found[0] if found else ""


def check_address(url: str, environment: Mapping[str, str]) -> None:
    """Refuse what is no address of a store, before anything is connected.

    Raises:
        CallerError: `invalid_argument`.
    """
    scheme = scheme_of(url)
    if scheme == "sqlite" or url.startswith("sqlite?"):
        read_sqlite(url, environment)
    elif url != "memory" and scheme not in REDIS and scheme not in POSTGRES:
        raise refuse(url)


def redact(url: str) -> str:
    """An address without user, password and options, for names and logs.

    What cannot be told apart from a password for certain is left out with it.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return f"{scheme_of(url)}:…" if "@" in url else url.partition("?")[0]
    place, _, options = rest.replace("#", "?").partition("?")
    if "@" in options:  # a password with a `?`, or an option with an `@`
        return f"{scheme_of(url)}://…"
    return f"{scheme}://{place.rpartition('@')[2]}"


def refuse(url: str, expected: str = EXPECTED) -> DSPexError:
    """The error for an address that is none. It tells the scheme at most."""
    scheme = scheme_of(url)
    return invalid_argument("store", expected, f"{scheme}:…" if scheme and scheme != url else scheme)


def read_sqlite(url: str, environment: Mapping[str, str]) -> SqliteAddress:
    """The file in `sqlite:PATH?synchronous=full`.

    Without a path it is `dspex/state.db` in `$XDG_STATE_HOME`, or in `~/.local/state`. A path may
    begin with `~`; one that is not absolute is of the working directory.

    Raises:
        CallerError: `invalid_argument` for an option that there is not, or a path that cannot be.
    """
    text, _, options = url.removeprefix("sqlite").removeprefix(":").partition("?")
    if options not in {"", "synchronous=normal", "synchronous=full"}:
        raise refuse(url, "`sqlite:PATH`, perhaps with `?synchronous=full` or `?synchronous=normal`")
    try:
        path = Path(text).expanduser() if text else _default(environment)
    except RuntimeError:  # whose home it is nobody knows
        raise refuse(url, "a path in a home that exists") from None
    if "\0" in text:
        raise refuse(url, "a path without NUL")
    return SqliteAddress(path=path, full=options == "synchronous=full")


def _default(environment: Mapping[str, str]) -> Path:
    state = environment.get("XDG_STATE_HOME", "")
    # A relative one is to be ignored, says the XDG base directory specification.
    folder = Path(state) if state.startswith("/") else Path("~/.local/state").expanduser()
    return folder / "dspex" / "state.db"
