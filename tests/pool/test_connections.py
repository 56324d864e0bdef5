"""A client's connection: hello, what the supervisor answers itself, faults, the end."""

from __future__ import annotations

import pytest
from tests.support.fakes import Client, FakeWorker, Room, body_of

from dspex_protocol import CALL, FAIL, NOTE, REPLY, Oversized, WireError, encode
from dspex_protocol.frame import HEADER_BYTES


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def client(room: Room) -> Client:
    return room.add_client()


@pytest.fixture
def worker(room: Room) -> FakeWorker:
    return room.workers[0]


HELLO = {"protocol": "dspex", "versions": [1]}


def test_hello_opens_the_connection(room: Room) -> None:
    """The reply proves that the server speaks the protocol."""
    client = room.add_client(greet=False)
    reply = client.outcome(client.call("system.hello", HELLO))
    assert ("dspex", 1) == (reply.fields["protocol"], reply.fields["version"])


def test_nothing_goes_before_hello(room: Room) -> None:
    """And hello still works afterwards."""
    client = room.add_client(greet=False)
    for method in ("system.ping", "system.echo", "no.such"):
        assert "handshake_required" == client.outcome(client.call(method)).code
    assert REPLY == client.outcome(client.call("system.hello", HELLO)).kind


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        ({"protocol": "dspex", "versions": [2]}, "handshake_failed"),
        ({"protocol": "http", "versions": [1]}, "invalid_argument"),
        ({**HELLO, "require": ["telepathy"]}, "handshake_failed"),
        ({**HELLO, "extra": 1}, "invalid_argument"),
        ({**HELLO, "tenants": {"": 1}}, "invalid_argument"),
        ([1], "invalid_argument"),
    ],
)
def test_a_hello_that_is_refused_may_be_tried_again(room: Room, hello: object, code: str) -> None:
    """The state is as before."""
    client = room.add_client(greet=False)
    assert code == client.outcome(client.call("system.hello", hello)).code
    assert "handshake_required" == client.outcome(client.call("system.ping")).code
    assert REPLY == client.outcome(client.call("system.hello", HELLO)).kind


def test_hello_twice_changes_nothing(room: Room, client: Client) -> None:
    """The second fails, the first counts."""
    second = client.call("system.hello", {**HELLO, "max_frame_bytes": 4096})
    assert "handshake_repeated" == client.outcome(second).code
    assert 1 == len(room.house.greeted)


@pytest.mark.parametrize("value", [None, 1, "é", [1, {"a": b"x"}], {"deep": [[[]]]}])
def test_ping_answers_what_it_was_sent(client: Client, worker: FakeWorker, value: object) -> None:
    """Without a worker."""
    assert value == client.outcome(client.call("system.ping", value)).value
    assert [] == worker.calls()


@pytest.mark.parametrize("method", ["system.info", "program.list", "system.goodbye"])
def test_a_method_without_parameters_refuses_any(client: Client, method: str) -> None:
    """A misspelt option is not ignored."""
    assert "invalid_argument" == client.outcome(client.call(method, {"x": 1})).code
    assert "invalid_argument" == client.outcome(client.call(method, [])).code


def test_a_payload_that_breaks_a_rule_fails_its_call_only(client: Client) -> None:
    """With the code of the value's fault."""
    client.give(
        encode(CALL, 50, "system.ping", {}, b"\xc1")[HEADER_BYTES:], body_of(CALL, 51, "system.ping", {}, 1)
    )
    assert "value_reserved_byte" == client.outcome(50).code
    assert 1 == client.outcome(51).value


def test_an_id_that_is_open_is_not_taken_twice(client: Client, worker: FakeWorker) -> None:
    """The new frame is dropped with a note; the first call goes on."""
    client.call("system.echo", "first", 7)
    client.call("system.echo", "second", 7)
    assert "call_id_reused" == client.notes("system.fault")[0].fields["code"]
    assert ["first"] == [frame.value for frame in worker.calls()]
    worker.reply(1, "done")
    assert "done" == client.outcome(7).value


def test_an_id_may_be_used_again_after_its_outcome(client: Client, worker: FakeWorker) -> None:
    """The two calls have nothing to do with each other."""
    client.call("system.echo", "first", 7)
    worker.reply(1, 1)
    client.call("system.echo", "second", 7)
    worker.reply(2, 2)
    assert [1, 2] == [frame.value for frame in client.outcomes(7)]


def test_a_broken_envelope_of_a_call_fails_that_call(client: Client) -> None:
    """Where its id can be read."""
    client.give(b"\x95\x00\x09\x01\x80\xc0")
    assert "envelope_invalid" == client.outcome(9).code


@pytest.mark.parametrize("body", [b"", b"\x94", b"\x95\x07\x01", b"text", b"\x95\x01\x09\xa1x\x80\xc0"])
def test_a_broken_envelope_of_anything_else_is_noted(client: Client, body: bytes) -> None:
    """And the connection goes on."""
    client.give(body, body_of(CALL, 51, "system.ping", {}, 1))
    assert 1 == len(client.notes("system.fault"))
    assert 1 == client.outcome(51).value


def test_a_broken_envelope_with_an_open_id_leaves_that_call_alone(client: Client, worker: FakeWorker) -> None:
    """One id has one outcome."""
    client.call("system.echo", None, 9)
    client.give(b"\x95\x00\x09\x01\x80\xc0")
    assert 1 == len(client.notes("system.fault"))
    worker.reply(1, "done")
    assert "done" == client.outcome(9).value


def oversized(kind: int, call_id: int, method: str | None) -> Oversized:
    return Oversized(1 << 25, body_of(kind, call_id, method, {}, "x" * 5000)[:4097])


def test_a_call_that_is_too_large_fails(client: Client) -> None:
    """Its envelope could be read."""
    client.give(oversized(CALL, 9, "system.echo"))
    assert ("frame_too_large", 1 << 25) == (client.outcome(9).code, client.outcome(9).details["length"])


def test_a_callbacks_answer_that_is_too_large_fails_the_callback(client: Client, worker: FakeWorker) -> None:
    """The worker does not wait for ever."""
    client.call("program.predict")
    worker.call_host(5, parent=1)
    client.give(oversized(REPLY, client.callbacks()[0].id, None))
    assert (FAIL, 5, "function_failed") == (worker.sent[-1].kind, worker.sent[-1].id, worker.sent[-1].code)


@pytest.mark.parametrize("frame", [oversized(NOTE, 0, "log.line"), Oversized(1 << 25, b"Hello")])
def test_anything_else_that_is_too_large_is_noted(client: Client, frame: Oversized) -> None:
    """There is nobody to fail."""
    client.give(frame)
    assert "frame_too_large" == client.notes("system.fault")[0].fields["code"]


def test_a_result_larger_than_the_client_accepts(client: Client, worker: FakeWorker) -> None:
    """It is refused by its size, and the place is free."""
    client.connection.max_frame_bytes = 4096
    call = client.call()
    worker.reply(1, "x" * 5000)
    assert "result_too_large" == client.outcome(call).code
    assert (0, 1) == (worker.worker.load, room_failures(client))


def room_failures(client: Client) -> int:
    return len([frame for frame in client.sent if frame.kind == FAIL])


def test_a_small_result_fits_the_smallest_client(client: Client, worker: FakeWorker) -> None:
    """4,096 bytes is the least that a client may announce."""
    client.connection.max_frame_bytes = 4096
    call = client.call()
    worker.reply(1, "x" * 3900)
    assert "x" * 3900 == client.outcome(call).value


def test_an_error_larger_than_the_client_accepts(client: Client, worker: FakeWorker) -> None:
    """It still gets an outcome that it can read."""
    client.connection.max_frame_bytes = 4096
    call = client.call()
    worker.give(body_of(FAIL, 1, None, {}, {"code": "program_failed", "message": "x" * 5000}))
    assert "result_too_large" == client.outcome(call).code


def test_goodbye_waits_for_the_open_calls(room: Room, client: Client, worker: FakeWorker) -> None:
    """It is answered after the last outcome; meanwhile new calls are refused."""
    call, goodbye = client.call(), client.call("system.goodbye", {})
    assert "draining" == client.outcome(client.call()).code
    assert ([], []) == (client.outcomes(goodbye), room.house.left)
    worker.reply(1)
    assert [call, goodbye] == [frame.id for frame in client.sent[-2:]]
    assert [client.connection] == room.house.left


def test_goodbye_without_open_calls_is_answered_at_once(room: Room, client: Client) -> None:
    """The answer is the last frame."""
    assert None is client.outcome(client.call("system.goodbye", {})).value
    assert [client.connection] == room.house.left


def test_a_server_that_is_told_to_end_drains(room: Room, client: Client, worker: FakeWorker) -> None:
    """The open calls end, no new ones are taken, then it leaves."""
    call = client.call()
    client.connection.drain()
    assert "draining" == client.outcome(client.call()).code
    worker.reply(1)
    assert REPLY == client.outcome(call).kind
    assert [client.sent[-1]] == client.notes("system.closing")
    assert [client.connection] == room.house.left


def test_a_framing_fault_is_told_before_the_end(room: Room, client: Client) -> None:
    """As the last frame; the house learns that the client is gone."""
    client.link.on_end(WireError("frame_too_large", "stray text"))
    assert ("system.closing", "frame_too_large") == (client.sent[-1].method, client.sent[-1].fields["code"])
    assert [client.connection] == room.house.gone


def test_a_client_that_is_gone_leaves_nothing(room: Room, client: Client, worker: FakeWorker) -> None:
    """Its calls are cancelled in the worker, its callbacks forgotten."""
    client.call("program.predict")
    worker.call_host(5, parent=1)
    client.hang_up()
    assert [1] == worker.cancels()
    assert ({}, {}, 0) == (client.connection.calls, client.connection.callbacks, room.open_bytes)
    worker.reply(1, "late")
    assert 0 == worker.worker.load


def test_frames_of_no_meaning_are_ignored(client: Client) -> None:
    """An answer to nothing, a cancel of nothing, an item, a note."""
    before = len(client.sent)
    client.answer(99, "x")
    client.cancel(99)
    client.credit(99, 1)
    client.give(body_of(3, 99, None, {"seq": 0}, "x"), body_of(NOTE, 0, "log.line", {}, {}))
    assert before == len(client.sent)
