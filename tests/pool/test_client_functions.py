"""Functions of the Python client, without a server: frames of the server in, frames for it out."""

from __future__ import annotations

import asyncio

from dspex_pool.client_functions import ClientFunctions, HostFunction, calling_id
from dspex_pool.offers import hello_payload
from dspex_protocol import FAIL, REPLY, decode_envelope, decode_failure, decode_value, encode_value
from dspex_protocol.frame import HEADER_BYTES


def functions_and_frames(**by_name: HostFunction) -> tuple[ClientFunctions, asyncio.Queue[bytes]]:
    sent: asyncio.Queue[bytes] = asyncio.Queue()
    functions = ClientFunctions(asyncio.get_running_loop(), sent.put_nowait)
    functions.by_name = by_name
    return functions, sent


def call_of(function: str, **args: object) -> bytes:
    return encode_value({"function": function, "args": args})


async def answer_from(sent: asyncio.Queue[bytes]) -> tuple[int, int, object]:
    """Kind, id, and the value of a REPLY or the error's code of a FAIL."""
    body = (await sent.get())[HEADER_BYTES:]
    envelope = decode_envelope(body)
    payload = body[envelope.payload_at :]
    value = decode_failure(payload).code if envelope.kind == FAIL else decode_value(payload)
    return envelope.kind, envelope.id, value


async def test_a_function_is_called_with_the_args_as_keywords_and_knows_the_call_that_it_is_in() -> None:
    """Plain or a coroutine function; `calling_id` is what goes out as `parent`."""

    async def look(*, name: str) -> list[object]:
        await asyncio.sleep(0)
        return [name, calling_id()]

    def double(*, n: int) -> int:
        return 2 * n

    functions, sent = functions_and_frames(look=look, double=double)

    functions.begin(7, call_of("look", name="Ada"))
    functions.begin(8, call_of("double", n=4))

    answers = [await answer_from(sent), await answer_from(sent)]
    assert [(REPLY, 7, ["Ada", 7]), (REPLY, 8, 8)] == sorted(answers, key=lambda answer: answer[1])
    assert calling_id() is None


async def test_what_goes_wrong_in_a_function_is_told_by_its_code() -> None:
    """Each call has one answer, whatever becomes of the function."""

    def refuse() -> None:
        raise ValueError("no")

    functions, sent = functions_and_frames(refuse=refuse)

    functions.begin(1, call_of("refuse"))
    functions.begin(2, call_of("missing"))
    functions.begin(3, encode_value({"args": {}}))

    assert [
        (FAIL, 1, "function_failed"),
        (FAIL, 2, "unknown_function"),
        (FAIL, 3, "invalid_argument"),
    ] == [await answer_from(sent) for _ in range(3)]


async def test_only_the_call_that_is_cancelled_ends() -> None:
    """A function that is given up sees that, and nothing is sent for it."""
    ended: list[int | None] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(calling_id())

    functions, sent = functions_and_frames(wait=wait, now=lambda: "now")
    functions.begin(1, call_of("wait"))
    functions.begin(2, call_of("wait"))
    functions.begin(3, call_of("now"))
    await answer_from(sent)

    functions.cancel(1)
    functions.cancel(99)
    functions.begin(4, call_of("now"))
    await answer_from(sent)
    assert [1] == ended

    functions.cancel_all()
    functions.begin(5, call_of("now"))
    assert (REPLY, 5, "now") == await answer_from(sent)
    assert [1, 2] == ended
    assert sent.empty()


def test_an_offer_tells_the_names_of_functions_and_leaves_nothing_out() -> None:
    """What is not offered is told as empty."""
    payload = hello_payload({"functions": {"b": print, "a": print}, "notes": None})

    assert ["a", "b"] == payload["functions"]
    assert [{}, {}, [], None, {}] == [
        payload[name] for name in ("lms", "secrets", "notes", "tenant", "tenants")
    ]
