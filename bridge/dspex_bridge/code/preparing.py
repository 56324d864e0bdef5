"""`dspex code`: fetches what an interpreter needs, once, and tells whether one can run here.

DSPy is not imported for it: that would take longer than the work.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from .library import compile_library
from .process import SandboxProcess
from .sandbox import (
    FILES,
    IMPORTS,
    PREPARE,
    Lacking,
    Sandbox,
    deno_environment,
    find_deno,
    find_sandbox,
    folders,
    prepared_folder,
    runner,
    write_imports,
    write_stamp,
)

FETCH_TIMEOUT_S: Final = 600.0
OK: Final = 0
CANNOT: Final = 1

EPILOG: Final = """\
prepare  fetches Pyodide from the npm registry (or that of NPM_CONFIG_REGISTRY), about 13 MB, checks
         it against known hashes, compiles its library, and keeps it with the installation, or in
         the user's cache where that cannot be written to. Does nothing when it is there.
check    starts an interpreter and lets it compute something.

exit codes: 0 code can be run here, 1 it cannot, 2 bad arguments
"""


def run_code(arguments: list[str]) -> int:
    """Run `dspex code`.

    Returns:
        Its exit code.
    """
    parser = argparse.ArgumentParser(
        prog="dspex code",
        description="What ProgramOfThought, CodeAct and RLM need to run code that a model writes.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=("prepare", "check"))
    parser.add_argument("--json", action="store_true", help="one object, for machines")
    try:
        given = parser.parse_args(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2
    refused = prepare() if given.action == "prepare" else None
    found = refused or check()
    if given.json:
        print(json.dumps(_as_data(found)))
    else:
        print("\n".join(_in_words(found)))
    return CANNOT if isinstance(found, Lacking) else OK


def prepare() -> Lacking | None:
    """Fetch what is not there.

    Returns:
        None, or why it could not be done.
    """
    deno, ready = find_deno(), prepared_folder()
    if ready is not None:
        if deno is not None:
            compile_library(ready, deno)  # an older DSPex left it as it came
        return None
    if deno is None:
        return Lacking(
            what="Deno is not installed", advice="install dspex[code]: it comes as a Python package"
        )
    last = ""
    for folder in folders():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            return _fill(folder, deno)
        except OSError as reason:
            last = f"{folder}: {reason.strerror}"
    return Lacking(
        what=f"there is no folder to write to ({last})", advice="run it as a user who may write there"
    )


def _fill(folder: Path, deno: Path) -> Lacking | None:
    """Fetch into a new folder, and put it into its place when it is whole."""
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="code-") as made:
        fresh = Path(made) / "code"
        fresh.mkdir()
        write_imports(fresh)
        failed = _fetch(fresh, deno, registry)
        if failed is not None:
            return failed
        write_stamp(fresh, registry)
        compile_library(fresh, deno)
        old = Path(made) / "old"
        with contextlib.suppress(FileNotFoundError):
            folder.rename(old)
        fresh.rename(folder)
    return None


def _fetch(folder: Path, deno: Path, registry: str) -> Lacking | None:
    # Deno takes proxies and certificates from the environment, so it gets all of ours. But no home: a
    # registry that its user's settings name would be another one than that of the interpreters later.
    ours = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder)}
    environment = {**os.environ, **deno_environment(folder, registry), **ours}
    command = [
        *(str(deno), "cache", "--no-config", "--node-modules-dir=none", "--frozen"),
        *(f"--lock={FILES / 'deno.lock'}", f"--import-map={folder / IMPORTS}", str(runner())),
    ]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Lacking(what=f"the npm registry did not answer in {FETCH_TIMEOUT_S:.0f} s", advice=PREPARE)
    if done.returncode == 0:
        return None
    said = " ".join(done.stderr.split()[-60:])
    return Lacking(what=f"Pyodide could not be fetched: {said}", advice=PREPARE)


def check() -> Sandbox | Lacking:
    """Start an interpreter and let it compute.

    Returns:
        The sandbox that did, or why none did.
    """
    sandbox = find_sandbox()
    if isinstance(sandbox, Lacking):
        return sandbox
    try:
        SandboxProcess(sandbox).close()
    except (OSError, EOFError, TimeoutError) as reason:
        return Lacking(
            what=f"the interpreter does not start ({sandbox.kind}): {_last_words(sandbox) or reason}",
            advice="see whether there is enough memory; " + PREPARE,
        )
    return sandbox


def _last_words(sandbox: Sandbox) -> str:
    """What it says on stderr, which a running interpreter has none of."""
    done = subprocess.run(
        sandbox.command,
        env=dict(sandbox.environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return " ".join(done.stderr.split()[:60])


def _as_data(found: Sandbox | Lacking) -> dict[str, object]:
    if isinstance(found, Lacking):
        return {"can_run": False, "sandbox": None, "found": found.what, "advice": found.advice}
    return {"can_run": True, "sandbox": found.kind, "found": _words_of(found), "advice": _advice(found)}


def _in_words(found: Sandbox | Lacking) -> list[str]:
    data = _as_data(found)
    return [str(data["found"]), *([f"-> {data['advice']}"] if data["advice"] else [])]


def _words_of(sandbox: Sandbox) -> str:
    if sandbox.kind == "bubblewrap":
        return "code runs in WebAssembly and Deno, within bubblewrap"
    return "code runs in WebAssembly and Deno, without bubblewrap around it"


def _advice(sandbox: Sandbox) -> str:
    if sandbox.kind == "bubblewrap" or sys.platform != "linux":
        return ""
    if shutil.which("bwrap"):
        return "bubblewrap is there and may not make namespaces here: allow that to have a second wall"
    return "install bubblewrap to have a second wall"
