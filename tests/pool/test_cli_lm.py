"""`dspex lm`: what it prints of language models, and how it ends."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from typing import Any, cast

import pytest

from dspex_pool.cli import lm
from dspex_pool.cli.connecting import VARIABLE
from dspex_pool.cli.exits import BAD_ARGUMENTS, CALL_FAILED, NO_SERVER, OK
from dspex_pool.client import Client

ROW: dict[str, Any] = {"kind": "sim", "prices": None, "problem": None}
SPENT: dict[str, Any] = {
    "lm_calls": 3,
    "lm_ms": 1.0,
    "tokens_in": 40,
    "tokens_out": 5,
    "cost_usd": 0.5,
    "unpriced": 0,
}


class Server:
    """Stands for a client: two models, of which one works."""

    def __init__(self) -> None:
        self.tried: list[str] = []

    async def call(self, method: str, payload: dict[str, Any]) -> object:
        if method == "lm.list":
            prices = {"in": 1.5, "out": 2.0, "by": "host"}
            problem = {"code": "lm_not_configured", "message": "no key"}
            return [
                {**ROW, "name": "bad\x1b[2J", "model": "openai/x", "problem": problem},
                {**ROW, "name": "good", "model": "sim/x", "prices": prices},
            ]
        if method == "lm.usage":
            row = {**SPENT, "tenant": None}
            return {"total": SPENT, "lms": [{**SPENT, "lm": "good"}], "programs": [], "tenants": [row]}
        assert method == "lm.test"
        self.tried.append(payload["lm"])
        told = {"lm": payload["lm"], "model": "m", "latency_ms": 12.4}
        if payload["lm"] == "good":
            return {**told, "ok": True}
        return {**told, "ok": False, "error": {"code": "lm_auth", "message": "the key was refused"}}


@pytest.fixture(autouse=True)
def _nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server is in the environment."""
    monkeypatch.delenv(VARIABLE, raising=False)


def asked(action: str, *names: str, as_json: bool = False) -> int:
    """What one action answers of such a server."""
    given = argparse.Namespace(action=action, names=list(names), json=as_json)
    return asyncio.run(lm._PERFORM[action](cast("Client", Server()), given))  # pyright: ignore[reportPrivateUsage]


def test_a_list_shows_which_can_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    """One a line, and no name steers the terminal."""
    assert asked("list") == OK
    head, bad, good = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["name", "model", "kind", "usable"]
    assert "lm_not_configured" in bad
    assert "\x1b" not in bad
    assert good.split() == ["good", "sim/x", "sim", "yes", "1.5", "2.0"]


def test_each_is_tried_and_one_that_fails_decides(capsys: pytest.CaptureFixture[str]) -> None:
    """The others are tried all the same."""
    assert asked("test") == CALL_FAILED
    bad, good = capsys.readouterr().out.splitlines()
    assert "lm_auth: the key was refused" in bad
    assert good == "good (m): works, 12 ms"


def test_only_those_that_are_named_are_tried(capsys: pytest.CaptureFixture[str]) -> None:
    """And one that works is a success."""
    assert asked("test", "good", as_json=True) == OK
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_what_was_spent_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """The total first; a row without a name stands for all others."""
    assert asked("usage") == OK
    _, total, model, tenant = capsys.readouterr().out.splitlines()
    assert total.split() == ["all", "3", "40", "5", "0.500000", "0"]
    assert model.split()[:2] == ["lm", "good"]
    assert tenant.split()[:2] == ["tenant", "(others)"]


def test_without_a_server_there_is_nothing_to_count(capsys: pytest.CaptureFixture[str]) -> None:
    """A new one has spent nothing."""
    assert lm.run(["usage"]) == BAD_ARGUMENTS
    assert VARIABLE in capsys.readouterr().err
    assert lm.run(["list", "--connect", "tcp:x"]) == BAD_ARGUMENTS
    assert lm.run(["list", "--connect", "unix:/nonexistent/socket"]) == NO_SERVER


def test_the_command_tries_a_model_of_its_own_server() -> None:
    """As a user runs it."""
    ended = subprocess.run(
        [sys.executable, "-m", "dspex_pool", "lm", "test", "--lm", "sim/demo"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (OK, "") == (ended.returncode, ended.stderr)
    assert ended.stdout.startswith("default (sim/demo): works")
