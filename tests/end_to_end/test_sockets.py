"""One pool for several processes: who comes, who goes, and what that costs the others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.servers import PREDICT, SIM, has_ready, outcome_code, serving, wait_for, workers
from tests.support.sharing import Shared, sharing, start_guest
from tests.support.survivors import marked

from dspex_pool.client import Client
from dspex_protocol import DSPexError

pytestmark = pytest.mark.slow

ONE_PLACE = ("--workers", "1", "--calls-per-worker", "1")
ANSWER = "[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a socket may be."""
    return tmp_path / "pool"


class Waiting:
    """A host's model that says when it was asked, and answers when it is let."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def answer(self, model: str, messages: object, config: object) -> str:
        """One answer."""
        self.asked.set()
        await self.may_answer.wait()
        return ANSWER

    def client(self, shared: Shared) -> contextlib.AbstractAsyncContextManager[Client]:
        """A client whose model this is."""
        lms = {"waiting": {"model": "host/answer"}}
        return Client.connect(shared.address, functions={"answer": self.answer}, lms=lms)


def ask(client: Client) -> asyncio.Task[dict[str, object]]:
    """A prediction by the model that waits."""
    return asyncio.ensure_future(client.predict(PREDICT, {"question": "?"}, lm="waiting"))


async def worker_calls(client: Client, number: int) -> None:
    """Wait until the workers have so many calls together."""
    while number != sum(worker["calls"] for worker in await workers(client)):
        await asyncio.sleep(0.01)


async def end_of(client: Client) -> DSPexError:
    """Wait until the server has ended the connection; what calls are told then."""
    while True:
        try:
            await client.call("system.ping")
        except DSPexError as reason:
            if reason.code == "connection_lost":
                return reason
        await asyncio.sleep(0.01)


async def closing_code(client: Client) -> object:
    """What the server says last, at the end that it makes."""
    await end_of(client)
    method, note = client.notes[-1]
    assert "system.closing" == method
    assert isinstance(note, dict)
    return note["code"]


async def test_clients_share_a_pool_and_not_their_calls(path: Path) -> None:
    """Each gets its own answers, with the same ids; a program of one is there for the other."""
    async with (
        sharing(path) as shared,
        Client.connect(shared.address, lms=SIM) as one,
        Client.connect(shared.address, lms=SIM) as two,
    ):
        echoes = [client.call("system.echo", name) for client, name in ((one, "1"), (two, "2")) * 20]
        assert ["1", "2"] * 20 == await asyncio.gather(*echoes)
        await one.call("program.create", {"spec": PREDICT}, program="shared")
        assert {"answer"} == set(await two.predict("shared", {"question": "?"}))
        assert 0o600 == shared.path.stat().st_mode & 0o777


async def test_a_killed_client_takes_only_its_calls_along(path: Path) -> None:
    """SIGKILL in the middle of three calls: they end, their places are free, another's call goes on."""
    waiting = Waiting()
    # A worker that did not hear of the cancels would be killed after the grace.
    flags = ("--workers", "1", "--grace-s", "300")
    async with sharing(path, *flags) as shared, waiting.client(shared) as client:
        await wait_for(client, has_ready(1))
        (before,) = await workers(client)
        prediction = ask(client)
        await waiting.asked.wait()
        guest = await start_guest(shared.address, 3)
        await worker_calls(client, 4)
        guest.kill()
        await worker_calls(client, 1)
        waiting.may_answer.set()
        assert {"answer": "yes"} == await prediction
        (after,) = await workers(client)
        assert before["pid"] == after["pid"]
        await guest.wait()


async def test_what_waits_gets_the_place_of_a_killed_client(path: Path) -> None:
    """With one place at all."""
    async with (
        sharing(path, *ONE_PLACE, "--grace-s", "300") as shared,
        Client.connect(shared.address) as client,
    ):
        guest = await start_guest(shared.address, 1)
        await worker_calls(client, 1)
        echo = asyncio.ensure_future(client.call("system.echo", "mine"))
        await wait_for(client, lambda snapshot: snapshot["waiting"] == 1)
        guest.kill()
        assert "mine" == await echo
        await guest.wait()


async def test_goodbye_at_a_socket_ends_one_connection(path: Path) -> None:
    """The server and the others go on; without any client too."""
    async with sharing(path) as shared:
        async with Client.connect(shared.address) as one, Client.connect(shared.address) as two:
            await one.call("system.goodbye")
            assert 1 == await two.call("system.echo", 1)
            await end_of(one)
        async with Client.connect(shared.address) as three:
            assert 1 == await three.call("system.echo", 1)


async def test_what_a_client_offered_goes_with_it(path: Path) -> None:
    """Workers are told, so that nobody calls a model whose owner is gone."""
    async with sharing(path, "--workers", "1") as shared, Client.connect(shared.address) as stays:
        async with Client.connect(shared.address, lms=SIM) as goes:
            models = await goes.call("lm.list", {})
            assert isinstance(models, list)
            assert ["default"] == [model["name"] for model in models]
        while await stays.call("lm.list", {}) != []:
            await asyncio.sleep(0.01)


async def test_sigterm_lets_open_calls_end(path: Path) -> None:
    """The one that waits gets its answer, the idle one the reason; then all is gone, with exit code 0."""
    waiting = Waiting()
    async with sharing(path, "--grace-s", "30") as shared, waiting.client(shared) as busy:
        async with Client.connect(shared.address) as idle:
            prediction = ask(busy)
            await waiting.asked.wait()
            ended = asyncio.ensure_future(shared.end())
            assert "draining" == await closing_code(idle)
            assert not ended.done()
            waiting.may_answer.set()
            assert {"answer": "yes"} == await prediction
            assert 0 == await ended
        assert not path.exists()


async def test_a_guest_that_asks_for_a_drain_is_answered(path: Path) -> None:
    """Not before the other one has its answer, although it has no call of its own."""
    waiting = Waiting()
    async with (
        sharing(path) as shared,
        waiting.client(shared) as busy,
        Client.connect(shared.address) as asks,
    ):
        prediction = ask(busy)
        await waiting.asked.wait()
        drained = asyncio.ensure_future(asks.call("pool.drain", {}))
        while "draining" != await outcome_code(busy, "system.ping"):
            await asyncio.sleep(0.01)
        assert not drained.done()
        waiting.may_answer.set()
        assert {"answer": "yes"} == await prediction
        assert await drained is None


async def test_no_client_comes_in_while_the_server_ends(path: Path) -> None:
    """It would wait for a pool that is going."""
    waiting = Waiting()
    async with sharing(path, "--grace-s", "30") as shared, waiting.client(shared) as busy:
        prediction = ask(busy)
        await waiting.asked.wait()
        ended = asyncio.ensure_future(shared.end())
        while "draining" != await outcome_code(busy, "system.ping"):
            await asyncio.sleep(0.01)
        async with asyncio.timeout(10):
            with pytest.raises((DSPexError, OSError)):
                async with Client.connect(shared.address):
                    pass
        waiting.may_answer.set()
        await asyncio.gather(prediction, ended)


async def test_a_server_of_its_own_takes_guests_and_ends_with_its_client(path: Path) -> None:
    """`stdio,unix:PATH`: a guest's end changes nothing, the owner's ends all, and the guest is told."""
    async with serving("--listen", f"stdio,unix:{path}") as owner:
        async with Client.connect(f"unix:{path}") as guest:
            assert 1 == await guest.call("system.echo", 1)
        async with Client.connect(f"unix:{path}") as guest:
            assert 2 == await owner.call("system.echo", 2)
            await owner.call("system.goodbye")
            assert "draining" == await closing_code(guest)
    assert not path.exists()


async def test_a_second_server_is_refused(path: Path) -> None:
    """Exit code 3 and why; the first goes on."""
    async with sharing(path) as shared, Client.connect(shared.address) as client:
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dspex_pool", "serve", "--listen", shared.address),
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await second.communicate()
        assert (3, True) == (second.returncode, b"another server does" in said)
        assert 1 == await client.call("system.echo", 1)


async def test_the_socket_of_a_killed_server_is_replaced(path: Path) -> None:
    """All of it killed at once, so that nobody could clean up."""
    async with sharing(path) as first:
        for pid in marked(first.mark):
            os.kill(pid, signal.SIGKILL)
        await first.process.wait()
    assert path.is_socket()
    async with sharing(path) as second, Client.connect(second.address) as client:
        assert 1 == await client.call("system.echo", 1)


async def test_a_terminal_is_fine_without_stdio(path: Path) -> None:
    """A person starts it by hand and ends it by Ctrl-C."""
    ours, theirs = pty.openpty()
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dspex_pool", "serve", "--listen", f"unix:{path}", "--workers", "1"),
        stdin=theirs,
        stdout=theirs,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        os.close(theirs)
        assert server.stderr is not None
        assert b"dspex.listening" in await server.stderr.readline()
        async with Client.connect(f"unix:{path}") as client:
            assert 1 == await client.call("system.echo", 1)
        server.send_signal(signal.SIGINT)
        assert 0 == await server.wait()
    finally:
        os.close(ours)
        if server.returncode is None:
            server.kill()
            await server.wait()


@pytest.mark.parametrize("by", ["option", "variable"])
async def test_the_shell_can_ask_a_server_that_runs(path: Path, by: str) -> None:
    """`dspex call --connect`, or DSPEX_CONNECT; the server that answers is that one."""
    async with sharing(path) as shared:
        option = ["--connect", shared.address] if by == "option" else []
        asked = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "dspex_pool", "call", "system.info", "--json", *option],
            env=os.environ | ({} if option else {"DSPEX_CONNECT": shared.address}),
            capture_output=True,
            check=True,
        )
        assert json.loads(asked.stdout)["result"]["pid"] in marked(shared.mark)
        assert shared.process.returncode is None
