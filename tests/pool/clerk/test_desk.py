"""The clerk as the supervisor sees it: started when it is needed, and what becomes of calls when it dies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.fakes import Client, Frame, body_of
from tests.support.floor import WELCOME, Floor, Newborn

from dspex_pool.clerk import questions
from dspex_pool.clerk.desk import IDLE_S, Desk
from dspex_pool.greeting import HELLO_ID
from dspex_pool.store import Key, Put
from dspex_protocol import CALL, CANCEL, FAIL, REPLY, Meta, decode_value, encode_frame

ROWS = "evaluation.rows"
WISH = {"evaluation": "e"}


class Office:
    """A desk between fakes: the test is the clerk."""

    def __init__(self) -> None:
        self.floor = Floor(start=0)
        self.room = self.floor.room
        stored = self.room.switchboard.stored
        self.desk = Desk(
            self.room.config,
            self.floor.ports,
            stored.deliveries,
            stored.long_reads,
            next_number=self.floor.slots.next_number,
        )
        stored.clerk = self.desk

    def bear(self) -> Newborn:
        """The clerk that was asked for comes to be, and answers hello."""
        started, _ = self.floor.spawner.requests.pop()
        newborn = Newborn(90_000)
        self.floor.newborns.append(newborn)
        started(newborn.process, newborn.descriptor)
        assert ["system.hello"] == [frame.method for frame in newborn.hear()]
        self.say(newborn, REPLY, HELLO_ID, WELCOME)
        return newborn

    def say(
        self, clerk: Newborn, kind: int, number: int, value: object, method: str | None = None, **meta: object
    ) -> None:
        """The clerk writes a frame, and it is read."""
        assert self.desk._guest is not None
        assert self.desk._guest.worker is not None
        said: Meta = meta  # type: ignore[assignment]
        clerk.wire.sendall(encode_frame(body_of(kind, number, method, said, value)))
        self.desk._guest.worker.link.read()


def calls(clerk: Newborn) -> list[Frame]:
    """What it was asked since the last time."""
    return [frame for frame in clerk.hear() if frame.kind == CALL]


def is_killed(clerk: Newborn) -> bool:
    """Whether it was."""
    return clerk.process.killed


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    office = Office()
    yield office
    office.floor.close()


@pytest.fixture
def client(office: Office) -> Client:
    return office.room.add_client()


async def test_it_is_started_by_the_first_call(office: Office, client: Client) -> None:
    """And gets the calls that came meanwhile; what it answers is the outcome."""
    first, second = client.call(ROWS, WISH), client.call("evaluation.compare", {"evaluations": ["a", "b"]})
    assert 1 == len(office.floor.spawner.requests)
    assert "unknown_program" == client.outcome(client.call("program.get", {}, program="p")).fields["code"]
    clerk = office.bear()
    asked = calls(clerk)
    assert [ROWS, "evaluation.compare"] == [call.method for call in asked]
    office.say(clerk, REPLY, asked[1].id, {"metrics": {}})
    office.say(clerk, FAIL, asked[0].id, {"code": "unknown_evaluation", "message": "none"})
    assert {"metrics": {}} == client.outcome(second).fields
    assert "unknown_evaluation" == client.outcome(first).fields["code"]


async def test_what_cannot_be_answered_is_said(office: Office, client: Client) -> None:
    """A question that nobody knows, or that is no question: it would wait for ever."""
    client.call(ROWS, WISH)
    clerk = office.bear()
    calls(clerk)
    for number, method in ((7, "clerk.other"), (8, questions.GET)):
        office.say(clerk, CALL, number, "nonsense", method)
        (answer,) = [frame for frame in clerk.hear() if frame.id == number]
        assert (FAIL, "internal") == (answer.kind, answer.fields["code"])


async def test_it_ends_when_nobody_needs_it(office: Office, client: Client) -> None:
    """After a minute without a call, and is started again by the next one."""
    client.call(ROWS, WISH)
    clerk = office.bear()
    (asked,) = calls(clerk)
    office.floor.loop.advance(2 * IDLE_S)
    assert not is_killed(clerk)
    office.say(clerk, REPLY, asked.id, {})
    office.floor.loop.advance(IDLE_S - 1)
    client.call(ROWS, WISH)
    (asked,) = calls(clerk)
    office.say(clerk, REPLY, asked.id, {})
    office.floor.loop.advance(IDLE_S - 1)
    assert not is_killed(clerk)
    office.floor.loop.advance(1)
    assert is_killed(clerk)
    assert (set(), []) == (office.desk.pids, office.floor.spawner.requests)
    client.call(ROWS, WISH)
    assert 1 == len(office.floor.spawner.requests)


async def test_calls_are_asked_of_the_next_one_when_it_dies(office: Office, client: Client) -> None:
    """One after another: so the one that kills it is alone, and the others are answered."""
    numbers = [client.call(ROWS, {"evaluation": name}) for name in ("killer", "a", "b")]
    office.bear().die("SIGKILL")
    clerk = office.bear()
    (asked,) = calls(clerk)
    assert {"evaluation": "killer"} == asked.fields
    clerk.die("SIGKILL")
    failure = client.outcome(numbers[0]).fields
    assert ("worker_died", True, False) == (
        failure["code"],
        failure["retryable"],
        failure["maybe_executed"],
    )
    clerk = office.bear()
    for number, name in zip(numbers[1:], ("a", "b"), strict=True):
        (asked,) = calls(clerk)
        assert {"evaluation": name} == asked.fields
        office.say(clerk, REPLY, asked.id, {"name": name})
        assert {"name": name} == client.outcome(number).fields
    assert [] == calls(clerk)


async def test_a_report_of_which_pieces_have_gone_is_not_begun_anew(office: Office, client: Client) -> None:
    """Its client is told which piece was the last."""
    call = client.call("report.make", {"evaluation": "e", "format": "html"}, credit=2)
    clerk = office.bear()
    (asked,) = calls(clerk)
    assert 2 == asked.meta["credit"]
    for number in (1, 2, 3):
        office.say(clerk, CALL, number, {"text": f"piece {number}"}, questions.PIECE, call=asked.id)
    assert ["piece 1", "piece 2"] == [item.fields["text"] for item in client.items(call)]
    assert [1, 2] == [frame.id for frame in clerk.hear() if frame.kind == REPLY]
    client.credit(call, 1)
    assert [3] == [frame.id for frame in clerk.hear() if frame.kind == REPLY]
    clerk.die("SIGKILL")
    failure: Any = client.outcome(call).fields
    assert ("worker_died", 2) == (failure["code"], failure["details"]["last_seq"])
    assert 0 == len(office.room.switchboard.stored.deliveries)


async def test_a_call_that_was_given_up_and_does_not_end_ends_it(office: Office, client: Client) -> None:
    """Within the grace period; one that was being made beside it is answered by the next clerk."""
    given_up, other = client.call(ROWS, {"evaluation": "a"}), client.call(ROWS, {"evaluation": "b"})
    clerk = office.bear()
    first, _ = calls(clerk)
    client.cancel(given_up)
    assert "cancelled" == client.outcome(given_up).fields["code"]
    assert [(CANCEL, first.id)] == [(frame.kind, frame.id) for frame in clerk.hear()]
    office.floor.loop.advance(office.room.config.grace_s)
    assert is_killed(clerk)
    clerk.die("SIGKILL")
    clerk = office.bear()
    (asked,) = calls(clerk)
    office.say(clerk, REPLY, asked.id, {"evaluation": "b"})
    assert {"evaluation": "b"} == client.outcome(other).fields


async def test_a_call_that_was_given_up_and_ends_is_forgotten(office: Office, client: Client) -> None:
    """One that waited for the clerk to come to be is not even asked."""
    kept, given_up = client.call(ROWS, WISH), client.call(ROWS, WISH)
    client.cancel(given_up)
    clerk = office.bear()
    (asked,) = calls(clerk)
    client.cancel(kept)
    office.say(clerk, FAIL, asked.id, {"code": "cancelled", "message": "it has ended"})
    office.floor.loop.advance(office.room.config.grace_s)
    assert not is_killed(clerk)


async def test_no_clerk_fails_calls_and_not_the_server(office: Office, client: Client) -> None:
    """Where none can be started they hear so, and the next call tries again."""
    call = client.call(ROWS, WISH)
    for _ in range(2):
        office.floor.spawner.requests.pop()[1]("no descriptors")
    failure = client.outcome(call).fields
    assert "worker_died" == failure["code"]
    assert "no descriptors" in str(failure["message"])
    client.call(ROWS, WISH)
    assert 1 == len(office.floor.spawner.requests)


async def test_it_gets_what_it_asks_the_store_for(office: Office, client: Client) -> None:
    """Records as they are, and the error that a client would hear where there is none to be had."""
    await office.room.memory.commit([Put(key=Key("c", "x"), body=b"body")])
    client.call(ROWS, WISH)
    clerk = office.bear()
    calls(clerk)
    office.say(clerk, CALL, 1, [["c", "x"], ["c", "y"]], questions.GET)
    office.say(clerk, CALL, 2, ["c", "", "", 10, False], questions.SCAN)
    office.say(clerk, CALL, 3, ["j", 0, 10], questions.ENTRIES)
    assert [[[1, b"body"], None], [["x", 1, b"body"]], []] == [
        decode_value(frame.payload) for frame in clerk.hear()
    ]


async def test_it_is_killed_for_its_memory(office: Office, client: Client) -> None:
    """As a worker is, by the same setting."""
    client.call(ROWS, WISH)
    clerk = office.bear()
    number = next(iter(office.floor.weighing.watched))
    office.desk.weigh({number: 50 << 20})
    assert not is_killed(clerk)
    office.desk.weigh({number: (office.room.config.memory_hard_mb + 51) << 20})
    assert is_killed(clerk)


async def test_it_ends_with_the_server(office: Office, client: Client) -> None:
    """Nothing is started any more."""
    client.call(ROWS, WISH)
    clerk = office.bear()
    office.desk.close()
    assert is_killed(clerk)
    assert [] == office.floor.spawner.requests
