"""What a worker holds: as the supervisor believes, within its bounds, and never less than is in use."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dspex_pool.holdings import LIVE_BYTES, NOTHING_TO_SEND, Holdings, Key, Provision, live_bytes

AMPLE = 1 << 40


def record(size: int = 2) -> bytes:
    """A record of its own, though its bytes be those of another: so from two bytes on."""
    return bytes(bytearray(size))


def test_a_program_is_sent_once() -> None:
    """Further calls of it cost nothing."""
    holdings, mine = Holdings(10, AMPLE), record(50)
    assert Provision(load=True) == holdings.take(("p", 1), mine, [])
    assert NOTHING_TO_SEND is holdings.take(("p", 1), mine, [])
    assert (1, live_bytes(mine)) == (len(holdings), holdings.bytes_used)


def test_a_program_that_was_made_anew_is_sent_anew() -> None:
    """Under the same id and version, and though its bytes be the same."""
    holdings, old, new = Holdings(10, AMPLE), record(50), record(50)
    holdings.take(("p", 1), old, [])
    assert (True, False) == (holdings.has(("p", 1), old), holdings.has(("p", 1), new))
    assert Provision(load=True) == holdings.take(("p", 1), new, [])
    assert (False, True) == (holdings.has(("p", 1), old), holdings.has(("p", 1), new))
    assert (1, live_bytes(new)) == (len(holdings), holdings.bytes_used)


def test_the_program_that_was_not_used_longest_goes_first() -> None:
    """A call is a use."""
    holdings, a, b, c = Holdings(2, AMPLE), record(), record(), record()
    holdings.take(("a", 1), a, [])
    holdings.take(("b", 1), b, [])
    holdings.take(("a", 1), a, [])
    assert Provision(load=True, forget=(("b", 1),)) == holdings.take(("c", 1), c, [])


def test_a_large_program_displaces_many_small_ones() -> None:
    """As many as it needs, and no more."""
    holdings = Holdings(100, 10 * LIVE_BYTES)
    small = [record(0) for _ in range(10)]
    for n, one in enumerate(small):
        assert () == holdings.take((f"p{n}", 1), one, []).forget
    large = record(2 * LIVE_BYTES)  # in the worker: four times LIVE_BYTES
    assert (("p0", 1), ("p1", 1), ("p2", 1), ("p3", 1)) == holdings.take(("large", 1), large, []).forget
    assert 10 * LIVE_BYTES == holdings.bytes_used


def test_what_is_in_use_stays_beyond_the_bounds() -> None:
    """And goes when a later call finds it unused."""
    holdings, a, b = Holdings(1, AMPLE), record(), record()
    holdings.take(("a", 1), a, [])
    assert () == holdings.take(("b", 1), b, [("a", 1)]).forget
    assert 2 == len(holdings)
    assert Provision(load=False, forget=(("a", 1),)) == holdings.take(("b", 1), b, [("b", 1)])


def test_a_program_that_is_too_large_by_itself_is_held_while_it_is_used() -> None:
    """The bound is on what is kept, not on what can be run."""
    holdings, huge, small = Holdings(10, LIVE_BYTES), record(LIVE_BYTES), record(0)
    assert Provision(load=True) == holdings.take(("huge", 1), huge, [])
    assert Provision(load=True, forget=(("huge", 1),)) == holdings.take(("small", 1), small, [])


def test_nobody_looks_at_the_open_calls_while_there_is_room() -> None:
    """They are many, and it happens at each call."""
    looks: list[Key] = []

    def open_calls() -> Iterator[Key]:
        looks.append(("p", 1))
        yield ("p", 1)

    holdings, mine = Holdings(1, AMPLE), record()
    holdings.take(("p", 1), mine, open_calls())
    holdings.take(("p", 1), mine, open_calls())
    assert [] == looks


def test_deleting_a_program_forgets_all_of_its_versions() -> None:
    """Those of others stay."""
    holdings = Holdings(10, AMPLE)
    for key in (("p", 1), ("q", 1), ("p", 2)):
        holdings.take(key, record(), [])
    assert [("p", 1), ("p", 2)] == holdings.forget_program("p")
    assert ([], 1, live_bytes(record())) == (
        holdings.forget_program("p"),
        len(holdings),
        holdings.bytes_used,
    )


def test_the_newest_are_those_used_last() -> None:
    """In the order of their use, so that who takes them over forgets them in that order."""
    holdings, records = Holdings(10, AMPLE), {name: record() for name in "abc"}
    for name in "abca":
        holdings.take((name, 1), records[name], [])
    assert [(("c", 1), records["c"]), (("a", 1), records["a"])] == holdings.newest(2)
    assert ["b", "c", "a"] == [name for (name, _), _ in holdings.newest(5)]


class HoldingsMachine(RuleBasedStateMachine):
    """A program table, calls, and a worker that does what it is told, against a plain list."""

    MAX_PROGRAMS = 3
    MAX_BYTES = 5 * LIVE_BYTES

    ids = st.sampled_from(["a", "b", "c", "d"])
    sizes = st.sampled_from([2, 1000, LIVE_BYTES, 3 * LIVE_BYTES])

    def __init__(self) -> None:
        super().__init__()
        self.table: dict[str, list[bytes]] = {}
        self.waiting: list[tuple[Key, bytes]] = []
        self.calls: list[tuple[Key, bytes]] = []
        self.holdings = Holdings(self.MAX_PROGRAMS, self.MAX_BYTES)
        self.worker: dict[Key, bytes] = {}
        self.used: list[Key] = []  # the model: what is held, the last used last
        self.sizes_before: dict[Key, int] = {}

    @rule(program=ids, size=sizes)
    def store(self, program: str, size: int) -> None:
        """Create a program, or a new version of one."""
        self.table.setdefault(program, []).append(record(size))

    @rule(program=ids)
    def delete(self, program: str) -> None:
        self.table.pop(program, None)
        for key in self.holdings.forget_program(program):
            del self.worker[key]
            self.used.remove(key)
        assert all(key[0] != program for key in self.used)

    @rule(program=ids)
    def make_anew(self, program: str) -> None:
        """Calls for the program of before still wait, or run."""
        if program in self.table:
            self.admit(program, 1)
            self.delete(program)
            self.store(program, 1000)
            self.admit(program, 1)

    @rule(program=ids, version=st.integers(1, 3))
    def admit(self, program: str, version: int) -> None:
        """A call comes and waits, with the record of this moment."""
        versions = self.table.get(program, [])
        if version <= len(versions):
            self.waiting.append(((program, version), versions[version - 1]))

    @rule(which=st.integers(0, 100))
    @precondition(lambda self: self.waiting)
    def send(self, which: int) -> None:
        """It is sent, whatever became of its program meanwhile."""
        key, content = self.waiting.pop(which % len(self.waiting))
        in_use = {key for key, _ in self.calls}
        told = self.holdings.take(key, content, (key for key, _ in self.calls))
        if key in self.used:
            self.used.remove(key)
        self.used.append(key)
        self.obey(told, key, content)
        self.check_forgotten(told, key, in_use)
        assert content is self.worker[key]
        self.calls.append((key, content))

    def obey(self, told: Provision, key: Key, content: bytes) -> None:
        """What the worker does."""
        for forgotten in told.forget:
            del self.worker[forgotten]
        if told.load:
            assert content is not self.worker.get(key)
            self.worker[key] = content

    def check_forgotten(self, told: Provision, key: Key, in_use: set[Key]) -> None:
        """The least recently used of those that may go, while the worker has too much."""
        expected: list[Key] = []
        kept = dict.fromkeys(self.used)
        sizes = {held: live_bytes(content) for held, content in self.worker.items()}
        sizes |= {gone: self.sizes_before[gone] for gone in told.forget}
        for oldest in self.used:
            if len(kept) <= self.MAX_PROGRAMS and sum(sizes[held] for held in kept) <= self.MAX_BYTES:
                break
            if oldest != key and oldest not in in_use:
                expected.append(oldest)
                del kept[oldest]
        assert tuple(expected) == told.forget
        self.used = list(kept)

    @rule(which=st.integers(0, 100))
    @precondition(lambda self: self.calls)
    def end(self, which: int) -> None:
        del self.calls[which % len(self.calls)]

    @invariant()
    def the_supervisor_knows_what_the_worker_holds(self) -> None:
        assert self.worker == dict(self.holdings._held)
        assert all(content is self.worker[key] for key, content in self.holdings._held.items())
        assert sum(map(live_bytes, self.worker.values())) == self.holdings.bytes_used
        assert self.used == list(self.holdings._held)
        self.sizes_before = {key: live_bytes(content) for key, content in self.worker.items()}


TestHoldings = HoldingsMachine.TestCase
TestHoldings.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
