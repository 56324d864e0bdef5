"""A worker that went mad: whatever it says, other calls, other workers and the server do not notice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.fakes import Room, body_of

from dspex_protocol import CALL, CANCEL, CREDIT, FAIL, ITEM, NOTE, REPLY, Oversized

FOREIGN_IDS = [0, 2, 7, 2**63 - 1]


@pytest.mark.parametrize("call_id", FOREIGN_IDS)
@pytest.mark.parametrize("kind", [REPLY, FAIL, ITEM, CANCEL, CREDIT])
def test_a_frame_with_a_foreign_id_has_no_effect(kind: int, call_id: int) -> None:
    """Ids count per worker: what is open in another one cannot be named."""
    room = Room(workers=2)
    client, (mad, sane) = room.add_client(), room.workers
    first, second = client.call("program.predict", credit=5), client.call("program.predict", credit=5)
    before = len(client.sent)
    mad.give(body_of(kind, call_id, None, {"seq": 0, "n": 1}, None))
    assert before == len(client.sent)
    mad.reply(1, "mad")
    sane.reply(1, "sane")
    assert ["mad", "sane"] == [client.outcome(call).value for call in (first, second)]


@pytest.mark.parametrize("parent", [0, 2, -1, "1", None, True, 1.0])
def test_a_callback_needs_a_parent_of_its_own(parent: object) -> None:
    """`True` is 1 to Python; that may be the worker's own call 1, and nobody else's."""
    room = Room(workers=2)
    client, (sane, mad) = room.add_client(), room.workers
    client.call("program.predict")
    mad.give(body_of(CALL, 5, "function.call", {"parent": parent}, {}))  # type: ignore[dict-item]
    assert [] == client.callbacks()
    assert (FAIL, 5) == (mad.sent[-1].kind, mad.sent[-1].id)
    assert [1] == [frame.id for frame in sane.calls()]


def test_a_callback_id_that_is_open_is_not_taken_twice() -> None:
    """The client is called once."""
    room = Room()
    client, mad = room.add_client(), room.workers[0]
    client.call("program.predict")
    mad.call_host(5, parent=1)
    mad.call_host(5, parent=1)
    assert 1 == len(client.callbacks())


@pytest.mark.parametrize("method", ["system.hello", "program.delete", "function.call2"])
def test_a_worker_may_call_nothing_but_host_functions(method: str) -> None:
    """It is told that there is no such call."""
    room = Room()
    client, mad = room.add_client(), room.workers[0]
    client.call("program.predict")
    mad.call_host(5, parent=1, method=method)
    assert (FAIL, 5) == (mad.sent[-1].kind, mad.sent[-1].id)
    assert [] == client.callbacks()


@pytest.mark.parametrize("body", [b"", b"text", b"\x95\x01\x01\xc0\x80", b"\x95\x09\x01\xc0\x80\xc0"])
def test_a_malformed_envelope_ends_the_worker(body: bytes) -> None:
    """A peer that broke the protocol once is not trusted again."""
    room = Room()
    room.workers[0].give(body)
    assert room.workers[0].process.killed


def test_a_worker_that_is_not_trusted_is_neither_heard_nor_given_calls() -> None:
    """It may live on for a moment: its stream lacks frames, and an item would seem out of turn."""
    room = Room(workers=2)
    client, mad = room.add_client(), room.workers[0]
    mad.give(b"text")
    client.call("program.predict")
    assert mad.link.closed
    assert ([], 1) == (mad.calls(), len(room.workers[1].calls()))


def test_what_a_worker_that_is_not_trusted_had_may_have_begun() -> None:
    """Its announcement may be among what was dropped, so what has effects is not run a second time."""
    room = Room(effects=frozenset(("program.build",)))
    client, mad = room.add_client(), room.workers[0]
    call = client.call("program.create", {"spec": {}})
    mad.give(b"text", body_of(NOTE, 0, "call.started", {"up_to": 1}, None))
    mad.die()
    room.add_worker()
    assert ("worker_died", True) == (client.outcome(call).code, client.outcome(call).fields["maybe_executed"])


@pytest.mark.parametrize("meta", [{"x": "y" * 3000}, {f"k{n}": n for n in range(40)}])
def test_an_answer_without_room_for_the_servers_meta_ends_the_worker(meta: dict[str, object]) -> None:
    """The client could not read what the supervisor would make of it; its call is repeated."""
    room = Room()
    client, mad = room.add_client(), room.workers[0]
    call = client.call()
    mad.reply(1, "done", **meta)
    assert mad.process.killed
    mad.die()
    room.add_worker().reply(1, "done")
    assert "done" == client.outcome(call).value


def test_a_frame_that_is_too_large_fails_its_call_only() -> None:
    """The worker lives on, and with it the other calls."""
    room = Room()
    client, worker = room.add_client(), room.workers[0]
    large, stream, other = client.call(), client.call("program.predict", credit=9), client.call()
    for kind, call_id in ((REPLY, 1), (ITEM, 2), (REPLY, 99)):
        worker.give(Oversized(1 << 25, body_of(kind, call_id, None, {"seq": 0}, "x" * 5000)[:4097]))
    worker.reply(3, "fine")
    assert ["result_too_large"] * 2 == [client.outcome(call).code for call in (large, stream)]
    assert "fine" == client.outcome(other).value
    assert not worker.process.killed


def test_a_callback_that_is_too_large_fails() -> None:
    """The worker's program gets the error."""
    room = Room()
    room.add_client().call("program.predict")
    worker = room.workers[0]
    head = body_of(CALL, 5, "function.call", {"parent": 1}, "x" * 5000)[:4097]
    worker.give(Oversized(1 << 25, head))
    assert (5, "result_too_large") == (worker.sent[-1].id, worker.sent[-1].code)


scalars = st.none() | st.booleans() | st.integers(-2, 2**63 - 1) | st.floats() | st.text(max_size=8)
metas = st.dictionaries(st.sampled_from(["seq", "n", "parent", "up_to", "worker", "attempt", "x"]), scalars)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([CALL, REPLY, FAIL, ITEM, CANCEL, CREDIT, NOTE]),
            st.integers(0, 4),
            st.sampled_from(["function.call", "call.started", "system.hello"]),
            metas,
        ),
        max_size=12,
    )
)
def test_any_frames_of_one_worker_leave_the_others_calls_alone(
    frames: list[tuple[int, int, str, dict[str, object]]],
) -> None:
    """And each of its own calls ends at most once."""
    room = Room(workers=2)
    client, (mad, sane) = room.add_client(), room.workers
    mads, sanes = client.call("program.predict", credit=2), client.call("program.predict", credit=2)
    for kind, call_id, method, meta in frames:
        method_or_nil = method if kind in (CALL, NOTE) else None
        mad.give(body_of(kind, call_id, method_or_nil, meta, {}))  # type: ignore[arg-type]
    assert len(client.outcomes(mads)) <= 1
    sane.reply(1, "sane")
    assert "sane" == client.outcome(sanes).value
