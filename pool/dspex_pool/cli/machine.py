"""What this machine has of what DSPex needs, looked at without starting a server."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Final, Literal, cast

import msgpack

from dspex_pool.config import Config
from dspex_pool.spawning import BRIDGE

Level = Literal["ok", "warn", "fail"]

TESTED_DSPY: Final = "3.4."
LEAST_PYTHON: Final = (3, 11)
# A worker holds about six descriptors and each request to a provider one; 128 calls at once
# in each of two workers stay well below this.
COMFORTABLE_DESCRIPTORS: Final = 1024
# The zygote with DSPy in it takes about 200 MB; a worker adds what it does not share.
ZYGOTE_MB: Final = 200
WORKER_MB: Final = 60
_PR_GET_PDEATHSIG: Final = 2
_PR_GET_CHILD_SUBREAPER: Final = 37
# Providers that need no key, and those whose credentials are not a single variable.
_KEYLESS: Final = frozenset(("sim", "host", "ollama", "ollama_chat"))
_OTHER_CREDENTIALS: Final = frozenset(("bedrock", "sagemaker", "vertex_ai"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was found about one thing.

    Attributes:
        level: `warn`: DSPex runs, but worse than it could; `fail`: it does not run.
        found: What there is, in plain words.
        advice: What to do about it; empty when there is nothing to do.
    """

    name: str
    level: Level
    found: str
    advice: str = ""


def look_at_machine(config: Config, environment: Mapping[str, str]) -> Iterator[Check]:
    """Every check of the machine, in the order in which one would put it right."""
    yield check_python(sys.version_info[:3])
    yield check_platform()
    yield from check_kernel()
    yield check_dspy()
    yield check_msgpack()
    yield check_uvloop()
    yield check_descriptors(resource.getrlimit(resource.RLIMIT_NOFILE))
    yield check_memory(config, available_mb())
    yield check_cores(config, core_count())
    yield check_lm(config, environment)
    yield check_code(config)
    yield check_elixir()


# Python and its packages


def check_python(found: tuple[int, ...]) -> Check:
    """Whether the interpreter is new enough."""
    text = ".".join(map(str, found))
    if found[:2] < LEAST_PYTHON:
        least = ".".join(map(str, LEAST_PYTHON))
        return Check(
            name="python", level="fail", found=f"Python {text}", advice=f"Install Python {least} or newer."
        )
    return Check(name="python", level="ok", found=f"Python {text} ({platform.python_implementation()})")


def check_dspy() -> Check:
    """Whether DSPy is installed; that it can be imported is for the server to show."""
    found = _version("dspy")
    if found is None:
        return Check(
            name="dspy",
            level="fail",
            found="DSPy is not installed",
            advice=f"Run: {sys.executable} -m pip install dspy",
        )
    if not found.startswith(TESTED_DSPY):
        advice = f"DSPex is tested with DSPy {TESTED_DSPY}x; install that if something fails."
        return Check(name="dspy", level="warn", found=f"DSPy {found}", advice=advice)
    return Check(name="dspy", level="ok", found=f"DSPy {found}")


def check_msgpack() -> Check:
    """Whether MessagePack is read and written in C."""
    found = f"msgpack {_version('msgpack') or 'of unknown version'}"
    if msgpack.Packer.__module__ == "msgpack.fallback":
        return Check(
            name="msgpack",
            level="warn",
            found=f"{found} without its C extension: many times slower",
            advice="Unset MSGPACK_PUREPYTHON, or reinstall msgpack from a wheel for this platform.",
        )
    return Check(name="msgpack", level="ok", found=f"{found} with its C extension")


def check_uvloop() -> Check:
    """Whether the supervisor gets the fast event loop."""
    if find_spec("uvloop") is None:
        return Check(
            name="uvloop",
            level="warn",
            found="uvloop is not installed: the supervisor takes plain asyncio, which is slower",
            advice=f"Run: {sys.executable} -m pip install uvloop",
        )
    return Check(name="uvloop", level="ok", found=f"uvloop {_version('uvloop') or ''}".strip())


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


# The system


def check_platform() -> Check:
    """Which system this is."""
    found = f"{platform.system()} {platform.release()} on {platform.machine()}"
    if sys.platform != "linux":
        advice = "DSPex is tested on Linux; elsewhere run it in a container or a virtual machine."
        return Check(name="platform", level="warn", found=found, advice=advice)
    return Check(name="platform", level="ok", found=found)


def check_kernel() -> Iterator[Check]:
    """What the kernel offers for watching and ending processes."""
    for name, works, what, level, without in (
        (
            "pidfd",
            _has_pidfd,
            "processes are watched by descriptor",
            "fail",
            "The server needs Linux 5.3 or newer.",
        ),
        (
            "subreaper",
            lambda: _prctl_answers(_PR_GET_CHILD_SUBREAPER),
            "what a dead worker leaves behind is found",
            "warn",
            "Children of a killed worker may survive it; Linux 3.4 or newer prevents that.",
        ),
        (
            "parent-death signal",
            lambda: _prctl_answers(_PR_GET_PDEATHSIG),
            "workers end with the server",
            "warn",
            "After a kill of the server workers may survive; use Linux.",
        ),
        (
            "descriptor passing",
            _passes_descriptors,
            "workers can be forked by the zygote",
            "warn",
            "Workers will be started from nothing, about a second each; set DSPEX_ZYGOTE=false.",
        ),
    ):
        yield _kernel_check(name, works, what, "fail" if level == "fail" else "warn", without)


def _kernel_check(name: str, works: Callable[[], bool], what: str, level: Level, without: str) -> Check:
    try:
        there = works()
    except (OSError, AttributeError):  # refused by the kernel, or not in this system's Python
        there = False
    if there:
        return Check(name=name, level="ok", found=what)
    return Check(name=name, level=level, found="not available here", advice=without)


def _has_pidfd() -> bool:
    os.close(os.pidfd_open(os.getpid()))
    return True


def _prctl_answers(option: int) -> bool:
    answer = ctypes.c_int(0)
    code: int = ctypes.CDLL(None).prctl(option, ctypes.byref(answer), 0, 0, 0)
    return code == 0


def _passes_descriptors() -> bool:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        socket.send_fds(ours, [b"x"], [ours.fileno()])
        _, descriptors, _, _ = socket.recv_fds(theirs, 1, 1)
    for descriptor in descriptors:
        os.close(descriptor)
    return len(descriptors) == 1


def check_descriptors(limits: tuple[int, int]) -> Check:
    """Whether enough files and sockets may be open at once.

    Args:
        limits: Soft and hard limit, -1 for none.
    """
    soft, hard = limits
    found = "no limit of open files" if soft == -1 else f"{soft:,} files may be open at once"
    if 0 <= soft < COMFORTABLE_DESCRIPTORS:
        allowed = "your administrator" if 0 <= hard < COMFORTABLE_DESCRIPTORS else f"`ulimit -n {hard}`"
        advice = (
            f"Raise it to {COMFORTABLE_DESCRIPTORS:,} or more ({allowed}), or keep few calls open at once."
        )
        return Check(name="open files", level="warn", found=found, advice=advice)
    return Check(name="open files", level="ok", found=found)


def available_mb() -> int | None:
    """Memory that new processes may take, in MB, a container's limit included; None if unknown."""
    known = [mb for mb in (_meminfo_mb(), _container_mb()) if mb is not None]
    return min(known, default=None)


def _meminfo_mb() -> int | None:
    try:
        with open("/proc/meminfo") as lines:
            return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None


def _container_mb() -> int | None:
    try:
        with open("/sys/fs/cgroup/memory.max") as limit, open("/sys/fs/cgroup/memory.current") as used:
            return (int(limit.read()) - int(used.read())) // 2**20
    except (OSError, ValueError):  # no such group, or "max": no limit
        return None


def check_memory(config: Config, free_mb: int | None) -> Check:
    """Whether the zygote and its workers fit."""
    if free_mb is None:
        return Check(name="memory", level="ok", found="how much is free cannot be told here")
    needed_mb = ZYGOTE_MB + WORKER_MB * config.workers
    found = f"{free_mb:,} MB free; {config.workers} workers take about {needed_mb:,} MB to begin with"
    if free_mb < needed_mb:
        return Check(
            name="memory", level="warn", found=found, advice="Free some, or set DSPEX_WORKERS lower."
        )
    return Check(name="memory", level="ok", found=found)


def core_count() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def check_cores(config: Config, cores: int) -> Check:
    """Whether there is a core for each worker."""
    found = f"{cores} cores for {config.workers} workers"
    if config.workers > cores:
        advice = (
            f"Workers share cores: set DSPEX_WORKERS={cores}, unless they mostly wait for language models."
        )
        return Check(name="cores", level="warn", found=found, advice=advice)
    return Check(name="cores", level="ok", found=found)


# What programs need besides


def check_lm(config: Config, environment: Mapping[str, str]) -> Check:
    """Which language model is configured, and whether its key is there. The key is not told."""
    if not config.lm:
        found = "DSPEX_LM is not set: clients name their models themselves, or use the offline sim/demo"
        return Check(name="language model", level="ok", found=found)
    provider, slash, _ = config.lm.partition("/")
    if not slash:
        advice = "Write DSPEX_LM as provider/name, such as openai/gpt-4o-mini."
        return Check(
            name="language model", level="warn", found=f"{config.lm} names no provider", advice=advice
        )
    if provider in _KEYLESS:
        return Check(name="language model", level="ok", found=f"{config.lm}, which needs no key")
    if provider in _OTHER_CREDENTIALS:
        found = f"{config.lm}; whether its credentials are there cannot be told from one variable"
        return Check(name="language model", level="ok", found=found)
    variable = f"{provider.upper()}_API_KEY"
    if not environment.get(variable):
        advice = f"Set {variable}, or hand the key over in hello (api_key_env or api_key_secret)."
        return Check(
            name="language model", level="warn", found=f"{config.lm}; {variable} is not set", advice=advice
        )
    return Check(name="language model", level="ok", found=f"{config.lm}; {variable} is set")


def check_code(config: Config) -> Check:
    """Whether programs can run code that a model writes. Few do, so that none of it is a failure."""
    told = _asked_of_bridge("code", "check", "--json")
    if told.get("can_run") is True:
        advice = str(told["advice"])
        level: Level = "warn" if advice else "ok"
        return Check(name="code", level=level, found=str(told["found"]), advice=advice)
    found = f"programs that run code are refused: {told.get('found', 'the bridge does not answer')}"
    if config.unsafe_interpreter:
        found = "unsafe_interpreter is set and there is no sandbox: a model's code can do all that you can"
    advice = f"Only ProgramOfThought, CodeAct and RLM need it: {told.get('advice', 'install dspex[code]')}."
    return Check(name="code", level="warn", found=found, advice=advice)


def _asked_of_bridge(*arguments: str) -> dict[str, object]:
    try:
        said = subprocess.run([*BRIDGE, *arguments], capture_output=True, text=True, timeout=90, check=False)
        told = json.loads(said.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {}
    return cast("dict[str, object]", told) if isinstance(told, dict) else {}


def check_elixir() -> Check:
    """Whether the reference client could run here."""
    found = _elixir_version()
    if found is None:
        advice = "Only the Elixir client needs it: install Elixir 1.14 or newer from your distribution."
        return Check(name="elixir", level="warn", found="Elixir is not on the PATH", advice=advice)
    return Check(name="elixir", level="ok", found=found)


def _elixir_version() -> str | None:
    program = shutil.which("elixir")
    if program is None:
        return None
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return next((line for line in said.stdout.splitlines() if line.startswith("Elixir")), None)
