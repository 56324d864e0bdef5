"""Turns in one lane: what one tenant missed or had in other times soon counts no more."""

from __future__ import annotations

from tests.support.queueing import make_call

from dspex_pool.tenants import MAX_LEAD_S, Tenants
from dspex_pool.turns import Turns


def test_who_has_been_passed_over_for_long_goes_first_for_a_minute_only() -> None:
    """It waited while another used a thousand seconds elsewhere."""
    tenants = Tenants()
    turns = Turns(tenants)
    passed_over, busy = tenants.of("passed over", 0.0), tenants.of("busy", 0.0)
    turns.add(first := make_call(passed_over))
    busy.used_s = 1000.0
    tenants.reach(busy)
    turns.add(second := make_call(busy))
    assert first is turns.first(1.0, may_borrow=True)
    tenants.charge(passed_over, MAX_LEAD_S + 1)
    assert second is turns.first(1.0, may_borrow=True)


def test_a_tenant_is_due_again_once_there_are_more_places() -> None:
    """Or fewer tenants: the line is drawn anew at each question."""
    tenants = Tenants()
    turns = Turns(tenants)
    tenant = tenants.of("a", 0.0)
    tenant.running = 2
    turns.add(call := make_call(tenant))
    answers = [turns.first(places, may_borrow=False) for places in (2.0, 2.5, 1.0, 3.0)]
    assert [None, call, None, call] == answers
    assert call is turns.first(1.0, may_borrow=True)
