"""Writes the pages that are generated from code: `make docs`; with `--check`, only compares.

A page that repeats a table of the code by hand would be wrong one day. Each generated page is
a row of `PAGES`: its file and the function that returns its text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from dspex_pool.config import describe_settings
from dspex_protocol.errors import CODES, Fault

DOCS: Final = Path(__file__).resolve().parent

_FAULTS: Final[Mapping[Fault, tuple[str, str]]] = {
    Fault.WIRE: ("The other side broke the protocol", "Fix the peer; the same frames fail again."),
    Fault.CALLER: ("The call asks for something that cannot be", "Fix the call."),
    Fault.SERVICE: ("The server could not do it now", "Retry where the table says so, within a budget."),
    Fault.PROGRAM: (
        "The program or its language model failed",
        "Look at the program, the model or the host function.",
    ),
}


def errors_page() -> str:
    """docs/errors.md: every code, by whose fault it is."""
    return "\n".join(_errors_lines()) + "\n"


def _errors_lines() -> Iterator[str]:
    yield "# Errors"
    yield ""
    yield "Every code that a FAIL may carry; section 6 of [protocol.md](protocol.md) has its other fields."
    yield "This page is generated from `dspex_protocol/errors.py` by `make docs`."
    yield "*Retryable* is what the code says by itself; a FAIL's own `retryable` counts."
    for fault, (title, advice) in _FAULTS.items():
        yield from ("", f"## {title} (`{fault}`)", "", advice, "")
        yield from ("| code | retryable | meaning |", "|---|---|---|")
        for code, row in CODES.items():
            if row.fault is fault:
                yield f"| `{code}` | {'yes' if row.retryable else 'no'} | {row.meaning} |"


def settings_page() -> str:
    """docs/settings.md: every setting of the server."""
    return "\n".join(_settings_lines()) + "\n"


def _settings_lines() -> Iterator[str]:
    yield "# Settings"
    yield ""
    yield "Every setting of `dspex serve`: a flag, or an environment variable; the flag wins."
    yield "This page is generated from `dspex_pool/config.py` by `make docs`."
    yield "`dspex config` prints those in effect and where each came from."
    yield from ("", "| flag | variable | type | default | what and why |", "|---|---|---|---|---|")
    for row in describe_settings():
        default = "" if row["default"] == "" else f"`{row['default']}`"
        yield f"| `{row['flag']}` | `{row['variable']}` | {row['type']} | {default} | {row['why']} |"


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "errors.md": errors_page,
    "settings.md": settings_page,
}


def stale_pages(docs: Path = DOCS) -> list[str]:
    """Names of the pages whose file is missing or differs from what the code says."""
    return [name for name, page in PAGES.items() if _read(docs / name) != page()]


def write_pages(docs: Path = DOCS) -> None:
    """Write every generated page."""
    for name, page in PAGES.items():
        (docs / name).write_text(page(), encoding="utf-8")


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` name the stale ones and return 1."""
    if arguments == ["--check"]:
        stale = stale_pages()
        for name in stale:
            print(f"docs/{name} is stale: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    if arguments:
        print("usage: generate.py [--check]", file=sys.stderr)
        return 2
    write_pages()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
