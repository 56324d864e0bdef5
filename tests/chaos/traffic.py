"""Constant mixed load: callers that call on and on, each call with a nonce of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from random import Random
from time import monotonic
from typing import Final

from dspex_pool.client_functions import HostFunction
from dspex_pool.replies import END, STREAM_CREDIT, Pending
from tests.support.servers import PREDICT, SIM

from .history import CallRecord, Kind
from .recorder import NONCE, Recorder
from .scene import PATIENCE_S

CALL_DEADLINE_S: Final = 20.0
"""More than a hanging zygote costs, so that a fault excuses few."""
PROGRAM: Final = "chaos"
LMS: Final[Mapping[str, object]] = {
    **SIM,
    "echo": {"model": "host/echo"},
    "refuse": {"model": "host/refuse"},
}


async def echo(model: str, messages: list[dict[str, str]], config: object) -> str:
    """A host's model that answers with the nonce that it is asked."""
    return f"[[ ## answer ## ]]\n{_nonce_in(messages)}\n\n[[ ## completed ## ]]"


async def refuse(model: str, messages: list[dict[str, str]], config: object) -> str:
    """A host's model that fails."""
    raise RuntimeError(f"asked to refuse {_nonce_in(messages)}")


def _nonce_in(messages: list[dict[str, str]]) -> str:
    found = NONCE.search(messages[-1]["content"])
    return found[0] if found else "no nonce came"


FUNCTIONS: Final[Mapping[str, HostFunction]] = {"echo": echo, "refuse": refuse}


async def prepare(client: Recorder) -> None:
    """Store the program that callbacks go through."""
    await client.call("program.create", {"spec": dict(PREDICT)}, program=PROGRAM)


class Traffic:
    """So many callers at once.

    Args:
        client: Who calls.
        callers: How many calls are open at a time.
        seed: For the mix, the pauses and the moments of cancels.
    """

    def __init__(self, client: Recorder, callers: int, seed: int) -> None:
        self._client = client
        self._callers = callers
        self._seed = seed
        self._going = False
        self.made = 0

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Callers are at work inside; afterwards each has ended its last call."""
        self._going = True
        callers = [
            asyncio.create_task(self._call_on(Random(f"{self._seed}/{n}"))) for n in range(self._callers)
        ]
        try:
            yield
        finally:
            self._going = False
            await asyncio.gather(*callers)

    async def _call_on(self, random: Random) -> None:
        while self._going:
            kind = random.choices(list(_MIX), [weight for weight, _ in _MIX.values()])[0]
            await _MIX[kind][1](self._client, random)
            self.made += 1
            await asyncio.sleep(random.uniform(0, 0.004))


async def _settled(record: CallRecord, pending: Pending) -> None:
    """Wait for an outcome as long as one may come; which it is, is for the checker."""
    left_s = record.deadline_s - monotonic() + PATIENCE_S
    await asyncio.wait([pending.answer], timeout=left_s)
    if pending.answer.done() and not pending.answer.cancelled():
        pending.answer.exception()  # it has been looked at


async def _ok(client: Recorder, random: Random) -> None:
    nonce = client.next_nonce()
    payload = {"nonce": nonce, "pause_ms": random.choice((0, 0, 1, 3, 20))}
    await _settled(*client.begin(Kind.OK, "nonces.give", payload, nonce, deadline_s=CALL_DEADLINE_S))


async def _error(client: Recorder, random: Random) -> None:
    nonce = client.next_nonce()
    payload = {"nonce": nonce, "pause_ms": random.choice((0, 5))}
    await _settled(*client.begin(Kind.ERROR, "nonces.refuse", payload, nonce, deadline_s=CALL_DEADLINE_S))


async def _cancel(client: Recorder, random: Random) -> None:
    """Given up at a moment when it may wait, begin, run or just have ended."""
    nonce = client.next_nonce()
    payload = {"nonce": nonce, "pause_ms": random.choice((0, 5, 30))}
    record, pending = client.begin(Kind.CANCEL, "nonces.give", payload, nonce, deadline_s=CALL_DEADLINE_S)
    await asyncio.sleep(random.choice((0, 0.001, 0.005, 0.03)))
    client.give_up(record)
    await _settled(record, pending)


async def _stubborn(client: Recorder, random: Random) -> None:
    """Given up, but not willing: it keeps its place, which nobody else may get."""
    nonce = client.next_nonce()
    payload = {"nonce": nonce, "pause_ms": 3_600_000, "stubborn_ms": random.choice((60, 150))}
    record, pending = client.begin(Kind.STUBBORN, "nonces.give", payload, nonce, deadline_s=CALL_DEADLINE_S)
    await asyncio.sleep(random.choice((0.005, 0.03)))
    client.give_up(record)
    await _settled(record, pending)


async def _deadline(client: Recorder, random: Random) -> None:
    nonce = client.next_nonce()
    payload = {"nonce": nonce, "pause_ms": 3_600_000}
    await _settled(
        *client.begin(Kind.DEADLINE, "nonces.give", payload, nonce, deadline_s=random.uniform(0.01, 0.3))
    )


async def _stream(client: Recorder, random: Random) -> None:
    nonce = client.next_nonce()
    payload = {"nonce": nonce, "count": random.choice((1, 5, 60)), "pause_ms": random.choice((0, 1))}
    record, pending = client.begin(
        Kind.STREAM, "nonces.stream", payload, nonce, deadline_s=CALL_DEADLINE_S, credit=STREAM_CREDIT
    )
    with suppress(TimeoutError):
        await asyncio.wait_for(_read_items(client, record, pending), CALL_DEADLINE_S + PATIENCE_S)
    await _settled(record, pending)


async def _read_items(client: Recorder, record: CallRecord, pending: Pending) -> None:
    assert pending.items is not None
    while await pending.items.get() is not END:
        client.credit(record.id, 1)


async def _callback(client: Recorder, random: Random) -> None:
    """Through a stored program and the host's own model, and back."""
    await _predict(client, Kind.CALLBACK, "echo")


async def _callback_error(client: Recorder, random: Random) -> None:
    await _predict(client, Kind.CALLBACK_ERROR, "refuse")


async def _predict(client: Recorder, kind: Kind, lm: str) -> None:
    nonce = client.next_nonce()
    payload = {"inputs": {"question": f"what is {nonce}?"}, "lm": lm}
    await _settled(
        *client.begin(kind, "program.predict", payload, nonce, deadline_s=CALL_DEADLINE_S, program=PROGRAM)
    )


_MIX: Final[dict[Kind, tuple[float, Callable[[Recorder, Random], Awaitable[None]]]]] = {
    Kind.OK: (40, _ok),
    Kind.ERROR: (10, _error),
    Kind.CANCEL: (20, _cancel),
    Kind.STUBBORN: (2, _stubborn),
    Kind.DEADLINE: (8, _deadline),
    Kind.STREAM: (10, _stream),
    Kind.CALLBACK: (8, _callback),
    Kind.CALLBACK_ERROR: (2, _callback_error),
}
