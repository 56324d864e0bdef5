"""The crash table: a worker killed at each named point, and what becomes of its calls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.reference import Reference
from tests.support.servers import PREDICT, SIM, has_ready, info, serving, wait_for

from dspex_bridge.worker import failpoints
from dspex_pool.client import Client
from dspex_protocol import DSPexError

WAVES = 4
CALLS_A_WAVE = 6
ITEMS = 4

KEPT = frozenset(("ok",))
COMMITTED = frozenset(("ok", "worker_died"))

LMS = {**SIM, "host": {"model": "host/answer"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One place, and how often it is passed before the kill.

    Attributes:
        at: Which passing is the fatal one.
        stream: Codes that a stream may end with.
        callback: Codes that a prediction by the host's model may end with.
        loses: Whether some call must end with `worker_died`.
    """

    at: int
    stream: frozenset[str] = COMMITTED
    callback: frozenset[str] = COMMITTED
    loses: bool = False


TABLE = {
    "boot.begin": Row(at=1, stream=KEPT, callback=KEPT),
    "boot.ready": Row(at=1, stream=KEPT, callback=KEPT),
    "call.received": Row(at=9),
    "call.started": Row(at=3),
    "program.loaded": Row(at=1),
    "predict.begin": Row(at=5),
    "predict.done": Row(at=5),
    "item.sent": Row(at=7, loses=True),
    "callback.sent": Row(at=3),
    "reply.half_written": Row(at=9),
    "reply.written": Row(at=9),
}


def answer(model: str, messages: list[dict[str, str]], config: object) -> str:
    """The host's model: gives the question back."""
    question = messages[-1]["content"].partition("[[ ## question ## ]]")[2].strip().partition("\n")[0]
    return f"[[ ## answer ## ]]\n{question}\n\n[[ ## completed ## ]]"


class Load:
    """Calls of every kind, each with its own nonce; what each ended with, by kind."""

    def __init__(self, client: Client, expected: dict[str, object]) -> None:
        self._client = client
        self._expected = expected
        self.codes: dict[str, Counter[str]] = {"plain": Counter(), "stream": Counter(), "callback": Counter()}

    async def run(self) -> None:
        """A few waves, so that the failpoint is met in the middle of work."""
        for wave in range(WAVES):
            nonces = [f"nonce {wave}-{number}" for number in range(CALLS_A_WAVE)]
            await asyncio.gather(
                *(self._count("plain", self._nonce(nonce)) for nonce in nonces),
                *(self._count("plain", self._predict(nonce)) for nonce in nonces),
                *(self._count("stream", self._stream()) for _ in nonces),
                *(self._count("callback", self._ask_host(nonce)) for nonce in nonces),
            )

    async def _count(self, kind: str, call: Awaitable[None]) -> None:
        try:
            await call
        except DSPexError as failure:
            assert failure.maybe_executed
            self.codes[kind][failure.code] += 1
        else:
            self.codes[kind]["ok"] += 1

    async def _nonce(self, nonce: str) -> None:
        assert nonce == await self._client.call("misbehave.nonce", {"nonce": nonce, "pause_ms": 1})

    async def _predict(self, nonce: str) -> None:
        assert self._expected[nonce] == (await self._client.predict("qa", {"question": nonce}))["answer"]

    async def _stream(self) -> None:
        stream = self._client.stream_call("misbehave.stream", {"count": ITEMS})
        numbers = [item["number"] async for item in stream]  # type: ignore[index]
        try:
            assert ITEMS == (await stream.result()).value
        except DSPexError as failure:
            assert len(numbers) == failure.details["last_seq"] + 1  # type: ignore[operator]
            raise
        finally:
            assert list(range(len(numbers))) == numbers

    async def _ask_host(self, nonce: str) -> None:
        assert nonce == (await self._client.predict("qa", {"question": nonce}, lm="host"))["answer"]


@pytest.fixture(scope="module")
def expected() -> dict[str, object]:
    """The right answer for each nonce."""
    nonces = [f"nonce {wave}-{number}" for wave in range(WAVES) for number in range(CALLS_A_WAVE)]
    signature = str(PREDICT["signature"])
    given = Reference().predict_all([("Predict", signature, {"question": nonce}) for nonce in nonces])
    return {nonce: fields["answer"] for nonce, fields in zip(nonces, given, strict=True)}


def test_the_table_has_every_place() -> None:
    """No place where a kill could hurt goes untried."""
    assert list(failpoints.NAMES) == list(TABLE)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
async def test_kill_at(name: str, expected: dict[str, object], tmp_path: Path) -> None:
    """One worker dies there: no call is lost, doubled or crossed, and the pool is whole again."""
    row, marker = TABLE[name], tmp_path / "fired"
    armed = {"DSPEX_FAILPOINT": f"{name}:{row.at}:kill", "DSPEX_FAILPOINT_ONCE": str(marker)}
    async with serving(environment=armed, functions={"answer": answer}, lms=LMS) as client:
        await client.call("program.create", {"spec": PREDICT}, program="qa")
        load = Load(client, expected)
        await load.run()
        assert marker.exists()
        assert {"ok"} == set(load.codes["plain"])
        assert row.stream >= set(load.codes["stream"])
        assert row.callback >= set(load.codes["callback"])
        assert row.loses <= load.codes["stream"]["worker_died"]
        assert [WAVES * CALLS_A_WAVE * n for n in (2, 1, 1)] == [sum(c.values()) for c in load.codes.values()]
        snapshot = await wait_for(client, has_ready(2))
        deaths = 0 if name.startswith("boot.") else 1  # what never was ready is a boot that failed
        assert (deaths, 0, 0) == (snapshot["worker_deaths"], snapshot["waiting"], snapshot["open_bytes"])
        assert 0 == client.strays


@pytest.mark.slow
@pytest.mark.parametrize("method", ["misbehave.exit", "misbehave.crash"])
async def test_a_call_that_kills_is_given_up(client: Client, method: str) -> None:
    """A call under which worker after worker dies is refused as poisoned, and others go on."""
    bystanders = [
        asyncio.create_task(client.call("misbehave.nonce", {"nonce": n, "pause_ms": 2})) for n in range(20)
    ]
    with pytest.raises(DSPexError) as refusal:
        await client.call(method, {})
    assert "poisoned" == refusal.value.code
    for number, bystander in enumerate(bystanders):
        try:
            assert number == await bystander
        except DSPexError as failure:  # it may have been in all the workers that died
            assert "poisoned" == failure.code
    assert 3 == (await info(client))["worker_deaths"]
