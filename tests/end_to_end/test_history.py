"""History with a real server: calls of several workers in one place, and no prompt where none was wanted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar, Final, cast

import pytest
from tests.support.servers import has_ready, serving, wait_for

from dspex_pool.client import Client
from dspex_protocol import Oversized

pytestmark = pytest.mark.slow

MARK: Final = "CANARY-77aa"
SPEC: Final = {"module": "ChainOfThought", "signature": "question -> answer"}
CHAT: Final = {"module": "Predict", "signature": "question, history: history -> answer"}


class Recorder(Client):
    """A client that keeps every byte that it was sent."""

    heard: ClassVar = bytearray()

    def _take(self, bodies: list[bytes | Oversized]) -> None:
        for body in bodies:
            assert isinstance(body, bytes)
            self.heard.extend(body)
        super()._take(bodies)


async def history_of(client: Client, payload: object = None, **meta: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", await client.call("program.history", payload or {}, **meta))


async def test_calls_of_all_workers_are_in_one_place() -> None:
    """By program, session and worker; they stay when the workers are replaced."""
    async with serving("--workers", "2", "--history", "redacted") as client:
        await wait_for(client, has_ready(2))
        await client.call("program.create", {"spec": SPEC}, program="qa")
        await client.call("program.create", {"spec": CHAT}, program="chat")
        await client.call("session.open", {}, program="chat", session="s")
        for n in range(3):
            await client.predict(None, {"question": f"{n}?"}, session="s")
        await asyncio.gather(*(client.predict("qa", {"question": f"{n}?"}) for n in range(40)))
        await client.call("pool.recycle", {})
        whole = await history_of(client, {"limit": 1000})
        assert ("redacted", None) == (whole["level"], whole["next"])
        calls = whole["calls"]
        assert 43 == len(calls)
        assert {1, 2} == {call["worker"] for call in calls}
        assert {"ok"} == {call["outcome"] for call in calls}
        assert 40 == len((await history_of(client, {"limit": 1000}, program="qa"))["calls"])
        assert 3 == len((await history_of(client, session="s"))["calls"])
        for worker in (1, 2):
            own = await history_of(client, {"limit": 1000, "worker": worker})
            assert [call for call in calls if call["worker"] == worker] == own["calls"]
        tokens = [request["tokens_in"] for call in calls for request in call["requests"]]
        assert 43 == len(tokens)
        assert all(tokens)


async def test_texts_are_there_where_the_host_said_so() -> None:
    """With the call's prediction too, and from every worker."""
    async with serving("--workers", "1", "--history", "texts") as client:
        prediction = await client.prediction(SPEC, {"question": MARK}, history=True)
        (call,) = (await history_of(client))["calls"]
        assert prediction.requests == call["requests"]
        assert MARK in call["requests"][0]["messages"][-1]["text"]
        await client.prediction(SPEC, {"question": MARK}, history=False)
        assert 1 == len((await history_of(client))["calls"])


@pytest.mark.parametrize("level", ["off", "redacted"])
async def test_no_prompt_is_kept_where_none_was_wanted(level: str, tmp_path: Path) -> None:
    """Not in the history, in a frame besides the call's own answer, in the store, or on stderr."""
    environment = {"DSPEX_STORE": f"sqlite:{tmp_path}/state.db", "DSPEX_LOG_LEVEL": "debug"}
    flags = ("--workers", "1", "--history", level)
    async with serving(
        *flags,
        environment=environment,
        stderr=tmp_path / "stderr",
        client_type=Recorder,
        notes=("log", "event"),
    ) as client:
        await client.call("program.create", {"spec": SPEC}, program="qa")
        for more in ({}, {"history": True}, {"lm": "unknown"}):
            with_error = asyncio.gather(
                client.prediction("qa", {"question": MARK}, **more), return_exceptions=True
            )
            await with_error
        Recorder.heard.clear()  # an answer may say again what was asked
        kept = (await history_of(client))["calls"]
        assert ([] if level == "off" else [1]) == [1 for call in kept if call["number"] == 2]
        assert "text" not in str(kept).replace("context", "")
        for method in ("system.info", "pool.quarantine"):
            await client.call(method, {})
        frames = bytes(Recorder.heard)
        store = b"".join(path.read_bytes() for path in tmp_path.glob("state.db*"))
    for place in (frames, store, (tmp_path / "stderr").read_bytes()):
        assert MARK.encode() not in place
    assert b"characters" in frames
