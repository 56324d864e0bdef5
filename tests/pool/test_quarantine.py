"""The quarantine: the same call does not come back at once, and nothing of what it said is kept."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.support.fakes import Room

from dspex_pool import quarantine
from dspex_pool.calls import Call, WorkerDeath
from dspex_pool.payload_shape import MAX_PAYLOAD_BYTES
from dspex_pool.quarantine import MAX_QUARANTINED, QUARANTINE_S, Quarantine
from dspex_protocol import FunctionReference, Pairs, Tagged, Tensor, encode_value

CONNECTION = Room().add_client().connection
DEATHS = (WorkerDeath(worker=3, reason="SIGSEGV"), WorkerDeath(worker=7, reason="exit code 1"))
CANARY = "CANARY"


def a_call(
    value: object = None,
    method: str = "program.predict",
    record: tuple[str, int, bytes] | None = None,
    **meta: object,
) -> Call:
    """A call with that payload."""
    call = Call(CONNECTION, 1, method, meta, encode_value(value), 0.0)  # type: ignore[arg-type]
    call.record = record
    return call


def test_what_is_kept_of_a_call() -> None:
    """Enough to find it, and to see what is odd about it."""
    call = a_call(
        {"inputs": {"question": "why"}},
        record=("qa", 2, b"record"),
        program="qa",
        lane="batch",
        priority=9,
        deadline_ms=500,
        credit=3,
        tenant="shop",
        own_key="x",
    )
    table = Quarantine()
    repro = table.add(call, DEATHS, 100.0)
    told = {
        "fingerprint": repro.fingerprint,
        "method": "program.predict",
        "meta": {"program": "qa", "version": 2, "lane": "batch", "priority": 9, "deadline_ms": 500},
        "meta_names": ["credit", "tenant"],
        "shape": "map{inputs: map{question: str(3)}}",
        "payload_bytes": len(call.payload),
        "deaths": [{"worker": 3, "reason": "SIGSEGV"}, {"worker": 7, "reason": "exit code 1"}],
        "ago_s": 5.5,
    }
    assert [told] == table.list(105.5)


BIG = 800_815  # a number that says something, and that no length or time here happens to have
HIDING_PLACES: dict[str, object] = {
    "text": CANARY,
    "an input": {"inputs": {"question": CANARY}},
    "a list": {"inputs": {"passages": [CANARY, [CANARY]]}},
    "a key below the fields": {"inputs": {"person": {CANARY: 1, "deeper": {CANARY: CANARY}}}},
    "a key that is no name": {f"{CANARY} and so on": {f"{CANARY}@host": 1, f"sk-{CANARY}": 2}},
    "bytes": {"inputs": {"image": CANARY.encode()}},
    "a number": {"inputs": {"pin": BIG}, "config": {"seed": float(BIG)}},
    "a decimal": [Decimal(BIG)],
    "a big number": [int.from_bytes(CANARY.encode() * 2, "big")],
    "an instant": [dt.datetime.fromtimestamp(BIG, dt.UTC), dt.timedelta(seconds=BIG)],
    "a function": FunctionReference(CANARY),
    "a tensor": Tensor("u1", (6,), CANARY.encode()),
    "a tag": Tagged(CANARY, CANARY),
    "inside of a tag": Tagged("prediction", {"fields": {"answer": CANARY, CANARY: BIG}}),
    "pairs": Pairs({BIG: CANARY}),
    "a set": {CANARY},
    "a spec": {"spec": {"module": "Predict", "signature": f"{CANARY} -> a", "options": {CANARY: CANARY}}},
    "a long payload": {"inputs": {"question": CANARY * MAX_PAYLOAD_BYTES}},
}


@pytest.mark.parametrize("where", list(HIDING_PLACES))
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "malformed"])
def test_nothing_that_a_payload_says_is_kept(where: str, cut: bool) -> None:
    """Not in the repro, not in the list, not in their encoded form."""
    call = a_call(HIDING_PLACES[where], record=("qa", 1, CANARY.encode()))
    if cut:
        call.payload = call.payload[:-1]
    table = Quarantine()
    repro = table.add(call, DEATHS, 0.0)
    told = [repr(repro), str(repro), repr(table.list(1.0)), repr(encode_value(table.list(1.0))), repr(call)]
    for text in told:
        assert CANARY not in text
        assert str(BIG) not in text.replace(repro.fingerprint, "")


META_PLACES: list[tuple[str, object]] = [
    *((name, CANARY) for name in ("tenant", "route", "dedup_key", "traceparent", "budget_usd", "idempotent")),
    *((name, CANARY) for name in ("lane", "priority", "deadline_ms", "parent", "credit")),
    (f"x-{CANARY}", 1),
    (CANARY, CANARY),
]


@pytest.mark.parametrize(("name", "value"), META_PLACES)
def test_nothing_that_a_meta_says_is_kept(name: str, value: object) -> None:
    """But what the protocol knows to be harmless; of the rest the names that it knows."""
    table = Quarantine()
    call = a_call()
    call.meta[name] = value  # type: ignore[assignment]
    repro = table.add(call, DEATHS, 0.0)
    for text in (repr(repro), repr(table.list(1.0)), repr(encode_value(table.list(1.0)))):
        assert CANARY not in text


def test_what_is_too_long_or_malformed_is_told_by_its_size() -> None:
    """It is refused as any other."""
    table = Quarantine()
    long, malformed = a_call("x" * MAX_PAYLOAD_BYTES), a_call()
    malformed.payload = b"\x91" * 200
    shapes = [
        (repro.shape, repro.payload_bytes) for repro in (table.add(c, (), 0.0) for c in (long, malformed))
    ]
    assert [(None, MAX_PAYLOAD_BYTES + 5), (None, 200)] == shapes
    assert [True, True] == [table.refuses(call, 1.0) is not None for call in (long, malformed)]


def test_the_same_call_is_refused() -> None:
    """Whoever makes it, with whatever deadline, as an item stream or not."""
    table = Quarantine()
    repro = table.add(a_call({"a": 1}), DEATHS, 0.0)
    assert repro is table.refuses(a_call({"a": 1}, deadline_ms=5, credit=1, tenant="other"), 1.0)


@pytest.mark.parametrize(
    "other",
    [
        a_call({"a": 2}, record=("p", 1, b"r")),
        a_call({"a": 1}, method="system.echo", record=("p", 1, b"r")),
        a_call({"a": 1}, record=("q", 1, b"r")),
        a_call({"a": 1}, record=("p", 2, b"r")),
        a_call({"a": 1}, record=("p", 1, b"repaired")),
        a_call({"a": 1}),
    ],
    ids=["payload", "method", "program", "version", "record", "no program"],
)
def test_another_call_is_not(other: Call) -> None:
    """It differs in what may have killed: the work."""
    table = Quarantine()
    mine = a_call({"a": 1}, record=("p", 1, b"r"))
    table.add(mine, DEATHS, 0.0)
    assert table.refuses(mine, 1.0) is not None
    assert table.refuses(other, 1.0) is None


def test_calls_that_differ_at_a_glance_are_not_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One killer must not cost every other call a hash of its payload."""
    hashed: list[Call] = []
    fingerprint_of = quarantine._fingerprint_of

    def counting(call: Call) -> str:
        hashed.append(call)
        return fingerprint_of(call)

    monkeypatch.setattr(quarantine, "_fingerprint_of", counting)
    table = Quarantine()
    killer, twin, others = a_call("aa"), a_call("bb"), [a_call("abc"), a_call("aa", method="system.echo")]
    assert table.refuses(killer, 0.0) is None
    table.add(killer, DEATHS, 0.0)
    assert [None] * 3 == [table.refuses(call, 1.0) for call in (*others, twin)]
    assert [killer, twin] == hashed


def test_the_quarantine_ends() -> None:
    """What was wrong may have been put right; another death begins it anew."""
    table = Quarantine()
    call = a_call()
    table.add(call, DEATHS, 0.0)
    table.add(call, DEATHS, 10.0)
    assert table.refuses(call, QUARANTINE_S + 9.9) is not None
    assert table.refuses(call, QUARANTINE_S + 10.0) is None
    assert ([], 0) == (table.list(QUARANTINE_S + 10.0), len(table))


def test_releasing_one() -> None:
    """It runs again; the others do not."""
    table = Quarantine()
    calls = [a_call(value) for value in (1, 2)]
    first, _ = (table.add(call, DEATHS, 0.0) for call in calls)
    assert [1, 0] == [table.release(first.fingerprint), table.release(first.fingerprint)]
    assert [True, False] == [table.refuses(call, 1.0) is None for call in calls]


def test_releasing_all() -> None:
    """And none is left to hash for."""
    table = Quarantine()
    for value in (1, 2, "x"):
        table.add(a_call(value), DEATHS, 0.0)
    assert 3 == table.release(None)
    assert (0, {}) == (len(table), table._kinds)


def test_the_list_begins_with_the_newest() -> None:
    """And the oldest make room."""
    table = Quarantine()
    fingerprints = [table.add(a_call(n), (), float(n)).fingerprint for n in range(MAX_QUARANTINED + 5)]
    kept = [row["fingerprint"] for row in table.list(200.0)]
    assert fingerprints[:4:-1] == kept


parts = st.text("ab", max_size=3).map(str.encode)


@given(parts, parts, parts, parts)
def test_parts_of_a_fingerprint_do_not_run_into_each_other(a: bytes, b: bytes, c: bytes, d: bytes) -> None:
    """Two calls have one fingerprint only when they are the same."""
    one, other = a_call(record=("p", 1, a)), a_call(record=("p", 1, c))
    one.payload, other.payload = b, d
    same = quarantine._fingerprint_of(one) == quarantine._fingerprint_of(other)
    assert ((a, b) == (c, d)) is same


class QuarantineMachine(RuleBasedStateMachine):
    """Adding, asking, releasing and waiting, against a plain dictionary of times."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(quarantine, "MAX_QUARANTINED", 4)
        self.table = Quarantine()
        self.since: dict[int, float] = {}
        self.now_s = 0.0

    def teardown(self) -> None:
        self.patch.undo()

    numbers = st.integers(0, 7)

    @rule(n=numbers)
    def add(self, n: int) -> None:
        self.table.add(a_call(n), DEATHS, self.now_s)
        self.since.pop(n, None)
        self.since[n] = self.now_s
        self.forget()

    @rule(n=numbers)
    def release(self, n: int) -> None:
        known = self.since.pop(n, None) is not None
        fingerprint = quarantine._fingerprint_of(a_call(n))
        assert known == self.table.release(fingerprint)

    @rule(seconds=st.sampled_from([1.0, QUARANTINE_S / 2, QUARANTINE_S]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.forget()

    def forget(self) -> None:
        alive = [(n, at) for n, at in self.since.items() if self.now_s - at < QUARANTINE_S]
        self.since = dict(alive[-4:])

    @invariant()
    def those_and_no_others_are_refused(self) -> None:
        refused = [n for n in range(8) if self.table.refuses(a_call(n), self.now_s)]
        assert sorted(self.since) == refused

    @invariant()
    def every_repro_has_its_kind(self) -> None:
        self.table.list(self.now_s)
        assert len(self.since) == len(self.table) == self.table._kinds.total()


TestQuarantine = QuarantineMachine.TestCase
TestQuarantine.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
