"""Dispatch, the queue, figures: what is small, pure and everywhere."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.fakes import Client, Room

from dspex_pool.calls import Call
from dspex_pool.dispatch import AFFINITY_SLACK, choose, retry_after_ms
from dspex_pool.host import Host
from dspex_pool.stats import Counters, Throughput
from dspex_pool.waiting import WaitingCalls
from dspex_protocol import DSPexError, FunctionReference, Hello, LMConfig, Tagged


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A worker, as far as the choice looks."""

    load: int = 0
    is_accepting: bool = True
    is_clogged: bool = False
    held: str = ""
    unstarted: int = 0

    def holds(self, record: tuple[str, int, bytes]) -> bool:
        return record[0] == self.held

    def has_unstarted(self, count: int) -> bool:
        return self.unstarted >= count


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        ([], None),
        ([Candidate(2), Candidate(1), Candidate(1)], 1),
        ([Candidate(0, is_accepting=False), Candidate(3)], 1),
        ([Candidate(0, is_clogged=True), Candidate(3)], 1),
        ([Candidate(4), Candidate(5)], None),
        ([Candidate(3), Candidate(3)], 0),
    ],
)
def test_who_gets_a_call(workers: list[Candidate], expected: int | None) -> None:
    """The least loaded with room for a fourth; the first of equals."""
    assert (None if expected is None else workers[expected]) is choose(workers, 4)


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        ([Candidate(0), Candidate(AFFINITY_SLACK, held="p")], 1),
        ([Candidate(0), Candidate(AFFINITY_SLACK + 1, held="p")], 0),
        ([Candidate(3, held="p"), Candidate(2, held="p")], 1),
        ([Candidate(2, held="p"), Candidate(2, held="other")], 0),
        ([Candidate(1), Candidate(9, held="p")], 0),
        ([Candidate(1), Candidate(1, held="p", is_clogged=True)], 0),
        ([Candidate(9), Candidate(9, held="p")], None),
    ],
)
def test_a_program_draws_its_calls(workers: list[Candidate], expected: int | None) -> None:
    """To who holds it, while that one has not much more to do than the others, and room."""
    assert (None if expected is None else workers[expected]) is choose(workers, 9, record=("p", 1, b""))


def test_what_was_not_begun_may_keep_a_worker_from_getting_more() -> None:
    """And so may any other condition."""
    workers = [Candidate(1, unstarted=4), Candidate(2, unstarted=3)]
    assert workers[1] is choose(workers, 9, max_unstarted=4)
    assert workers[1] is choose(workers, 9, is_fit=lambda worker: worker.load > 1)
    assert None is choose(workers, 9, max_unstarted=4, is_fit=lambda worker: worker.load < 2)


@pytest.mark.parametrize(
    ("waiting", "per_s", "expected"),
    [(100, 0.0, 1000), (100, 100.0, 500), (1, 1000.0, 50), (10**6, 1.0, 10_000), (0, 5.0, 50)],
)
def test_when_to_come_back(waiting: int, per_s: float, expected: int) -> None:
    """When half the queue will be gone, within bounds."""
    assert expected == retry_after_ms(waiting, per_s)


@pytest.fixture
def client() -> Client:
    return Room().add_client()


def call_with(client: Client, priority: int, depth: int = 0) -> Call:
    call = Call(client.connection, 1, "system.echo", {}, b"\xc0", 0.0)
    call.priority, call.depth = priority, depth
    return call


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["add", "put_back", "nested"]))))
def test_the_queues_order(arrivals: list[tuple[int, str]]) -> None:
    """Nested calls, then those that come back, then by priority; each in order of arrival."""
    client, waiting, expected = Room().add_client(), WaitingCalls(), list[tuple[tuple[int, int], Call]]()
    for priority, how in arrivals:
        call = call_with(client, priority, depth=how == "nested")
        if how == "add":
            waiting.add(call)
        else:
            waiting.put_back(call)
        rank = {"nested": 0, "put_back": 1, "add": 2}[how]
        expected.append(((rank, -priority if how == "add" else 0), call))
    assert len(arrivals) == len(waiting)
    assert [call for _, call in sorted(expected, key=lambda entry: entry[0])] == waiting.drain()
    assert 0 == len(waiting)


def test_any_call_can_leave_the_queue_once(client: Client) -> None:
    """Wherever it stands."""
    waiting = WaitingCalls()
    calls = [call_with(client, 5) for _ in range(4)]
    waiting.add(calls[0])
    waiting.put_back(calls[1])
    waiting.hold(calls[2])
    assert [True, True, True, False] == [waiting.remove(call) for call in calls]
    assert [False] * 4 == [waiting.remove(call) for call in calls]
    assert (0, None) == (len(waiting), waiting.first())


def test_a_call_that_is_held_is_counted_and_passed_over(client: Client) -> None:
    """Until its client reads again; another client's stays."""
    waiting, other = WaitingCalls(), Room().add_client()
    held, others = call_with(client, 5), call_with(other, 5)
    waiting.hold(held)
    waiting.hold(others)
    assert (2, 0, None) == (len(waiting), waiting.startable, waiting.first())
    waiting.resume(client.connection)
    assert (2, 1, held) == (len(waiting), waiting.startable, waiting.first())
    assert [held, others] == waiting.drain()


def test_throughput_is_that_of_the_last_window() -> None:
    """What came before the first question does not count."""
    throughput = Throughput()
    throughput.count = 1000
    rates = [throughput.per_s(0.0)]
    for now_s, ended in ((0.5, 10), (2.0, 10), (2.1, 99), (3.0, 1)):
        throughput.count += ended
        rates.append(throughput.per_s(now_s))
    assert [0.0, 0.0, 10.0, 10.0, 100.0] == rates


def test_counters_are_told_by_name() -> None:
    """All of them."""
    counters = Counters(replied=3)
    assert {field.name for field in dataclasses.fields(Counters)} == counters.snapshot().keys()
    assert 3 == counters.snapshot()["replied"]


def hello(**offers: object) -> Hello:
    return Hello(protocol="dspex", versions=[1], **offers)  # type: ignore[arg-type]


def test_what_clients_offer_adds_up() -> None:
    """And it is news only once."""
    host = Host("")
    news = [
        host.accept("one", hello(functions=["f"], secrets={"k": "v"})),
        host.accept("two", hello(functions=["f", "g"])),
        host.accept("three", hello(functions=["g"])),
    ]
    assert [True, True, False] == news
    assert {"lms": {}, "secrets": {"k": "v"}, "functions": ["f", "g"]} == host.offer()


def test_an_lm_of_the_settings_may_be_replaced_a_clients_may_not() -> None:
    """The second client would silently use the first one's model, or the other way round."""
    host = Host("sim/default")
    host.accept("one", hello(lms={"default": LMConfig(model="sim/one")}))
    with_other = hello(lms={"mine": LMConfig(model="sim/one")})
    host.accept("two", with_other)
    host.accept("three", with_other)
    with pytest.raises(DSPexError) as refusal:
        host.accept("four", hello(lms={"mine": LMConfig(model="sim/two")}))
    assert "lms.mine" == refusal.value.details["field"]


def test_an_offer_goes_with_the_last_client_that_made_it() -> None:
    """And workers are told only then."""
    host = Host("sim/default")
    lms = {"default": LMConfig(model="sim/one")}
    host.accept("one", hello(lms=lms, secrets={"k": "v"}, functions=["f", "g"]))
    host.accept("two", hello(lms=lms, secrets={"k": "v"}, functions=["f"]))
    assert host.withdraw("one")
    assert ["f"] == host.offer()["functions"]
    assert host.withdraw("two")
    assert not host.withdraw("two")
    assert Host("sim/default").offer() == host.offer()


def test_a_secret_of_another_client_is_not_replaced() -> None:
    """One client's calls would go out under the other's key; the values are in no message."""
    host = Host("")
    host.accept("one", hello(secrets={"k": "hunter2"}))
    with pytest.raises(DSPexError) as refusal:
        host.accept("two", hello(secrets={"k": "hunter3"}, functions=["f"]))
    assert "secrets.k" == refusal.value.details["field"]
    assert "hunter" not in f"{refusal.value} {refusal.value.details}"
    assert ({"k": "hunter2"}, []) == (host.offer()["secrets"], host.offer()["functions"])
    host.withdraw("one")
    assert host.accept("two", hello(secrets={"k": "hunter3"}))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"stop": ["a", FunctionReference(name="f")]}, "lms.mine.options.stop[1]"),
        ({"seed": Tagged(tag="t", value=1)}, "lms.mine.options.seed"),
        ({"deep": {"data": b"x"}}, "lms.mine.options.deep.data"),
        ({"map": {1: 2}}, "lms.mine.options.map"),
        ({"text": "\ud800"}, "lms.mine.options.text"),
    ],
)
def test_options_that_are_no_plain_values_are_refused(options: dict[str, object], field: str) -> None:
    """By field; nothing else of that hello counts either."""
    host = Host("sim/default")
    before = host.offer()
    with pytest.raises(DSPexError) as refusal:
        host.accept("one", hello(lms={"mine": LMConfig(model="sim/one", options=options)}, functions=["f"]))
    assert ("invalid_argument", field) == (refusal.value.code, refusal.value.details["field"])
    assert before == host.offer()


def test_plain_options_are_offered_as_they_came() -> None:
    """However deep."""
    host = Host("")
    options: dict[str, object] = {"a": [1, 2.5, None, True, {"b": "c"}]}
    host.accept("one", hello(lms={"mine": LMConfig(model="sim/one", options=options)}))
    offered = host.offer()["lms"]
    assert isinstance(offered, dict)
    assert options == offered["mine"]["options"]
    assert {entry.name for entry in dataclasses.fields(LMConfig)} == set(offered["mine"])


def test_a_host_does_not_print_its_secrets() -> None:
    """It may stand in a traceback."""
    host = Host("")
    host.accept("one", hello(secrets={"k": "hunter2"}))
    assert "hunter2" not in repr(host)
