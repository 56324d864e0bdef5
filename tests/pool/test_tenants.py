"""Tenants: who is active, with what weight, and what they may keep open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_pool.tenants import ACTIVE_S, CHECK_S, MAX_LEAD_S, MAX_WEIGHTS, Tenants
from dspex_protocol import DSPexError


def test_a_name_is_one_tenant() -> None:
    """Of weight 1, where nobody has said another."""
    tenants = Tenants()
    tenant = tenants.of("a", 1.0)
    assert tenant is tenants.of("a", 2.0)
    assert tenant is not tenants.of("b", 2.0)
    assert ("a", 1, 2.0) == (tenant.name, tenant.weight, tenant.last_seen_s)


def test_an_idle_tenant_is_forgotten_a_busy_one_is_not() -> None:
    """Ten seconds after it was seen last, or two more."""
    tenants = Tenants()
    for name in ("idle", "running", "waiting", "open"):
        tenants.of(name, 0.0)
    tenants.of("running", 0.0).running = 1
    tenants.of("waiting", 0.0).waiting = 1
    tenants.of("open", 0.0).open_bytes = 1
    weights = [tenants.active_weight(now_s) for now_s in (0.0, ACTIVE_S - 0.1, ACTIVE_S + CHECK_S)]
    assert ([4, 4, 3], 3) == (weights, len(tenants))


def test_a_tenant_that_calls_again_stays() -> None:
    """However little it has to do."""
    tenants = Tenants()
    tenant = tenants.of("a", 0.0)
    for second in range(0, 100, 5):
        assert 1 == tenants.active_weight(float(second))
        assert tenant is tenants.of("a", float(second))


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 30)), max_size=200))
def test_the_active_weight_is_that_of_those_seen_lately(arrivals: list[tuple[float, int]]) -> None:
    """To within two seconds; a flood of names leaves nothing behind."""
    tenants, now_s, seen = Tenants(), 0.0, dict[int, float]()
    tenants.set_weights("test", {f"{weight}": weight for weight in range(1, 31)})
    for gap_s, weight in arrivals:
        now_s += gap_s
        tenants.of(f"{weight}", now_s)
        seen[weight] = now_s
        ages_s = {weight: now_s - at_s for weight, at_s in seen.items()}
        least = sum(weight for weight, age_s in ages_s.items() if age_s < ACTIVE_S)
        most = sum(weight for weight, age_s in ages_s.items() if age_s <= ACTIVE_S + CHECK_S)
        assert least <= tenants.active_weight(now_s) <= most
    assert 0 == tenants.active_weight(now_s + ACTIVE_S + CHECK_S) == len(tenants)


def test_the_last_word_on_a_weight_counts() -> None:
    """For tenants that are there and for those that come; gone with its owner."""
    tenants = Tenants()
    here = tenants.of("here", 0.0)
    tenants.set_weights("first", {"here": 5, "later": 7})
    tenants.set_weights("second", {"here": 9})
    tenants.forget_weights("first")
    assert (9, 1) == (here.weight, tenants.of("later", 0.0).weight)
    assert 10 == tenants.active_weight(0.0)
    tenants.forget_weights("second")
    assert (1, 2) == (here.weight, tenants.active_weight(0.0))


@pytest.mark.parametrize(
    ("weights", "field"),
    [
        ({"good": 2, "a": 0}, "tenants.a"),
        ({"good": 2, "a": 101}, "tenants.a"),
        ({"good": 2, "a": True}, "tenants.a"),
        ({"good": 2, "a": 1.5}, "tenants.a"),
        ({"good": 2, "": 1}, "tenants"),
        ({"good": 2, "x" * 1000: 1}, "tenants"),
        ({"good": 2} | {f"{number}": 1 for number in range(MAX_WEIGHTS)}, "tenants"),
    ],
)
def test_bad_weights_are_refused_whole(weights: dict[str, object], field: str) -> None:
    """By field; the good one beside them does not count either."""
    tenants = Tenants()
    with pytest.raises(DSPexError) as refusal:
        tenants.set_weights("owner", weights)
    assert ("invalid_argument", field) == (refusal.value.code, refusal.value.details["field"])
    assert 1 == tenants.of("good", 0.0).weight


def test_used_seconds_stay_near_those_of_whose_turn_it_is() -> None:
    """Weighed; neither debts nor savings grow without bound."""
    tenants = Tenants()
    tenants.set_weights("test", {"a": 2})
    a, b = tenants.of("a", 0.0), tenants.of("b", 0.0)
    tenants.charge(a, 10.0)
    assert 5.0 == a.used_s
    tenants.reach(a)
    tenants.charge(b, 1000.0)
    assert 5.0 + MAX_LEAD_S == b.used_s
    tenants.reach(b)
    assert [True, False] == [tenants.catch_up(a, 20.0), tenants.catch_up(a, 20.0)]
    assert 5.0 + MAX_LEAD_S - 20.0 == a.used_s


@pytest.mark.parametrize(
    ("own", "more", "everybodys", "expected"),
    [
        (0, 100, 0, False),  # the last quarter, and more than its half
        (0, 50, 0, True),
        (70, 5, 70, True),  # within three quarters
        (70, 6, 70, False),
        (0, 25, 75, True),  # its share is kept for it
        (0, 26, 75, False),  # there is no more
        (40, 10, 80, True),
        (40, 11, 80, False),
    ],
)
def test_large_payloads_of_one_leave_room_for_others(
    own: int, more: int, everybodys: int, expected: bool
) -> None:
    """Two tenants and a hundred bytes."""
    tenants = Tenants()
    tenants.of("other", 0.0)
    tenant = tenants.of("a", 0.0)
    tenant.open_bytes = own
    assert expected == tenants.may_open(tenant, more, everybodys, 100, 0.0)


def test_a_tenant_alone_may_fill_everything() -> None:
    """With payloads too."""
    tenants = Tenants()
    assert tenants.may_open(tenants.of("a", 0.0), 100, 0, 100, 0.0)


def test_the_busiest_are_told_first() -> None:
    """So many."""
    tenants = Tenants()
    for name, running, waiting in (("a", 0, 1), ("b", 3, 0), ("c", 1, 1), ("d", 0, 0)):
        tenant = tenants.of(name, 0.0)
        tenant.running, tenant.waiting = running, waiting
    assert ["b", "c", "a"] == [row["tenant"] for row in tenants.snapshot(3)]
    assert {"tenant": "c", "weight": 1, "running": 1, "waiting": 1} == tenants.snapshot(2)[1]
