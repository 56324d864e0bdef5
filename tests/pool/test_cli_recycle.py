"""`dspex recycle`, `ps` and `drain`: what they ask for, and how they tell what came of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest
from tests.support.snapshots import snapshot

from dspex_pool.cli import drain, ps, recycle
from dspex_pool.cli.connecting import VARIABLE
from dspex_pool.cli.exits import BAD_ARGUMENTS, CALL_FAILED, NO_SERVER, OK
from dspex_pool.cli.recycle import Request, perform
from dspex_pool.client import Client
from dspex_protocol import invalid_argument


class Pool:
    """Stands for a client: workers 1, 2 and 3, of which one more has gone at each look."""

    def __init__(self, *going: int) -> None:
        self.there = [1, 2, 3]
        self.going = list(going)
        self.looks = 0

    async def call(self, method: str, payload: dict[str, Any]) -> object:
        if method == "system.info":
            return self._look()
        assert "pool.recycle" == method
        asked = payload["worker"]
        if asked not in (None, *self.there):
            raise invalid_argument("worker", "the number of a worker that serves", asked)
        wanted = [number for number in self.there if asked in (None, number) and number not in self.going]
        self.going += wanted
        return {"workers": wanted}

    def _look(self) -> object:
        self.looks += 1
        if self.going:
            self.there.remove(self.going.pop(0))
        return {"workers": [{"worker": number} for number in self.there]}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between two looks, and no server is in the environment."""
    monkeypatch.setattr(recycle, "LOOK_AGAIN_S", 0)
    monkeypatch.delenv(VARIABLE, raising=False)


def asked(pool: Pool, *workers: int, wait: bool = False, as_json: bool = False) -> int:
    request = Request(workers=workers or None, wait=wait, json=as_json)
    return asyncio.run(perform(cast("Client", pool), request))


def test_it_prints_which_will_be_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    """And does not wait for it."""
    pool = Pool()
    assert OK == asked(pool, 1, 3)
    assert "replacing workers 1, 3\n" == capsys.readouterr().out
    assert 0 == pool.looks


def test_it_waits_until_the_old_ones_are_gone(capsys: pytest.CaptureFixture[str]) -> None:
    """And tells of each."""
    assert OK == asked(Pool(), wait=True)
    gone = [f"worker {number} has gone" for number in (1, 2, 3)]
    assert ["replacing workers 1, 2, 3", *gone] == capsys.readouterr().out.splitlines()


def test_it_waits_for_one_that_was_going_before(capsys: pytest.CaptureFixture[str]) -> None:
    """The server does not list it, and it is there nevertheless."""
    pool = Pool(3, 2)
    assert OK == asked(pool, 2, wait=True)
    said = ["nothing that is not going already", "worker 2 has gone"]
    assert said == capsys.readouterr().out.splitlines()
    assert [1] == pool.there


def test_of_an_unknown_worker_only_the_error_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Not also that nothing is to do."""
    assert CALL_FAILED == asked(Pool(), 99)
    said = capsys.readouterr()
    assert ("", True) == (said.out, "the number of a worker" in said.err)


def test_an_unknown_worker_does_not_keep_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    """It is an error all the same."""
    assert CALL_FAILED == asked(Pool(), 9, 2, wait=True)
    told = capsys.readouterr()
    assert ["replacing worker 2", "worker 2 has gone"] == told.out.splitlines()
    assert "worker: expected the number of a worker that serves, got 9" in told.err


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    """When all is done."""
    assert OK == asked(Pool(), 1, 2, wait=True, as_json=True)
    assert {"workers": [1, 2]} == json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("words", [[], ["--all", "1"], ["one"], ["--wait"]])
def test_workers_are_named_or_all(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Replacing all of them must be meant."""
    assert BAD_ARGUMENTS == recycle.run([*words, "--connect", "unix:/nowhere"])
    assert "WORKER" in (told := capsys.readouterr().err) or "--all" in told


@pytest.mark.parametrize(("command", "words"), [(ps, []), (recycle, ["--all"]), (drain, [])])
def test_without_an_address_it_says_how_there_is_one(
    command: Any, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """How a server is started, too."""
    assert BAD_ARGUMENTS == command.run(words)
    told = capsys.readouterr().err
    assert "--connect unix:PATH or DSPEX_CONNECT=unix:PATH" in told
    assert "--listen stdio,unix:PATH" in told


@pytest.mark.parametrize(("command", "words"), [(ps, []), (recycle, ["--all"]), (drain, [])])
def test_where_nobody_listens_it_says_so(
    command: Any, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The variable names the server as the option does."""
    monkeypatch.setenv(VARIABLE, "unix:/nowhere/at.all")
    assert NO_SERVER == command.run(words)
    assert "no server at unix:/nowhere/at.all: No such file" in capsys.readouterr().err


def test_open_calls_are_those_of_all_clients() -> None:
    """What a drain waits for."""
    assert 36 == drain.open_calls(snapshot(clients=3))
    assert 0 == drain.open_calls({})
