"""The worker loop, frame by frame: what is announced before it runs, and what a bad frame costs."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from importlib.metadata import version

import pytest
from tests.support.fakes import Frame, body_of, read_frame

from dspex_bridge.operations import OPERATIONS
from dspex_bridge.programs.builder import Builder
from dspex_bridge.programs.records import Spec
from dspex_bridge.rows import Operation
from dspex_bridge.worker.calls import RunningCall
from dspex_bridge.worker.serve import WorkerProcess
from dspex_protocol import CALL, CANCEL, CREDIT, FAIL, ITEM, NOTE, REPLY, FrameDecoder, Meta, encode_frame


class Wired:
    """A worker in this process, and the supervisor's end of its wire."""

    def __init__(self) -> None:
        self.supervisor, worker = socket.socketpair()
        self.supervisor.setblocking(False)
        self.descriptor = worker.detach()
        os.set_blocking(self.descriptor, False)
        self.worker = WorkerProcess(self.descriptor, asyncio.get_running_loop())
        self.running = asyncio.ensure_future(self.worker.run())
        self._decoder = FrameDecoder(1 << 24)

    def say(self, *bodies: bytes) -> None:
        """Send frames, in one write."""
        self.supervisor.sendall(b"".join(map(encode_frame, bodies)))

    def hear(self) -> list[Frame]:
        """The frames that have been written, as far as they have."""
        try:
            bodies = self._decoder.feed(self.supervisor.recv(1 << 20))
        except BlockingIOError:
            return []
        return [read_frame(encode_frame(body)) for body in bodies if isinstance(body, bytes)]

    async def answers(self, number: int) -> list[Frame]:
        """The next so many outcomes and notes."""
        frames: list[Frame] = []
        async with asyncio.timeout(30):
            while len(frames) < number:
                await asyncio.sleep(0)
                frames += self.hear()
        return frames


@pytest.fixture
async def wired() -> AsyncIterator[Wired]:
    made = Wired()
    await asyncio.sleep(0)
    yield made
    made.supervisor.close()
    await made.running
    made.worker.threads.shutdown()
    os.close(made.descriptor)


async def test_what_has_effects_is_announced_before_it_runs_inline(wired: Wired) -> None:
    """And the calls before it are begun first: the announcement covers them."""
    heard: list[tuple[int, object]] = []

    def run(worker: object, call: RunningCall, value: object) -> None:
        heard.extend((frame.kind, frame.meta.get("up_to")) for frame in wired.hear())

    async def slow(worker: object, call: RunningCall, value: object) -> None:
        return None

    wired.worker.operations |= {
        "test.pay": Operation(
            method="test.pay", parameters=None, run=run, inline=True, effects=True, doc="Pays."
        ),
        "test.slow": Operation(method="test.slow", parameters=None, run=slow, doc="Waits."),
    }
    wired.say(body_of(CALL, 1, "test.slow", {}, None), body_of(CALL, 2, "test.pay", {}, None))
    outcomes = await wired.answers(2)
    assert [(NOTE, 1), (NOTE, 2)] == heard
    assert {1, 2} == {frame.id for frame in outcomes}


async def test_what_has_no_effects_costs_no_announcement(wired: Wired) -> None:
    """An echo is one frame."""
    wired.worker.operations["test.echo"] = replace(OPERATIONS["system.echo"], method="test.echo")
    wired.say(body_of(CALL, 1, "test.echo", {}, "a"))
    assert [(REPLY, 1)] == [(frame.kind, frame.id) for frame in await wired.answers(1)]


async def test_a_bad_frame_takes_no_other_with_it(wired: Wired) -> None:
    """Neither those before it nor those behind it, nor the worker."""
    echo = [body_of(CALL, number, "system.echo", {}, number) for number in (1, 2, 3)]
    wired.say(echo[0], b"\xc1", echo[1], b"\x95\x07", echo[2])
    assert [1, 2, 3] == [frame.value for frame in await wired.answers(3)]


async def endless(worker: object, call: RunningCall, value: object) -> None:
    """An operation that ends when it is asked to."""
    await asyncio.get_running_loop().create_future()


async def generous(worker: object, call: RunningCall, value: object) -> None:
    """An operation with two items."""
    await call.emit({"item": 1})
    await call.emit({"item": 2})


@pytest.mark.parametrize(
    ("run", "meta", "then", "expected"),
    [
        (endless, {}, body_of(CANCEL, 1, None, {}, None), [NOTE, FAIL]),
        (generous, {"credit": 1}, body_of(CREDIT, 1, None, {"n": 1}, None), [NOTE, ITEM, ITEM, REPLY]),
    ],
    ids=["cancel", "credit"],
)
async def test_what_comes_with_its_call_counts(
    wired: Wired,
    run: Callable[[object, RunningCall, object], Awaitable[None]],
    meta: Meta,
    then: bytes,
    expected: list[int],
) -> None:
    """CANCEL and CREDIT in the same read as their CALL, before its task has begun."""
    wired.worker.operations["test.run"] = Operation(method="test.run", parameters=None, run=run, doc="Runs.")
    wired.say(body_of(CALL, 1, "test.run", meta, None), then)
    assert expected == [frame.kind for frame in await wired.answers(len(expected))]


RECORD = {
    signature: Builder().build(Spec(module="Predict", signature=signature)).record()
    for signature in ("a -> b", "c -> d")
}
MINE: Meta = {"program": "p", "version": 1}


@pytest.mark.parametrize(
    "then",
    [
        body_of(CALL, 3, "program.forget", MINE, None),
        body_of(CALL, 3, "program.load", MINE, RECORD["c -> d"]),
    ],
    ids=["forget", "load"],
)
async def test_a_call_runs_the_program_that_was_here_when_it_came(wired: Wired, then: bytes) -> None:
    """Frames of the same read forget or replace it before its task begins."""
    wired.say(
        body_of(CALL, 1, "program.load", MINE, RECORD["a -> b"]),
        body_of(CALL, 2, "program.predict", MINE, {"inputs": {}}),
        then,
    )
    frames = {frame.id: frame for frame in await wired.answers(4) if frame.kind != NOTE}
    assert [REPLY, REPLY] == [frames[1].kind, frames[3].kind]
    assert ("invalid_argument", "inputs.a") == (frames[2].code, frames[2].details["field"])


NOT_TO_BE_BUILT = {**RECORD["a -> b"], "spec": {"module": "Telepathy", "signature": "a -> b"}}


@pytest.mark.parametrize(
    ("build", "record", "expected"),
    [(False, NOT_TO_BE_BUILT, REPLY), (True, NOT_TO_BE_BUILT, FAIL), (True, RECORD["a -> b"], REPLY)],
    ids=["later", "now, in vain", "now"],
)
async def test_a_program_is_built_when_it_is_loaded_if_that_is_asked(
    wired: Wired, build: bool, record: dict[str, object], expected: int
) -> None:
    """One that cannot be built is kept: the call that needs it is told why, whoever loaded it."""
    wired.say(body_of(CALL, 1, "program.load", {**MINE, "build": build}, record))
    (loaded,) = await wired.answers(1)
    assert expected == loaded.kind
    if record is NOT_TO_BE_BUILT:
        wired.say(body_of(CALL, 2, "program.predict", MINE, {"inputs": {"a": "x"}}))
        _, outcome = await wired.answers(2)
        assert ("invalid_argument", "record.spec.module") == (outcome.code, outcome.details["field"])


async def test_a_call_for_a_program_that_was_forgotten_fails_by_itself(wired: Wired) -> None:
    """It never begins, and the calls beside it go on."""
    wired.say(
        body_of(CALL, 1, "program.load", MINE, RECORD["a -> b"]),
        body_of(CALL, 2, "program.forget", MINE, None),
        body_of(CALL, 3, "program.forget", MINE, None),
        body_of(CALL, 4, "program.predict", MINE, {"inputs": {"a": "x"}}),
        body_of(CALL, 5, "system.echo", {}, "alive"),
    )
    answers = await wired.answers(5)
    assert [REPLY, REPLY, REPLY, FAIL, REPLY] == [frame.kind for frame in answers]
    assert ("unknown_program", "alive") == (answers[3].code, answers[4].value)


@pytest.mark.parametrize("meta", [{}, {"program": "p"}, {"version": 1}])
async def test_forgetting_needs_an_id_and_a_version(wired: Wired, meta: Meta) -> None:
    """As loading does."""
    wired.say(body_of(CALL, 1, "program.forget", meta, None))
    (refusal,) = await wired.answers(1)
    assert ("invalid_argument", "meta.program") == (refusal.code, refusal.details["field"])


async def test_a_worker_says_of_which_versions_it_is(wired: Wired) -> None:
    """Those that are installed: whoever goes on with its work may be of others."""
    wired.say(body_of(CALL, 1, "system.hello", {}, {"protocol": "dspex", "versions": [1], "worker": 1}))
    (welcome,) = await wired.answers(1)
    assert {"dspex": version("dspex"), "dspy": version("dspy")} == welcome.fields["versions"]


async def test_the_limit_of_hello_holds_for_results(wired: Wired) -> None:
    """A larger one is refused here, and not thrown away by the supervisor."""
    hello = {"protocol": "dspex", "versions": [1], "worker": 1, "max_frame_bytes": 2000}
    wired.say(body_of(CALL, 1, "system.hello", {}, hello))
    assert [REPLY] == [frame.kind for frame in await wired.answers(1)]
    big = body_of(CALL, 2, "system.echo", {}, b"x" * 1990)
    wired.say(big)
    (refusal,) = await wired.answers(1)
    assert (FAIL, "result_too_large", 2000) == (refusal.kind, refusal.code, refusal.details["limit"])
