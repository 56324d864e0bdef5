"""Every broken frame of the golden vectors, sent to a server that then must be as it was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from tests.protocol.notation import Vector, read_bytes, vectors
from tests.support.servers import PREDICT, has_ready, info, server_environment, serving, wait_for, worker_pids
from tests.support.survivors import end_marked, new_mark

from dspex_pool.client import Client
from dspex_protocol import (
    CALL,
    FAIL,
    NIL,
    NOTE,
    DSPexError,
    decode_envelope,
    decode_failure,
    decode_value,
    encode,
)

BROKEN_BODIES = [vector for vector in vectors("body") if "error" in vector]
# No bytes at all are no payload: that is a fault of the envelope.
BROKEN_VALUES = [vector for vector in vectors("value") if "error" in vector and read_bytes(vector)]
# Those with a limit of their own have one that the server's setting does not go down to.
CLOSING_STREAMS = [
    vector for vector in vectors("stream") if vector["end"] != "clean" and "max_frame_bytes" not in vector
]


def frame(body: bytes) -> bytes:
    """A body with its length."""
    return len(body).to_bytes(4, "big") + body


async def state(client: Client) -> tuple[set[int], object, object]:
    """What no input may change: workers, programs, open bytes."""
    return (
        await worker_pids(client),
        await client.call("program.list", {}),
        (await info(client))["open_bytes"],
    )


@pytest.mark.slow
async def test_broken_envelopes_change_nothing(client: Client) -> None:
    """Each is answered by a NOTE or a FAIL, and server, workers and store are as before."""
    await client.call("program.create", {"spec": PREDICT}, program="kept")
    before = await state(client)
    for vector in BROKEN_BODIES:
        client.send_raw(frame(read_bytes(vector)))
        assert vector["id"] == await client.call("system.ping", vector["id"])
    assert before == await state(client)
    faults = [note for method, note in client.notes if method == "system.fault"]
    wanted = [vector for vector in BROKEN_BODIES if "note" in vector["answer"]]
    assert [
        [vector["error"], *vector.get("or", [])] for vector in wanted if not _is_among(vector, faults)
    ] == []
    assert len(wanted) == len(faults)


def _is_among(vector: Vector, faults: list[object]) -> bool:
    codes = {fault["code"] for fault in faults if isinstance(fault, dict)}
    return bool(codes & {vector["error"], *vector.get("or", [])})


@pytest.mark.slow
@pytest.mark.parametrize("method", ["system.ping", "system.echo", "program.predict"])
async def test_broken_values_fail_their_call(method: str) -> None:
    """In the supervisor as in a worker: the call ends with its code, and nothing else happens."""
    async with serving() as client:
        await wait_for(client, has_ready(2))
        before = await state(client)
        wrong: list[object] = []
        for vector in BROKEN_VALUES:
            code = await failure_of(client, method, read_bytes(vector))
            if code not in [vector["error"], *vector.get("or", [])]:
                wrong.append((vector["id"], vector["error"], code))
        assert [] == wrong
        assert before == await state(client)


async def failure_of(client: Client, method: str, payload: bytes) -> str:
    """The code that a call with these bytes as its payload ends with."""
    # The client would not write such a payload: it opens the call with another, to the
    # same id, that the server refuses, and the answer to that id is for the raw one.
    call_id, pending = client.open("system.ping", None, {}, items=None)
    await pending.answer
    answer = asyncio.get_running_loop().create_future()
    client._pending[call_id] = type(pending)(answer, None)
    client.send_raw(encode(CALL, call_id, method, {}, payload))
    try:
        return f"a result: {await answer}"
    except DSPexError as failure:
        return failure.code


@contextlib.asynccontextmanager
async def raw_server() -> AsyncGenerator[asyncio.subprocess.Process]:
    """A server that speaks with nobody yet."""
    mark = new_mark()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dspex_pool", "serve", "--workers", "1"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | server_environment(mark),
    )
    try:
        async with asyncio.timeout(30):
            yield process
    finally:
        end_marked(mark)
        await process.wait()


async def next_frame(stdout: asyncio.StreamReader) -> bytes:
    """A frame with its length, once it is there."""
    length = await stdout.readexactly(4)
    return length + await stdout.readexactly(int.from_bytes(length, "big"))


async def until_it_speaks(stdin: asyncio.StreamWriter, stdout: asyncio.StreamReader) -> None:
    """Wait until it refuses a call: one that still imports when its client goes is killed for that."""
    stdin.write(encode(CALL, 1, "system.ping", {}, NIL))
    await next_frame(stdout)


@pytest.mark.parametrize("vector", CLOSING_STREAMS, ids=lambda vector: vector["id"])
async def test_broken_framing_closes(vector: Vector) -> None:
    """The server says why, answers no more, and ends by itself."""
    async with raw_server() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        await until_it_speaks(process.stdin, process.stdout)
        process.stdin.write(read_bytes(vector))
        if vector["end"] == "frame_truncated":
            process.stdin.close()
        frames = split(await process.stdout.read())
        notes = [fields for kind, name, fields in frames if kind == NOTE and name == "system.closing"]
        if vector["end"] == "frame_too_large":
            assert ["frame_too_large"] == [note["code"] for note in notes]
        assert 0 == await process.wait()


def split(data: bytes) -> list[tuple[int, str | None, dict[str, object]]]:
    """Kind, method and payload of each frame of a server's output."""
    found: list[tuple[int, str | None, dict[str, object]]] = []
    while data:
        size = int.from_bytes(data[:4], "big")
        body, data = data[4 : 4 + size], data[4 + size :]
        envelope = decode_envelope(body)
        payload = body[envelope.payload_at :]
        value: Any = decode_value(payload)
        if envelope.kind == FAIL:
            value = {"code": decode_failure(payload).code}
        found.append((envelope.kind, envelope.method, value if isinstance(value, dict) else {}))
    return found


async def test_calls_before_hello_are_refused() -> None:
    """The first call must be hello, whatever it asks for; the connection goes on."""
    async with raw_server() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number, method in enumerate(("system.ping", "system.info", "program.predict"), 1):
            process.stdin.write(encode(CALL, number, method, {}, NIL))
        # Not before all answers are there: a server that has lost its client has half a second to leave.
        frames = split(b"".join([await next_frame(process.stdout) for _ in range(3)]))
        process.stdin.close()
        assert [(FAIL, {"code": "handshake_required"})] * 3 == [(kind, value) for kind, _, value in frames]
        assert b"" == await process.stdout.read()
