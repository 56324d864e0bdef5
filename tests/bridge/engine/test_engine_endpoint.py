"""Requests over real connections: retries, time, bounds, cancelling, and what servers do wrong."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import dspy
import pytest
from dspy.utils.exceptions import LMError
from tests.support.raw_http import Script, raw_server, read_request, saying
from tests.support.sim_http import served

from dspex_bridge.engine import ChatLM, connections, endpoint
from dspex_bridge.engine.hooks import AsyncChatEngine, ChatEngine
from dspex_bridge.failures import to_failure
from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.lms.usage import counting
from dspex_protocol import DSPexError, LMConfig

# DSPy says that dictionaries as messages, which its adapters send, will go.
pytestmark = [pytest.mark.asyncio, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


class QA(dspy.Signature):  # type: ignore[misc]
    """Answer."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


MESSAGES = [{"role": "user", "content": "hi"}]
KEY = "sk-a-key-of-this-test-only"
LONG_S = 30.0  # longer than any of these takes, also on a busy machine


@asynccontextmanager
async def chat(
    base: str, remaining_s: Callable[[], float | None] = lambda: None, **options: Any
) -> AsyncGenerator[ChatLM]:
    """An LM at that address, as a host configures it."""
    lms = LanguageModels(HostFunctions(), remaining_s)
    config = LMConfig(model="openai/own", api_base=base, api_key_secret="k", **options)
    lms.configure({"default": config}, {"k": KEY})
    lm = lms.get(None)
    assert isinstance(lm, ChatLM)
    try:
        with dspy.context(disable_history=True, trace=None):
            yield lm
    finally:
        await lms.aclose()


async def failure_of(lm: dspy.LM, *, stream: bool = False, in_thread: bool = False) -> DSPexError:
    """What the host gets of a call that fails."""
    if stream:
        call: Any = streamed(lm)
    else:
        call = asyncio.to_thread(lm, messages=MESSAGES) if in_thread else lm.acall(messages=MESSAGES)
    with pytest.raises(LMError) as raised:
        await call
    failure = to_failure(raised.value)
    assert KEY not in f"{failure} {failure.details}"
    return failure


async def streamed(lm: dspy.LM) -> list[str]:
    """The tokens of a stream."""
    streamify: Any = dspy.streamify
    program = streamify(
        dspy.Predict(QA),
        stream_listeners=[dspy.streaming.StreamListener("answer")],  # pyright: ignore[reportCallIssue]
        is_async_program=True,
    )
    with dspy.context(lm=lm):
        stream = program(question="hi")
        try:
            items = [item async for item in stream]
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
    return [item.chunk for item in items if isinstance(item, dspy.streaming.StreamResponse)]


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_refused_request_is_repeated_until_it_is_answered(in_thread: bool) -> None:
    """Retry-After as seconds and as a date; the call is counted as one."""
    async with served("429:0.01,503,409,429:date:0,ok") as seen, chat(seen.base, num_retries=4) as lm:
        with counting() as usage:
            if in_thread:
                outputs = await asyncio.to_thread(lm, messages=MESSAGES)
            else:
                outputs = await lm.acall(messages=MESSAGES)
    assert outputs[0].startswith("sim: ")
    assert len(seen.bodies) == 5
    assert usage.meta()["lm_calls"] == 1


@pytest.mark.parametrize("long_way", [False, True], ids=["short way", "DSPy's way"])
@pytest.mark.parametrize("num_retries", [0, 2])
async def test_there_is_one_layer_of_retries(num_retries: int, long_way: bool) -> None:
    """DSPy makes none of its own on top: so many requests, and no more."""
    async with served("503:0," * 20) as seen, chat(seen.base, num_retries=num_retries) as lm:
        with dspy.context(disable_history=not long_way):
            assert (await failure_of(lm)).code == "lm_unavailable"
    assert len(seen.bodies) == 1 + num_retries


async def test_what_time_does_not_mend_is_not_repeated() -> None:
    """A bad key stays a bad key."""
    async with served("401,400,ok") as seen, chat(seen.base, num_retries=5) as lm:
        assert (await failure_of(lm)).code == "lm_auth"
        assert (await failure_of(lm)).code == "lm_invalid_request"
    assert len(seen.bodies) == 2


async def test_a_wait_beyond_the_calls_time_is_not_begun() -> None:
    """The caller learns at once when to come back."""
    async with served("429:20,ok") as seen, chat(seen.base, lambda: 10.0, num_retries=3) as lm:
        failure = await asyncio.wait_for(failure_of(lm), LONG_S / 2)
    assert (failure.code, failure.retry_after_ms) == ("lm_rate_limited", 20_000)
    assert len(seen.bodies) == 1


async def test_a_stream_is_repeated_before_its_first_token_and_never_after() -> None:
    """What a caller has seen is not said twice."""
    async with served("503:0,ok") as seen, chat(seen.base, num_retries=3) as lm:
        assert "".join(await streamed(lm)).startswith("sim: ")
        assert len(seen.bodies) == 2
    async with served("cut,ok,ok,ok") as seen, chat(seen.base, num_retries=3) as lm:
        assert (await failure_of(lm, stream=True)).code == "lm_unavailable"
        assert len(seen.bodies) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["stall", "drip"])
async def test_a_provider_that_does_not_get_on_is_given_up(fault: str, stream: bool) -> None:
    """Nothing at all, or single bytes: both have the same time."""
    async with served(fault) as seen, chat(seen.base, timeout_s=0.3) as lm:
        failure = await asyncio.wait_for(failure_of(lm, stream=stream), LONG_S)
        assert failure.code == "lm_timeout"
        await abandoned(seen.base, 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_without_an_end_is_refused(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded, and the connection is closed."""
    monkeypatch.setattr(endpoint, "MAX_STREAM_BYTES", 200_000)
    monkeypatch.setattr(endpoint, "MAX_ANSWER_BYTES", 1_000_000)
    async with served("endless") as seen, chat(seen.base) as lm:
        failure = await asyncio.wait_for(failure_of(lm, stream=stream), LONG_S)
        assert failure.code == "lm_error"
        await abandoned(seen.base, 1)


async def abandoned(base: str, count: int) -> None:
    """Wait until the server has seen so many clients leave."""
    address = base.removesuffix("/v1") + "/sim/stats"
    async with asyncio.timeout(LONG_S), aiohttp.ClientSession() as session:
        while True:
            async with session.get(address) as response:
                if (await response.json())["abandoned"] >= count:
                    return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("long_way", [False, True], ids=["short way", "DSPy's way"])
async def test_cancelling_a_call_cancels_its_request(long_way: bool) -> None:
    """The provider sees that nobody waits any more."""
    async with served("stall") as seen, chat(seen.base) as lm:
        with dspy.context(disable_history=not long_way):
            call = asyncio.create_task(lm.acall(messages=MESSAGES))
        while not seen.bodies:
            await asyncio.sleep(0.01)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        await abandoned(seen.base, 1)


async def test_a_halted_stream_closes_its_connection() -> None:
    """After the first event nobody reads on."""
    async with served("stall") as seen, chat(seen.base) as lm:
        request = dspy.lm15.Request(model="openai/own", messages=(dspy.lm15.Message.user("hi"),))
        events = AsyncChatEngine(lm._endpoint, lm).stream(request)
        assert (await anext(events)).type == "start"
        await events.aclose()
        await abandoned(seen.base, 1)


async def test_a_halted_stream_in_a_thread_closes_its_connection() -> None:
    """The same for programs without an async form."""
    async with served("stall") as seen, chat(seen.base) as lm:
        request = dspy.lm15.Request(model="openai/own", messages=(dspy.lm15.Message.user("hi"),))

        def halt() -> str:
            events = ChatEngine(lm._endpoint, lm).stream(request)
            first = next(events)
            events.close()
            return str(first.type)

        assert await asyncio.to_thread(halt) == "start"
        await abandoned(seen.base, 1)


async def test_connections_are_kept_and_shared() -> None:
    """One for many calls of several LMs, after errors and streams too; one more for threads."""
    async with served("429,ok,length") as seen:
        lms = LanguageModels(HostFunctions())
        lms.configure({name: LMConfig(model=f"openai/{name}", api_base=seen.base) for name in "ab"}, {})
        with dspy.context(disable_history=True, trace=None):
            await failure_of(lms.get("a"))
            for name in "abab":
                await lms.get(name).acall(messages=MESSAGES)
            await streamed(lms.get("b"))
            await lms.get("a").acall(messages=MESSAGES)
            first = len(set(seen.peers))
            for name in "abab":
                await asyncio.to_thread(lms.get(name), messages=MESSAGES)
        await lms.aclose()
    assert first == 1
    assert len(set(seen.peers)) == 2


async def test_closed_connections_are_opened_again() -> None:
    """`aclose` is no end."""
    async with served() as seen, chat(seen.base) as lm:
        for _ in range(2):
            await lm.acall(messages=MESSAGES)
            await asyncio.to_thread(lm, messages=MESSAGES)
            await lm._endpoint.connections.aclose()
    assert len(set(seen.peers)) == 4


ANSWER = json.dumps({"model": "own", "choices": [{"message": {"content": "yes"}}]}).encode()
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(ANSWER),
    ANSWER,
)


async def test_a_connection_that_went_stale_is_replaced() -> None:
    """Servers close idle connections when they like; the request is not lost to that."""
    requests = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await read_request(reader)
        writer.write(WHOLE)
        await writer.drain()
        await read_request(reader)  # and this one goes unanswered
        requests += 1

    async with raw_server(once) as base, chat(base) as lm:
        with counting() as usage:
            answers = [await lm.acall(messages=MESSAGES) for _ in range(3)]
    assert answers == [["yes"]] * 3
    assert requests == 2
    assert usage.meta()["lm_calls"] == 3


JSON = b"Content-Type: application/json"
EVENTS = b"Content-Type: text/event-stream"
TOLD = b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}, "finish_reason": %s}]}\n\n'
PIECES = (b"[[ ##", b" answer ##", b" ]]", b"\\n", b"yes", b"\\n\\n", b"[[ ##", b" completed ##", b" ]]")
SECTIONS = b"".join(TOLD % (piece, b"null") for piece in PIECES) + TOLD % (b"", b'"stop"')


def whole(body: bytes) -> bytes:
    """As it is."""
    return body


def chunked(body: bytes) -> bytes:
    """In chunks of 7 bytes, the first with an extension, and a line after the last."""
    parts = [body[at : at + 7] for at in range(0, len(body), 7)]
    chunks = [b"%x%s\r\n%s\r\n" % (len(part), b"" if at else b";a=b", part) for at, part in enumerate(parts)]
    return b"".join(chunks) + b"0\r\nX-After: y\r\n\r\n"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "lines", "pack"),
    [
        (b"HTTP/1.0 200 OK", [], whole),
        (b"HTTP/1.0 200 OK", [b"Connection: keep-alive"], whole),
        (b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked"], chunked),
        (b"HTTP/1.1 200", [b"Connection: close"], whole),
    ],
    ids=["HTTP/1.0", "HTTP/1.0 that would keep", "chunks", "no reason, and no length"],
)
async def test_every_way_to_frame_an_answer_is_read(
    status: bytes, lines: list[bytes], pack: Callable[[bytes], bytes], stream: bool
) -> None:
    """Whole and as a stream."""
    kind, body = (EVENTS, SECTIONS + b"data: [DONE]\n\n") if stream else (JSON, ANSWER)
    reply = b"\r\n".join([status, kind, *lines, b"", b""]) + pack(body)
    async with raw_server(saying(reply)) as base, chat(base) as lm:
        if stream:
            assert "".join(await streamed(lm)) == "yes"
        else:
            assert await lm.acall(messages=MESSAGES) == ["yes"]


async def test_a_compressed_answer_that_nobody_asked_for_is_a_typed_error() -> None:
    """It is not unpacked: a small one may become a huge one."""
    script = saying(head(JSON, b"Content-Encoding: gzip") + gzip.compress(ANSWER))
    async with raw_server(script) as base, chat(base) as lm:
        assert (await failure_of(lm)).code == "lm_error"


def head(*lines: bytes, status: bytes = b"200 OK") -> bytes:
    """The head of a reply that ends with its connection."""
    return b"\r\n".join([b"HTTP/1.1 " + status, b"Connection: close", *lines, b"", b""])


ZIPPED = gzip.compress(b" " * 10_000_000)
HOSTILE: dict[str, tuple[Script, bool, str]] = {
    "nothing": (saying(), False, "lm_unavailable"),
    "no HTTP": (saying(b"hello\r\n\r\n"), False, "lm_unavailable"),
    "half a head": (saying(b"HTTP/1.1 200 OK\r\nContent-"), False, "lm_unavailable"),
    "a huge head": (saying(head(b"X: " + b"x" * 1_000_000)), False, "lm_unavailable"),
    "a head without an end": (saying(b"X: y\r\n" * 1000, repeat=True), False, "lm_unavailable"),
    "a length that lies": (saying(head(b"Content-Length: 99999", JSON) + b"{"), False, "lm_unavailable"),
    "a length too large": (saying(head(b"Content-Length: 99999999999", JSON) + b"{"), False, "lm_error"),
    "a bad chunk": (saying(head(b"Transfer-Encoding: chunked", JSON) + b"zz\r\n"), False, "lm_unavailable"),
    "deep JSON": (saying(head(JSON) + b"[" * 200_000), False, "lm_error"),
    "no text": (saying(head(JSON) + b"\xff\xfe\x00"), False, "lm_error"),
    "a bomb": (saying(head(JSON, b"Content-Encoding: gzip") + ZIPPED), False, "lm_error"),
    "an odd error": (saying(head(status=b"500 x") + b"\xff" * 1000), False, "lm_unavailable"),
    "a status of its own": (saying(head(status=b"799 x") + b"{}"), False, "lm_error"),
    "a stream of nothing": (saying(head(EVENTS)), True, "lm_error"),
    "a stream of HTML": (saying(head(EVENTS) + b"<html>" * 1000), True, "lm_error"),
    "a long line": (saying(head(EVENTS) + b"data: ", b"x" * 100_000, repeat=True), True, "lm_error"),
    "events of junk": (saying(head(EVENTS) + b"data: {\n\n"), True, "lm_error"),
    "deep events": (saying(head(EVENTS) + b"data: " + b"[" * 200_000 + b"\n\n"), True, "lm_error"),
    "odd events": (
        saying(head(EVENTS) + b'data: {"choices": [{"delta": {"tool_calls": 7}}]}\n\n'),
        True,
        "lm_error",
    ),
    "an error inside": (
        saying(head(EVENTS) + b'data: {"error": {"code": "rate_limit_exceeded", "message": "no"}}\n\n'),
        True,
        "lm_rate_limited",
    ),
    "no end": (
        saying(head(EVENTS) + b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'),
        True,
        "lm_error",
    ),
}


@pytest.mark.parametrize(("script", "stream", "code"), HOSTILE.values(), ids=HOSTILE.keys())
async def test_whatever_a_server_sends_is_a_typed_error(script: Script, stream: bool, code: str) -> None:
    """Within bounds, without a crash, and without a key in it."""
    async with raw_server(script) as base, chat(base, timeout_s=LONG_S) as lm:
        failure = await asyncio.wait_for(failure_of(lm, stream=stream), LONG_S)
    assert failure.code == code


async def test_a_redirect_is_not_followed() -> None:
    """The key goes to the address that the host gave, and nowhere else."""
    async with served() as elsewhere:
        there = f"Location: {elsewhere.base}/chat/completions".encode()
        script = saying(head(there, b"Content-Length: 0", status=b"307 Temporary Redirect"))
        async with raw_server(script) as base, chat(base) as lm:
            assert (await failure_of(lm)).code == "lm_error"
    assert elsewhere.bodies == []


async def test_a_provider_that_quotes_the_key_tells_it_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the error nor a log has it; `failure_of` looks at the error."""
    body = json.dumps({"error": {"message": f"bad key {KEY}", "code": KEY}}).encode()
    script = saying(head(JSON, b"X-Request-Id: " + KEY.encode(), status=b"401 Unauthorized") + body)
    async with raw_server(script) as base, chat(base) as lm:
        assert (await failure_of(lm)).code == "lm_auth"
        assert KEY not in f"{lm!r} {vars(lm)!r} {lm._endpoint!r} {lm._endpoint.connections!r}"
    assert KEY not in caplog.text


async def test_nobody_there_is_told_so() -> None:
    """A refused connection, and an address that is none."""
    async with raw_server(saying()) as base:
        pass
    for address in (base, "http://127.0.0.1:1/v1"):
        async with chat(address) as lm:
            assert (await failure_of(lm)).code == "lm_unavailable"
            assert (await failure_of(lm, in_thread=True)).code == "lm_unavailable"
    with pytest.raises(DSPexError) as refusal:
        async with chat("http://user:passed@[/v1"):
            pass
    assert refusal.value.code == "invalid_argument"
    assert "passed" not in str(refusal.value)


async def test_a_copy_of_a_program_shares_the_connections() -> None:
    """BestOfN and optimizers copy programs with their LMs, and change the copies' options."""
    async with served() as seen, chat(seen.base) as lm:
        program = dspy.Predict("question -> answer")
        program.set_lm(lm)
        copied = program.deepcopy()
        copied.set_lm(lm.copy(temperature=0.9))
        await program.acall(question="hi")
        await copied.acall(question="hi")
    assert len(set(seen.peers)) == 1
    assert [body.get("temperature") for body in seen.bodies] == [None, 0.9]


async def test_a_fork_has_connections_of_its_own() -> None:
    """A forked process makes its requests, and leaves the parent's connections alone."""
    program = f"""
import asyncio, os, sys, dspy
from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.lms import LanguageModels
from dspex_protocol import LMConfig

lms = LanguageModels(HostFunctions())
lms.configure({{"default": LMConfig(model="openai/own", api_base=sys.argv[1])}}, {{}})
lm = lms.get(None)

def ask():
    with dspy.context(disable_history=True, trace=None):
        return lm(messages={MESSAGES!r})

before = ask()
child = os.fork()
if child == 0:
    os._exit(0 if ask() == before else 1)
assert os.waitpid(child, 0)[1] == 0
assert ask() == before
"""
    async with served() as seen:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "ignore", "-c", program, seen.base, stderr=subprocess.PIPE
        )
        _, errors = await asyncio.wait_for(process.communicate(), 2 * LONG_S)
    assert process.returncode == 0, errors.decode()
    first, child, last = seen.peers
    assert first == last != child


async def test_a_fork_forgets_the_sessions_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the same loop too, which the forked process would share; it does not close them either."""
    pool = connections.Connections()
    parents = pool.session()
    assert pool.session() is parents
    with monkeypatch.context() as forked:
        forked.setattr(os, "getpid", lambda: -1)
        assert pool.session() is not parents
        await pool.aclose()
    assert not parents.closed
    await parents.close()
