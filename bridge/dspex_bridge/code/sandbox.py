"""What this machine has to run a model's code in, and the command line that starts it.

The inner wall is DSPy's: WebAssembly, in a Deno without permissions. The outer one is bubblewrap,
where it is there and works: no network, no files but what Deno needs, no processes but its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

MEMORY_MB: Final = 1024
"""Of one interpreter. Deno with Pyodide takes about 600 of what the kernel counts here by itself."""

FILES: Final = Path(__file__).parent / "files"
STAMP: Final = "prepared.json"
READ_LINES: Final = "read_lines.js"
IMPORTS: Final = "imports.json"
"""In what was prepared: what of DSPy's imports is a file of ours."""

_PROBE_TIMEOUT_S: Final = 10.0
_IMPORTED: Final = re.compile(r'^import .* from "([^"]+)"', re.MULTILINE)

# `$0` is the limit. Where the system has no such limit, or a lower one already, it stays as it is.
_LIMITED: Final = 'ulimit -c 0; ulimit -d "$0" 2>/dev/null; exec "$@"'

# No terminal, no environment, no host's name, no network; and no way up: it dies with who started it.
_WALLED: Final = ("--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL")
_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store")

_DENO_FLAGS: Final = (
    "--no-config",
    "--no-prompt",
    "--no-remote",
    "--no-code-cache",
    "--cached-only",
    "--frozen",
    "--node-modules-dir=none",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A way to start an interpreter.

    Attributes:
        kind: `bubblewrap`, with Deno in it, or `deno` alone.
        command: Starts one; it reads requests from stdin and answers on stdout.
        environment: All that it gets of it.
    """

    kind: Literal["bubblewrap", "deno"]
    command: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """Why there is no sandbox here.

    Attributes:
        what: That is not there.
        advice: What to do about it.
    """

    what: str
    advice: str


PREPARE: Final = "run `dspex code prepare` once, where the npm registry can be reached"


def find_sandbox() -> Sandbox | Lacking:
    """What there is on this machine. Looks at files, and tries whether bubblewrap works."""
    deno = find_deno()
    if deno is None:
        return Lacking(what="Deno is not installed", advice="install dspex[code], then " + PREPARE)
    folder = prepared_folder()
    if folder is None:
        return Lacking(what="the interpreter is not prepared for this DSPy", advice=PREPARE)
    bubblewrap = find_bubblewrap()
    registry = registry_of(folder)
    if bubblewrap is None:
        return Sandbox(
            kind="deno",
            command=limited(deno_command(deno, folder, FILES, runner())),
            environment=deno_environment(folder, registry),
        )
    return Sandbox(
        kind="bubblewrap", command=limited(walled_command(bubblewrap, deno, folder, registry)), environment={}
    )


def deno_command(deno: Path, folder: Path, files: Path, script: Path) -> tuple[str, ...]:
    """Deno with DSPy's script, which gives back the right to read the folder when it has loaded it."""
    return (
        str(deno),
        "run",
        *_DENO_FLAGS,
        f"--lock={files / 'deno.lock'}",
        f"--import-map={folder / IMPORTS}",
        f"--allow-read={script},{folder}",
        str(script),
        "",  # no variables of the environment
        f"--dspy-deno-dir={folder}",
    )


def deno_environment(folder: Path, registry: str) -> dict[str, str]:
    """What Deno needs to know; nothing of it is secret. No registry is Deno's own default."""
    return {
        **({"NPM_CONFIG_REGISTRY": registry} if registry else {}),
        "DENO_DIR": str(folder),
        "DENO_NO_PACKAGE_JSON": "1",
        "DENO_NO_UPDATE_CHECK": "1",
        "NO_COLOR": "1",
        "PATH": "/usr/bin:/bin",
    }


def walled_command(bubblewrap: Path, deno: Path, folder: Path, registry: str) -> tuple[str, ...]:
    """The same within bubblewrap, which shows it four things to read and nothing to write."""
    shown = {deno: "/deno", folder: "/prepared", FILES: "/files", runner(): "/runner.js"}
    variables = deno_environment(Path("/prepared"), registry)
    return (
        str(bubblewrap),
        *_WALLED,
        *(word for name, value in variables.items() for word in ("--setenv", name, value)),
        *(word for path in _LIBRARIES for word in ("--ro-bind-try", path, path)),
        *(word for path, name in shown.items() for word in ("--ro-bind", str(path), name)),
        *("--proc", "/proc", "--dev", "/dev", "--remount-ro", "/", "--chdir", "/"),
        *deno_command(Path("/deno"), Path("/prepared"), Path("/files"), Path("/runner.js")),
    )


def limited(command: tuple[str, ...], memory_mb: int = MEMORY_MB) -> tuple[str, ...]:
    """A command whose processes get so much memory, and leave no core dumps.

    A shell sets the limit: from Python it would be a function between fork and exec, in a process
    with threads, or come too late for what the command forks.
    """
    return ("/bin/sh", "-c", _LIMITED, str(memory_mb * 1024), *command)


def find_deno() -> Path | None:
    """That of the package `deno`, or else one on the PATH."""
    if importlib.util.find_spec("deno") is not None:
        from deno import find_deno_bin

        try:
            return Path(find_deno_bin()).resolve()
        except FileNotFoundError:
            pass
    found = shutil.which("deno")
    return None if found is None else Path(found).resolve()


@cache
def find_bubblewrap() -> Path | None:
    """Where bubblewrap is, if it works: in many containers it may not make namespaces."""
    found = shutil.which("bwrap")
    if found is None:
        return None
    trial = [found, *_WALLED, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"]
    try:
        done = subprocess.run(
            trial, env={"PATH": "/usr/bin:/bin"}, capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Path(found).resolve() if done.returncode == 0 else None


@cache
def runner() -> Path:
    """DSPy's script; found without importing DSPy."""
    spec = importlib.util.find_spec("dspy")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "primitives" / "runner.js").resolve()


def runner_imports() -> list[str]:
    """What DSPy's script imports."""
    return _IMPORTED.findall(runner().read_text(encoding="utf-8"))


def imports_of_ours() -> dict[str, str]:
    """Which of them is a file of ours: that of Deno's old standard library, which no registry has."""
    return {name: f"./{READ_LINES}" for name in runner_imports() if name.endswith("/io/mod.ts")}


def write_imports(folder: Path) -> None:
    """Put that file, and the map that names it, into a folder."""
    shutil.copyfile(FILES / READ_LINES, folder / READ_LINES)
    (folder / IMPORTS).write_text(json.dumps({"imports": imports_of_ours()}), encoding="utf-8")


def folders() -> tuple[Path, ...]:
    """Where what was prepared may be: with the installation, or with the user where that is not writable."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(sys.prefix) / "share" / "dspex" / "code", Path(home) / "dspex" / "code"


def prepared_folder() -> Path | None:
    """The folder that was prepared for the installed DSPy, or None."""
    wanted = fingerprint()
    for folder in folders():
        if _stamp_of(folder).get("runner") == wanted:
            return folder.resolve()
    return None


def write_stamp(folder: Path, registry: str) -> None:
    """Say that a folder holds what the installed DSPy needs."""
    stamp = {"runner": fingerprint(), "registry": registry}
    (folder / STAMP).write_text(json.dumps(stamp), encoding="utf-8")


def registry_of(folder: Path) -> str:
    """Which one a folder was fetched from; "" is Deno's own default."""
    return _stamp_of(folder).get("registry", "")


def fingerprint() -> str:
    """Of DSPy's script and of what we put in the place of its imports."""
    digest = hashlib.sha256(runner().read_bytes())
    for name in (READ_LINES, "deno.lock"):
        digest.update((FILES / name).read_bytes())
    return digest.hexdigest()


def _stamp_of(folder: Path) -> dict[str, str]:
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}
