"""Never run: mypy and pyright read it, so that the public names keep their types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, assert_type

from dspex_pool.client import Client
from dspex_pool.replies import Outcome, Stream
from dspex_protocol import (
    CALL,
    CODES,
    NIL,
    CallerError,
    DSPexError,
    Envelope,
    Fault,
    FrameDecoder,
    FunctionReference,
    Hello,
    Kind,
    LMConfig,
    Meta,
    Outbox,
    Oversized,
    ProgramError,
    ServiceError,
    Tagged,
    Tensor,
    Welcome,
    WireError,
    decode_envelope,
    decode_failure,
    decode_value,
    encode,
    encode_failure,
    encode_frame,
    encode_value,
    error,
    invalid_argument,
    read_hello,
)
from dspex_protocol.errors import CodeInfo
from dspex_protocol.records import Doc, Length, Range, describe, read
from dspex_protocol.states import CALL as CALL_STATES
from dspex_protocol.states import CallEvent, CallState, move


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A payload as an operation would declare it."""

    query: Annotated[str, Doc("what to look for"), Length(1, 1000)]
    k: Annotated[int, Range(1, 100)] = 3


def frames(data: bytes) -> None:
    """Bytes in, bodies out, envelope read, payload passed on."""
    decoder = FrameDecoder(max_frame_bytes=4096)
    for body in decoder.feed(data):
        if isinstance(body, Oversized):
            assert_type(body.head, bytes)
            continue
        envelope = assert_type(decode_envelope(body), Envelope)
        assert_type(envelope.kind, int)
        assert_type(envelope.method, str | None)
        assert_type(envelope.meta, Meta)
        assert_type(Kind(envelope.kind), Kind)
        assert_type(decode_value(body[envelope.payload_at :]), object)
    assert_type(decoder.finish(), None)
    assert_type(encode_frame(data), bytes)


def outgoing(outbox: Outbox, meta: Meta) -> None:
    """A frame is built, queued and written."""
    outbox.add(encode(CALL, 1, "system.ping", meta, NIL))
    outbox.add(encode(CALL, 2, "system.ping", {"deadline_ms": 10, "lane": "batch"}, encode_value({"a": [1]})))
    outbox.wrote(len(assert_type(outbox.chunk(), bytes | memoryview)))
    assert_type(outbox.waiting_bytes, int)


def values() -> list[bytes]:
    """Values that Python has no type for."""
    return [
        encode_value(Tensor("f4", (1,), b"\0\0\0\0")),
        encode_value(FunctionReference("lookup")),
        encode_value(Tagged("prediction", {"fields": {}})),
    ]


def failures(failure: DSPexError) -> str:
    """Every error has a code; its branch is a class."""
    assert_type(decode_failure(encode_failure(failure)), DSPexError)
    assert_type(CODES[failure.code], CodeInfo)
    assert_type(CODES[failure.code].fault, Fault)
    assert_type(failure.retry_after_ms, int | None)
    match failure:
        case WireError() | CallerError():
            return failure.message
        case ServiceError() | ProgramError():
            return "later" if failure.retryable else failure.code
        case _:
            raise error("internal", "no such branch", details={"code": failure.code})


def handshake(payload: object) -> Welcome:
    """What came is typed once it was read."""
    hello = assert_type(read_hello(payload), Hello)
    assert_type(hello.lms.get("default"), LMConfig | None)
    return Welcome(server="dspex/0", instance="a", max_frame_bytes=4096, max_queue=1, workers=2)


def records(payload: object) -> Search:
    """One declaration is read, described and seen by the type checkers."""
    assert_type(describe(Search), dict[str, object])
    search = assert_type(read(Search, payload), Search)
    if search.k > len(search.query):
        raise invalid_argument("k", "at most the length of query", search.k)
    return search


def states() -> Callable[[CallState], CallState]:
    """A table moves its own states by its own events only."""
    move(CALL_STATES, CallState.OPEN, CallState.OPEN)  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    return lambda state: move(CALL_STATES, state, CallEvent.ITEM)


async def client() -> None:
    """The Python client: a whole prediction, or its pieces."""
    async with Client.start(lms={"default": {"model": "sim/example"}}) as connected:
        assert_type(connected, Client)
        spec = {"module": "Predict", "signature": "question -> answer"}
        assert_type(await connected.predict(spec, {"question": "Why?"}), dict[str, object])
        assert_type(await connected.call("system.echo", [1, 2], deadline_ms=1000), object)
        stream = assert_type(connected.stream(spec, {"question": "Why?"}), Stream)
        async for item in stream:
            assert_type(item, object)
        outcome = assert_type(await stream.result(), Outcome)
        assert_type(outcome.meta, Meta)
    Client.start(lm={"model": "sim/example"})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Client.connect("unix:pool", notes=[1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
