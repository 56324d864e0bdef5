"""The queue: order, fairness's reserves, push-out, and that it loses nothing."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.fakes import Room
from tests.support.queueing import CONNECTION, make_call

from dspex_pool.calls import Call
from dspex_pool.lanes import Lane, occupied
from dspex_pool.tenants import Tenant, Tenants
from dspex_pool.waiting import WaitingCalls

CAPACITY = 8
LANES = st.sampled_from([Lane.INTERACTIVE, Lane.BATCH])
NAMES = st.sampled_from("abc")


class Queue(RuleBasedStateMachine):
    """The queue beside lists that are searched from one end to the other."""

    @initialize(weights=st.dictionaries(NAMES, st.integers(1, 9)))
    def begin(self, weights: dict[str, object]) -> None:
        self.tenants = Tenants()
        self.tenants.set_weights("test", weights)
        self.waiting = WaitingCalls(self.tenants)
        self.now_s = 0.0
        self.nested: list[Call] = []
        self.alone: list[Call] = []
        self.returned: list[Call] = []
        self.lined_up: list[Call] = []
        self.held: list[Call] = []
        self.running: list[Call] = []
        self.connections = [Room(workers=0).add_client().connection for _ in range(2)]

    @property
    def lists(self) -> list[list[Call]]:
        return [self.nested, self.alone, self.returned, self.lined_up, self.held]

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(
        name=NAMES,
        lane=LANES,
        priority=st.integers(0, 9),
        how=st.sampled_from(["add"] * 6 + ["hold", "nest"]),
    )
    def arrive(self, name: str, lane: Lane, priority: int, how: str) -> None:
        call = make_call(self.tenants.of(name, self.now_s), lane, priority, self.now_s)
        call.caller = self.connections[priority % 2]
        if how == "add":
            self.waiting.add(call)
            self.lined_up.append(call)
        elif how == "hold":
            self.waiting.hold(call)
            self.held.append(call)
        else:
            call.depth = 1
            self.waiting.put_back(call)
            self.nested.append(call)

    @rule(which=st.integers(0, 1))
    def resume(self, which: int) -> None:
        self.waiting.resume(self.connections[which])
        mine = [call for call in self.held if call.caller is self.connections[which]]
        self.held = [call for call in self.held if call not in mine]
        self.returned += [call for call in mine if call.attempt]
        self.lined_up += [call for call in mine if not call.attempt]

    @precondition(lambda self: any(self.lists))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        calls = data.draw(st.sampled_from([calls for calls in self.lists if calls]))
        call = data.draw(st.sampled_from(calls))
        calls.remove(call)
        assert self.waiting.remove(call)
        assert not self.waiting.remove(call)

    @rule(is_alone_welcome=st.booleans())
    def start_next(self, is_alone_welcome: bool) -> None:
        call = self.waiting.next(CAPACITY, self.now_s, lambda call: call.alone and is_alone_welcome)
        ahead = self.nested or (is_alone_welcome and self.alone) or self.returned
        if call is None:
            assert not ahead
            self.check_none_may_start()
            return
        if ahead:
            assert call is ahead[0]
        else:
            self.check_turn(call)
        next(calls for calls in self.lists if call in calls).remove(call)
        assert self.waiting.remove(call)
        call.sent_s, call.attempt = self.now_s, call.attempt + 1
        self.waiting.started(call)
        self.running.append(call)

    def check_turn(self, call: Call) -> None:
        """First of its line; and due, where a tenant in its lane is."""
        line = [other for other in self.lined_up if (other.tenant, other.lane) == (call.tenant, call.lane)]
        highest = max(other.priority for other in line)
        assert call is next(other for other in line if other.priority == highest)
        in_lane = [other.tenant for other in self.lined_up if other.lane is call.lane]
        if any(self.is_due(tenant) for tenant in in_lane):
            assert self.is_due(call.tenant)
        else:
            least = min(tenant.running / tenant.weight for tenant in in_lane)
            assert least == call.tenant.running / call.tenant.weight

    def check_none_may_start(self) -> None:
        """Only for a reserve, with few places left."""
        busy = occupied(self.waiting.running)
        for call in self.lined_up:
            is_batch_late = call.lane is Lane.BATCH and busy >= CAPACITY - 1
            is_beyond_due = not self.is_due(call.tenant) and busy >= CAPACITY - 2 and len(self.tenants) > 1
            assert is_batch_late or is_beyond_due

    def is_due(self, tenant: Tenant) -> bool:
        return tenant.running < CAPACITY * tenant.weight / self.tenants.active_weight(self.now_s)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), fate=st.sampled_from(["end", "end", "return", "repeat alone", "hold"]))
    def leave(self, data: st.DataObject, fate: str) -> None:
        call = data.draw(st.sampled_from(self.running))
        self.running.remove(call)
        self.waiting.ended(call, self.now_s)
        if fate == "hold" and not call.depth and not call.alone:
            self.waiting.hold(call)
            self.held.append(call)
        elif fate.startswith("re"):
            call.alone |= fate == "repeat alone"
            (self.alone if call.alone else self.nested if call.depth else self.returned).append(call)
            self.waiting.put_back(call)

    @rule(name=NAMES)
    def make_room(self, name: str) -> None:
        tenant = self.tenants.of(name, self.now_s)
        shed = self.waiting.make_room(tenant)
        if shed is not None:
            assert shed in self.held or shed in self.lined_up
            assert shed.tenant.waiting + 1 > (tenant.waiting + 1) * shed.tenant.weight / tenant.weight
            (self.held if shed in self.held else self.lined_up).remove(shed)

    @invariant()
    def counts(self) -> None:
        waiting = [call for calls in self.lists for call in calls]
        assert len(waiting) == len(self.waiting)
        assert len(waiting) - len(self.held) == self.waiting.startable
        of_tenant = Counter(call.tenant.name for call in waiting)
        places = Counter(call.tenant.name for call in self.running)
        for row in self.tenants.snapshot():
            name = str(row["tenant"])
            assert (of_tenant[name], places[name]) == (row["waiting"], row["running"])
        snapshot = self.waiting.snapshot(self.now_s)
        for lane in Lane:
            assert sum(call.lane is lane for call in self.running) == snapshot[lane]["running"]
        if waiting:
            longest = self.waiting.longest_tenant()
            assert longest is not None
            most = max(call.tenant.waiting / call.tenant.weight for call in waiting)
            assert most == longest.waiting / longest.weight

    def teardown(self) -> None:
        if hasattr(self, "waiting"):
            expected = {call for calls in self.lists for call in calls}
            drained = self.waiting.drain()
            assert (len(expected), expected) == (len(drained), set(drained))
            assert (0, 0, None) == (len(self.waiting), self.waiting.startable, self.waiting.longest_tenant())


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)


@pytest.fixture
def tenants() -> Tenants:
    return Tenants()


@pytest.fixture
def waiting(tenants: Tenants) -> WaitingCalls:
    return WaitingCalls(tenants)


def test_priority_counts_within_a_tenant(tenants: Tenants, waiting: WaitingCalls) -> None:
    """One that marks all its calls as urgent is served in its turn."""
    a, b = tenants.of("a", 0.0), tenants.of("b", 0.0)
    urgent = [make_call(a, priority=9) for _ in range(3)]
    plain, low = make_call(b), make_call(b, priority=0)
    for call in (*urgent, low, plain):
        waiting.add(call)
    order: list[Call] = []
    while (following := waiting.next(1, 0.0)) is not None:
        waiting.remove(following)
        waiting.started(following)
        waiting.ended(following, 0.0)
        order.append(following)
    assert [urgent[0], plain, urgent[1], low, urgent[2]] == order


def test_one_that_must_run_alone_keeps_nobody_else(waiting: WaitingCalls) -> None:
    """While no worker can have it."""
    alone, returned, other = make_call(), make_call(), make_call()
    alone.alone = True
    waiting.add(other)
    waiting.put_back(returned)
    waiting.put_back(alone)
    assert (alone, returned) == (waiting.next(8, 0.0), waiting.next(8, 0.0, lambda call: False))


def test_a_call_that_comes_starts_at_once_where_nobody_could_before_it(
    tenants: Tenants, waiting: WaitingCalls
) -> None:
    """An interactive one passes batch calls that wait for the reserve only; a batch one does not."""
    tenant = tenants.of("a", 0.0)
    assert waiting.may_start(make_call(tenant), 8, 0.0)
    for _ in range(7):
        waiting.started(make_call(tenant, Lane.BATCH))
    waiting.add(make_call(tenant, Lane.BATCH))
    assert waiting.may_start(make_call(tenant), 8, 0.0)
    assert not waiting.may_start(make_call(tenant, Lane.BATCH), 8, 0.0)
    waiting.add(make_call(tenant))
    assert not waiting.may_start(make_call(tenant), 8, 0.0)


def test_the_last_quarter_is_for_those_with_less_than_their_due(
    tenants: Tenants, waiting: WaitingCalls
) -> None:
    """Two tenants, eight places, six taken by one of them."""
    a, b = tenants.of("a", 0.0), tenants.of("b", 0.0)
    for _ in range(6):
        waiting.started(make_call(a))
    assert not waiting.may_start(make_call(a), 8, 0.0)
    assert waiting.may_start(make_call(b), 8, 0.0)
    waiting.add(make_call(a))
    assert waiting.next(8, 0.0) is None
    assert waiting.may_start(make_call(b), 8, 0.0)
    assert waiting.next(8, 60.0) is not None  # the other has not been seen for a minute


def test_the_tenant_with_the_longest_queue_makes_room(tenants: Tenants, waiting: WaitingCalls) -> None:
    """By weight: 4 calls of weight 4 are no more than 1 of weight 1."""
    tenants.set_weights("test", {"heavy": 4})
    heavy, light = tenants.of("heavy", 0.0), tenants.of("light", 0.0)
    calls = [make_call(heavy) for _ in range(5)]
    for call in calls:
        waiting.add(call)
    assert heavy is waiting.longest_tenant()
    assert waiting.make_room(heavy) is None
    assert calls[0] is waiting.make_room(light)
    assert waiting.make_room(light) is None


def test_what_is_worth_least_is_shed_first(tenants: Tenants, waiting: WaitingCalls) -> None:
    """Held, then by priority, of two lanes batch, the oldest; what was started once is kept."""
    tenant = tenants.of("a", 0.0)
    kept, held = make_call(tenant, priority=0), make_call(tenant, priority=9)
    low, old, new = make_call(tenant, priority=2), make_call(tenant), make_call(tenant)
    batch = make_call(tenant, Lane.BATCH)
    for call in (old, new, low, batch):
        waiting.add(call)
    waiting.put_back(kept)
    waiting.hold(held)
    assert [held, low, batch, old, new, None] == [waiting.shed_oldest(tenant) for _ in range(6)]
    assert [kept] == waiting.drain()


def test_how_long_the_oldest_has_waited(tenants: Tenants, waiting: WaitingCalls) -> None:
    """By lane; calls that come back and calls that are held do not count."""
    tenant = tenants.of("a", 0.0)
    old, new = make_call(tenant, now_s=10.0), make_call(tenant, priority=9, now_s=11.0)
    waiting.put_back(make_call(tenant, now_s=1.0))
    waiting.hold(make_call(tenant, now_s=1.0))
    assert 0.0 == waiting.oldest_wait_s(Lane.INTERACTIVE, 20.0)
    waiting.add(old)
    waiting.add(new)
    assert (10.0, 0.0) == tuple(waiting.oldest_wait_s(lane, 20.0) for lane in (Lane.INTERACTIVE, Lane.BATCH))
    waiting.remove(old)
    assert new is waiting.oldest(Lane.INTERACTIVE)
    expected = {"running": 0, "waiting": 2, "oldest_wait_ms": 9000.0}
    assert expected == waiting.snapshot(20.0)["interactive"]


def test_a_control_call_waits_for_no_turn(waiting: WaitingCalls) -> None:
    """Without a worker it waits, before those that need a place."""
    control, other = make_call(lane=Lane.CONTROL), make_call(priority=9)
    waiting.add(other)
    waiting.hold(control)
    waiting.resume(CONNECTION)
    assert control is waiting.next(8, 0.0)
    assert [control, other] == waiting.drain()


def test_a_call_that_returns_keeps_its_place_through_a_pause_of_its_client(waiting: WaitingCalls) -> None:
    """It had been started, its client stopped reading and reads again."""
    returned, other = make_call(), make_call(priority=9)
    returned.attempt = 1
    waiting.add(other)
    waiting.hold(returned)
    waiting.resume(CONNECTION)
    assert [returned, other] == waiting.drain()
