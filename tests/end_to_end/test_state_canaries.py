"""Credentials: more than forty of them, given to a real server in every way, and none is seen again.

Not in a file or table of the store, not in a frame to a client, not on stderr, not on a command line,
and not in what `dspex state` and `dspex config` print.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, cast

import psutil
import pytest
from tests.defects.planting import planted
from tests.support.canaries import (
    CONFIGS,
    ENVIRONMENT,
    LM_STATE,
    MARK,
    SECRETS,
    canary,
    count,
    language_models,
)
from tests.support.database_servers import PostgresServer, RedisServer
from tests.support.indiscreet import indiscreet_provider
from tests.support.servers import has_ready, serving, wait_for
from tests.support.state_load import CHAT, PLAIN

from dspex_pool.client import Client
from dspex_protocol import DSPexError, Oversized

pytestmark = pytest.mark.slow

SPARSE: Final = 4
"""Where it is the way to the store that differs, every so manieth of the ways to a record is enough."""

QUIET: Final = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "PYTHONWARNINGS": "ignore",
    "DSPEX_LOG_LEVEL": "debug",
}


class Recorder(Client):
    """A client that keeps every byte that it was sent, be it that its hello was refused.

    Attributes:
        heard: By all of them.
    """

    heard: ClassVar = bytearray()

    def _take(self, bodies: list[bytes | Oversized]) -> None:
        for body in bodies:
            assert isinstance(body, bytes)
            self.heard.extend(body)
        super()._take(bodies)


@dataclass
class Seen:
    """All that can be seen of a server.

    Attributes:
        codes: Errors that calls ended with.
        words: Command lines of its processes, and environments of its workers.
        frames: What its clients were sent.
        stderr: What it wrote there.
        store: What its store keeps.
        printed: What `dspex state` and `dspex config` print.
    """

    codes: set[str] = field(default_factory=set[str])
    words: bytes = b""
    frames: bytes = b""
    stderr: bytes = b""
    store: bytes = b""
    printed: bytes = b""

    def leaks(self) -> set[str]:
        """Where a credential is to be seen."""
        mark = MARK.encode()
        return {
            name for name in ("words", "frames", "stderr", "store", "printed") if mark in getattr(self, name)
        }


@dataclass
class Place:
    """A store.

    Attributes:
        url: Where it is, with a password where there can be one.
        content: What it keeps, as bytes.
        every: Which of the ways to get a credential into a record are gone.
    """

    url: str
    content: Callable[[], bytes]
    every: int = SPARSE


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty store of each kind."""
    if request.param == "sqlite":
        yield sqlite_place(tmp_path, every=1)
    elif request.param == "redis":
        server = RedisServer({"rdbcompression": "no", "requirepass": canary("redis")})
        try:
            server.start()
            url = server.url(secret=f":{canary('redis')}")
            yield Place(url, lambda: redis_content(server))
        finally:
            server.remove()
    else:
        postgres: PostgresServer = request.getfixturevalue("postgres_server")
        database = postgres.new_database()
        postgres.sql(f"CREATE ROLE keeper SUPERUSER LOGIN PASSWORD '{canary('postgres')}'")
        url = postgres.url(database, user=f"keeper:{canary('postgres')}")
        yield Place(url, lambda: postgres_content(postgres, database))
        postgres.give_back_database(database)
        postgres.sql("DROP ROLE keeper")


def sqlite_place(folder: Path, every: int) -> Place:
    path = folder / "state.db"
    files = lambda: b"".join(file.read_bytes() for file in folder.glob("state.db*"))  # noqa: E731
    return Place(f"sqlite:{path}", files, every)


def redis_content(server: RedisServer) -> bytes:
    server.ask("AUTH", canary("redis"), then=["SAVE"])
    return (server.folder / "dump.rdb").read_bytes()


def postgres_content(server: PostgresServer, database: str) -> bytes:
    tables = ("records", "journals", "entries", "leases", "writers", "store")
    rows = [server.sql(f"SELECT * FROM dspex.{table}", database=database) for table in tables]
    bodies = server.sql("SELECT encode(body, 'escape') FROM dspex.records", database=database)
    return "\n".join([*rows, bodies]).encode()


class Visit:
    """Lets each credential get to each place where it could stay."""

    def __init__(self, client: Client, every: int) -> None:
        self._client = client
        self._every = every
        self.codes: set[str] = set()

    async def attempt(self, method: str, payload: object = None, **meta: Any) -> Any:
        try:
            return await self._client.call(method, payload, **meta)
        except DSPexError as refused:
            self.codes.add(refused.code)
            return None

    async def everything(self, models: dict[str, Any]) -> None:
        await self._client.call("program.create", {"spec": PLAIN}, program="p", write_id="first")
        await self._client.call("program.create", {"spec": CHAT}, program="chat")
        await self._client.call("session.open", {}, program="chat", session="s")
        # A worker alone is given every option (`tests/bridge/test_canaries.py`).
        for name in [*list(models)[:8], *list(models)[8::4]]:
            await self._with_model(name)
        for number, config in enumerate(CONFIGS[:: self._every]):
            await self._with_config(number, config)
        await self._documents()
        for method in ("system.describe", "lm.list", "system.info", "pool.quarantine", "session.list"):
            await self.attempt(method)
        await self.attempt("session.get", {}, session="s")
        await self.attempt("session.fork", {"session": "fork"}, session="s")
        await self.attempt("session.close", {}, session="s")
        for method in ("program.get", "program.versions", "program.delete", "program.get"):
            await self.attempt(method, {}, program="p")

    async def _with_model(self, name: str) -> None:
        asked = {"inputs": {"question": "x"}, "lm": name}
        await asyncio.gather(
            self.attempt("program.predict", asked, program="p"),
            self.attempt("program.predict", asked, program="p", credit=1000),
            self.attempt("program.predict", asked, session="s"),
            self.attempt("program.update", {"state": {"self": {"lm": name}}}, program="p"),
        )

    async def _with_config(self, number: int, config: dict[str, Any]) -> None:
        asked = {"inputs": {"question": "x"}}
        specs = [{**PLAIN, "options": {"config": config}}, {**PLAIN, "options": config}]
        await asyncio.gather(
            *(self.attempt("program.create", {"spec": spec}, program=f"q{number}") for spec in specs),
            *(
                self.attempt("program.update", {"spec": spec}, program="p", write_id="first")
                for spec in specs
            ),
            *(self.attempt("program.predict", {**asked, "spec": spec}) for spec in specs),
            self.attempt("program.predict", {**asked, "config": config}, program="p"),
            self.attempt("program.predict", {**asked, "config": config}, session="s"),
            self.attempt("program.predict", {**asked, "lm": config}, program="p"),
            self.attempt("program.update", {"state": {"self": {"lm": config}}}, program="p"),
            self.attempt("program.update", config, program="p"),
            self.attempt("session.open", config, program="chat"),
        )

    async def _documents(self) -> None:
        """DSPy's own form, which holds whole models, and ours, bent."""
        exported = await self.attempt("program.export", {"format": "dspy"}, program="p")
        text = json.dumps({**json.loads(exported["document"]), "lm": LM_STATE, "traces": [LM_STATE]})
        asked = {"document": text, "format": "dspy", "spec": PLAIN}
        assert await self.attempt("program.import", asked, program="from-dspy")
        ours = json.loads((await self.attempt("program.export", {}, program="p"))["document"])
        ours["versions"][0]["content"]["state"]["self"]["lm"] = LM_STATE
        await self.attempt("program.import", {"document": json.dumps(ours)}, program="bent")
        for program in ("from-dspy", "p"):
            await self.attempt("program.export", {"versions": "all"}, program=program)
            await self.attempt("program.diff", {"old": 1, "new": 1}, program=program)


async def greet_badly(address: str) -> None:
    """Clients whose hello is refused, by what stands in it."""
    key = canary("hello-key")
    for lms in (
        {"m": {"model": "openai/x", "api_key": key}},
        {"m": {"model": "openai/x", "options": key}},
        {"m": {"model": "openai/x", "credentials": {"key": key}}},
        {"m": {"model": "openai/x", "temperature": key}},
        {"m": {"model": key * 20}},
        {"m": key},
    ):
        with pytest.raises(DSPexError):
            async with Recorder.connect(address, lms=lms, secrets={"a": key}):
                pass
    with pytest.raises(DSPexError):
        async with Recorder.connect(address, secrets=cast("dict[str, str]", {"a": [key]})):
            pass


def words_of(client: Client, password: str) -> bytes:
    """Command lines of all processes of a server, and the store's password in workers' environments."""
    server = psutil.Process(client.server_pid)
    words = b""
    for process in [server, *server.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
            command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            words += command
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            if b"dspex_bridge" in command and password.encode() in environment:
                words += environment
    return words


def printed(place: Place) -> bytes:
    """What the commands print that know the store's address."""
    said = b""
    for command in (
        "config",
        "state list",
        "state verify",
        "state show from-dspy",
        "state export chat --all",
    ):
        for more in ([], ["--json"]):
            done = subprocess.run(
                [sys.executable, "-m", "dspex_pool", *command.split(), *more],
                capture_output=True,
                check=False,
                env={**os.environ, "DSPEX_STORE": place.url},
            )
            assert done.returncode == 0, (command, done)
            said += done.stdout + done.stderr
    return said


@asynccontextmanager
async def visited(place: Place, folder: Path, plant: dict[str, str]) -> AsyncGenerator[Seen]:
    """A server that has been given all credentials, and what is seen of it then."""
    seen = Seen()
    Recorder.heard.clear()
    environment = {**QUIET, **ENVIRONMENT, "DSPEX_STORE": place.url, **plant}
    address = f"unix:{folder}/socket"
    with indiscreet_provider() as provider:
        models = language_models(provider)
        if place.every > 1:  # real ones take seconds to import
            models = {"default": models["default"]}
        async with serving(
            *("--listen", f"stdio,{address}", "--workers", "1"),
            environment=environment,
            lms=models,
            secrets=SECRETS,
            notes=("log", "event"),
            stderr=folder / "stderr",
            client_type=Recorder,
        ) as client:
            await wait_for(client, has_ready(1))
            visit = Visit(client, place.every)
            await visit.everything(models)
            await greet_badly(address)
            seen.words = words_of(client, place.url.rpartition("@")[0][-20:] or "no password")
            seen.frames = bytes(Recorder.heard)
            seen.codes = visit.codes
            seen.store = place.content()
    seen.stderr = (folder / "stderr").read_bytes()
    yield seen


async def test_no_credential_is_seen_again(place: Place, tmp_path: Path) -> None:
    """Wherever one looks. Calls were answered, records were written, and requests were refused."""
    assert count() >= 40
    async with visited(place, tmp_path, {}) as seen:
        seen.store += place.content()
        seen.printed = printed(place)
    assert set() == seen.leaks()
    assert "invalid_argument" in seen.codes
    assert ("lm_auth" in seen.codes) == (place.every == 1)
    assert {"internal", "store_unavailable", "store_refused"}.isdisjoint(seen.codes)
    assert b"question" in seen.store
    assert b"DSPEX_STORE" in seen.printed
    assert b"dspex_bridge" in seen.words


SECRETS_AS_NOTES: Final = """
    from dspex_pool import host, program_methods
    heard = []
    accept = host.Host.accept
    def listen(self, connection, hello):
        heard.append(str(hello.secrets))
        return accept(self, connection, hello)
    host.Host.accept = listen
    lineage = program_methods.Lineage
    program_methods.Lineage = lambda **given: lineage(**{**given, "note": heard[0]})
"""
QUOTING_ERRORS: Final = """
    import dspex_protocol.errors as errors
    errors.describe_value = repr
"""


@pytest.mark.parametrize(
    ("lines", "places"),
    [(SECRETS_AS_NOTES, {"frames", "store"}), (QUOTING_ERRORS, {"frames"})],
    ids=["in records", "in errors"],
)
async def test_a_credential_that_leaks_is_found(tmp_path: Path, lines: str, places: set[str]) -> None:
    """The planted defects: secrets of a hello are kept with each version; errors quote what they refuse."""
    async with visited(sqlite_place(tmp_path, SPARSE), tmp_path, planted(tmp_path, "serve", lines)) as seen:
        assert places == seen.leaks() & {"frames", "store"}
