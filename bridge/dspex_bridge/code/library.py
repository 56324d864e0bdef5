"""Pyodide's standard library. It comes as source, of which a start compiles a hundred modules and a half.

With their bytecode beside it an interpreter starts in a third of the time. Only Pyodide's own Python
can make that, so it is let do so once, when all is fetched.
"""

from __future__ import annotations

import io
import subprocess
import zipfile
from pathlib import Path
from typing import Final

from .sandbox import FILES, deno_command, deno_environment, registry_of, runner_imports

COMPILING_TIMEOUT_S: Final = 120.0
"""It takes four seconds, and a machine may have other things to do."""

_SCRIPT: Final = FILES / "compile_library.js"


def is_compiled(folder: Path) -> bool:
    """Whether what was prepared has bytecode."""
    library = _library_of(folder)
    if library is None:
        return False
    with zipfile.ZipFile(library) as read:
        return _has_bytecode(read)


def compile_library(folder: Path, deno: Path) -> None:
    """Put the bytecode into what was prepared; where that cannot be done it stays as it is, and slower.

    Args:
        folder: Of `prepare`.
        deno: Runs Pyodide, with the right to read that folder and no other.
    """
    library = _library_of(folder)
    if library is None or is_compiled(folder):
        return
    (pyodide,) = (name for name in runner_imports() if name.startswith("npm:pyodide"))
    try:
        done = subprocess.run(
            [*deno_command(deno, folder, FILES, _SCRIPT), pyodide],
            env=deno_environment(folder, registry_of(folder)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMPILING_TIMEOUT_S,
            check=True,
        )
        with zipfile.ZipFile(io.BytesIO(done.stdout)) as made:
            if made.testzip() is not None or not _has_bytecode(made):
                return
        # At once, for there may be interpreters that read it.
        fresh = library.with_suffix(".new")
        fresh.write_bytes(done.stdout)
        fresh.replace(library)
    except (OSError, subprocess.SubprocessError, zipfile.BadZipFile):
        return


def _library_of(folder: Path) -> Path | None:
    return next(folder.glob("npm/*/pyodide/*/python_stdlib.zip"), None)


def _has_bytecode(library: zipfile.ZipFile) -> bool:
    names = set(library.namelist())
    return all(name + "c" in names for name in names if name.endswith(".py"))
