"""Real servers for tests: bounded in time, and gone afterwards whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from dspex_pool.client import Client
from dspex_pool.client_functions import HostFunction
from dspex_pool.config import Config, flag_of
from dspex_protocol import DSPexError

from .survivors import MARK, alive_after, describe, end_marked, marked, new_mark

SUPPORT: Final = Path(__file__).parent
MISBEHAVE: Final = "plugin_misbehave"
SIM: Final[Mapping[str, object]] = {"default": {"model": "sim/test", "options": {"seed": 7}}}

PREDICT: Final = {"module": "Predict", "signature": "question -> answer"}


def count(name: str, default: int) -> int:
    """How often a test repeats: `DSPEX_TEST_<NAME>` in the environment, else the default."""
    return int(os.environ.get(f"DSPEX_TEST_{name.upper()}", default))


def server_environment(mark: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a server under test is given: its mark, and the plug-in of the tests on its path."""
    path = os.pathsep.join(filter(None, (str(SUPPORT), os.environ.get("PYTHONPATH"))))
    settings = {"PYTHONPATH": path, "DSPEX_PLUGINS": MISBEHAVE, "DSPEX_LOG_LEVEL": "error"}
    return {**settings, **(more or {}), MARK: mark}


def known_flags(settings: Mapping[str, object]) -> list[str]:
    """Settings as flags, but for those that this server does not have."""
    known = Config.__dataclass_fields__
    return [word for name, value in settings.items() if name in known for word in (flag_of(name), str(value))]


@contextlib.asynccontextmanager
async def serving(
    *flags: str,
    environment: Mapping[str, str] | None = None,
    functions: Mapping[str, HostFunction] | None = None,
    lms: Mapping[str, object] = SIM,
    notes: Sequence[str] = (),
    limit_s: float = 60.0,
    command: Sequence[str] = (),
    stderr: Path | None = None,
    secrets: Mapping[str, str] | None = None,
    client_type: type[Client] = Client,
) -> AsyncGenerator[Client]:
    """A client of a server of its own.

    Args:
        flags: Settings, such as `"--workers", "1"`.
        environment: Added to what `server_environment` gives.
        functions: Host functions.
        lms: Language models.
        notes: Which NOTEs are wanted.
        limit_s: The body is cancelled when it takes longer.
        command: What is started instead of `dspex serve`.
        stderr: Where its log goes; by default where ours does.
        secrets: What `lms` refer to.
        client_type: What the client is made of.

    Raises:
        TimeoutError: after `limit_s`.
        AssertionError: when something of the server is alive after its end.
    """
    mark = new_mark()
    log = None if stderr is None else os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        async with (
            asyncio.timeout(limit_s),
            client_type.start(
                command=command,
                flags=flags,
                environment=server_environment(mark, environment),
                functions=functions,
                lms=lms,
                notes=notes,
                stderr=log,
                secrets=secrets,
            ) as client,
        ):
            yield client
        assert [] == [describe(pid) for pid in alive_after(1.0, marked(mark))]
    finally:
        end_marked(mark)
        if log is not None:
            os.close(log)


async def info(client: Client) -> dict[str, Any]:
    """The snapshot of a server."""
    return cast("dict[str, Any]", await client.call("system.info", {}))


async def workers(client: Client) -> list[dict[str, Any]]:
    """The workers of a server, those that are starting included."""
    return cast("list[dict[str, Any]]", (await info(client))["workers"])


async def worker_pids(client: Client) -> set[int]:
    """Pids of the workers that are there."""
    return {worker["pid"] for worker in await workers(client)}


async def wait_for(client: Client, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask for snapshots until one fits; the caller's `serving` bounds the time."""
    while not condition(snapshot := await info(client)):
        await asyncio.sleep(0.01)
    return snapshot


def has_ready(number: int) -> Callable[[dict[str, Any]], bool]:
    """A snapshot with that many workers ready."""
    return lambda snapshot: snapshot["ready_workers"] == number


async def outcome_code(client: Client, method: str, payload: object = None, **meta: Any) -> str:
    """The code of a call's error, or `ok`."""
    try:
        await client.call(method, payload, **meta)
    except DSPexError as failure:
        return failure.code
    return "ok"
