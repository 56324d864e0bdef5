"""From an address to a store. Only the backend that is asked for is imported."""

from __future__ import annotations

import os
import time
from typing import Final

from . import Store
from .addresses import POSTGRES, REDIS, read_sqlite, redact, refuse, scheme_of
from .failures import Refused

TIMEOUT_S: Final = 1.0
"""How long an operation may take: who waits longer for a store is better told."""


def open_store(url: str, *, timeout_s: float = TIMEOUT_S) -> Store:
    """Build the store at an address; its `open` connects.

    Args:
        url: See `docs/store.md`.
        timeout_s: How long each operation may take.

    Raises:
        CallerError: `invalid_argument` when it is no address; nothing secret is in it.
        Refused: when a package that it needs is not installed.
    """
    scheme = scheme_of(url)
    if url == "memory":
        from .memory import MemoryStore

        return MemoryStore(time.monotonic)
    if scheme == "sqlite" or url.startswith("sqlite?"):
        from .sqlite import SqliteStore

        address = read_sqlite(url, os.environ)
        return SqliteStore(address.path, full=address.full, timeout_s=timeout_s)
    if scheme in REDIS:
        return _open_redis(url, timeout_s)
    if scheme in POSTGRES:
        return _open_postgres(url, timeout_s)
    raise refuse(url)


def _open_redis(url: str, timeout_s: float) -> Store:
    try:
        from .redis import RedisStore

        return RedisStore(url, timeout_s=timeout_s)
    except ModuleNotFoundError as missing:
        raise _not_installed(url, "redis", missing) from missing
    except ValueError:  # its text, and that of what it came from, may hold some of the address
        raise refuse(url, "an address of Redis: `redis://host:port/database`") from None


def _open_postgres(url: str, timeout_s: float) -> Store:
    try:
        from .postgres import PostgresStore

        return PostgresStore(url, timeout_s=timeout_s)
    except ModuleNotFoundError as missing:
        raise _not_installed(url, "postgres", missing) from missing
    except ValueError:
        raise refuse(url, "an address of PostgreSQL: `postgresql://host:port/database`") from None


def _not_installed(url: str, extra: str, missing: ModuleNotFoundError) -> Refused:
    package = (missing.name or extra).partition(".")[0]
    return Refused(f"{redact(url)}: {package} is not installed; pip install 'dspex[{extra}]'")
