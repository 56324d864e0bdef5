"""Leases and fences, on every backend: one owner at a time, and no late writes of a former one."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.support.stores import LONG_S, SHORT_S, Place, body_of, outcome, put

from dspex_pool.store import Fence, Fenced, Held, Lease, Store

OVER_S = SHORT_S * 1.5


def fence(lease: Lease) -> Fence:
    return Fence(lease.name, lease.epoch)


async def test_a_lease_is_taken(store: Store) -> None:
    """It says what was asked for, and an epoch."""
    lease = await store.lease("session/1", "me", LONG_S)
    assert ("session/1", "me", LONG_S) == (lease.name, lease.owner, lease.ttl_s)
    assert lease.epoch >= 1


async def test_a_lease_is_one_owners(store: Store) -> None:
    """Another hears whose it is, and for how long."""
    await store.lease("s", "me", LONG_S)
    with pytest.raises(Held) as caught:
        await store.lease("s", "you", LONG_S)
    assert "me" == caught.value.owner
    assert 0 < caught.value.remaining_s <= LONG_S


async def test_renewing_keeps_the_epoch(place: Place, store: Store) -> None:
    """And lasts from then on."""
    first = await store.lease("s", "me", SHORT_S * 20)
    second = await store.lease("s", "me", LONG_S)
    await place.advance(SHORT_S * 21)
    assert first.epoch == second.epoch
    assert Held is await outcome(store.lease("s", "you", LONG_S))


async def test_a_lease_that_is_over_goes_to_another(place: Place, store: Store) -> None:
    """With a larger epoch."""
    mine = await store.lease("s", "me", SHORT_S)
    await place.advance(OVER_S)
    yours = await store.lease("s", "you", LONG_S)
    assert ("you", True) == (yours.owner, yours.epoch > mine.epoch)
    assert Held is await outcome(store.lease("s", "me", LONG_S))


async def test_a_lease_that_is_over_is_taken_anew_by_its_owner(place: Place, store: Store) -> None:
    """It gets a larger epoch as well: somebody may have had it meanwhile."""
    first = await store.lease("s", "me", SHORT_S)
    await place.advance(OVER_S)
    assert (await store.lease("s", "me", LONG_S)).epoch > first.epoch


async def test_a_lease_that_was_given_back_is_free(store: Store) -> None:
    """For anybody, with a larger epoch."""
    mine = await store.lease("s", "me", LONG_S)
    await store.release(mine)
    assert (await store.lease("s", "you", LONG_S)).epoch > mine.epoch


async def test_giving_back_what_is_anothers_changes_nothing(place: Place, store: Store) -> None:
    """Nor what is over, or never was."""
    mine = await store.lease("s", "me", SHORT_S)
    await place.advance(OVER_S)
    await store.release(mine)
    await store.lease("s", "you", LONG_S)
    await store.release(mine)
    await store.release(replace(mine, name="never"))
    assert Held is await outcome(store.lease("s", "me", LONG_S))


async def test_giving_back_the_first_does_not_end_the_second(place: Place, store: Store) -> None:
    """An owner that took it twice gives back by epoch, not by name."""
    first = await store.lease("s", "me", SHORT_S)
    await place.advance(OVER_S)
    await store.lease("s", "me", LONG_S)
    await store.release(first)
    assert Held is await outcome(store.lease("s", "you", LONG_S))


async def test_leases_are_apart(store: Store) -> None:
    """By their whole name."""
    await store.lease("s", "me", LONG_S)
    assert "you" == (await store.lease("s/1", "you", LONG_S)).owner
    assert "you" == (await store.lease("S", "you", LONG_S)).owner


async def test_a_commit_passes_its_owners_fence(store: Store) -> None:
    """Once renewed, too."""
    lease = await store.lease("s", "me", LONG_S)
    assert [1] == await store.commit([put()], [fence(lease)])
    await store.lease("s", "me", LONG_S)
    assert [2] == await store.commit([put()], [fence(lease)])


async def test_a_former_owners_commit_is_refused(place: Place, store: Store) -> None:
    """And changes nothing."""
    mine = await store.lease("s", "me", SHORT_S)
    await place.advance(OVER_S)
    yours = await store.lease("s", "you", LONG_S)
    with pytest.raises(Fenced) as caught:
        await store.commit([put(body=b"late")], [fence(mine)])
    assert ("s", None) == (caught.value.name, await body_of(store))
    assert [1] == await store.commit([put()], [fence(yours)])


async def test_a_fence_outlasts_its_lease(place: Place, store: Store) -> None:
    """That its time is over harms nobody while nobody else has taken it; nor does expiring it."""
    lease = await store.lease("s", "me", SHORT_S)
    await place.advance(OVER_S)
    assert [1] == await store.commit([put()], [fence(lease)])
    await store.expire()
    assert [2] == await store.commit([put()], [fence(lease)])


async def test_a_fence_outlasts_giving_back(store: Store) -> None:
    """As above: nobody has taken it since."""
    lease = await store.lease("s", "me", LONG_S)
    await store.release(lease)
    assert [1] == await store.commit([put()], [fence(lease)])


async def test_a_second_owner_that_has_left_still_fences(place: Place, store: Store) -> None:
    """The first one's late write is refused although nobody has the lease now."""
    mine = await store.lease("s", "me", SHORT_S)
    await place.advance(OVER_S)
    await store.release(await store.lease("s", "you", LONG_S))
    await store.expire()
    assert Fenced is await outcome(store.commit([put()], [fence(mine)]))


async def test_a_second_owner_whose_time_is_over_still_fences(place: Place, store: Store) -> None:
    """As above."""
    mine = await store.lease("s", "me", SHORT_S)
    await place.advance(OVER_S)
    await store.lease("s", "you", SHORT_S)
    await place.advance(OVER_S)
    await store.expire()
    assert Fenced is await outcome(store.commit([put()], [fence(mine)]))


async def test_a_fence_of_a_lease_that_never_was_is_refused(store: Store) -> None:
    """A store that was emptied must not take writes from before."""
    assert Fenced is await outcome(store.commit([put()], [Fence("never", 1)]))
    lease = await store.lease("s", "me", LONG_S)
    assert Fenced is await outcome(store.commit([put()], [Fence("s", lease.epoch + 1)]))


async def test_all_fences_must_hold(place: Place, store: Store) -> None:
    """And they are looked at before what the changes expect."""
    kept = await store.lease("kept", "me", LONG_S)
    lost = await store.lease("lost", "me", SHORT_S)
    await place.advance(OVER_S)
    await store.lease("lost", "you", LONG_S)
    with pytest.raises(Fenced) as caught:
        await store.commit([put(expect=9)], [fence(kept), fence(lost)])
    assert "lost" == caught.value.name


async def test_one_of_many_gets_a_lease(store: Store) -> None:
    """All others hear who."""
    outcomes = await asyncio.gather(
        *(outcome(store.lease("s", f"owner {number}", LONG_S)) for number in range(32))
    )
    (lease,) = [one for one in outcomes if isinstance(one, Lease)]
    assert 31 == outcomes.count(Held)
    with pytest.raises(Held, match=lease.owner):
        await store.lease("s", "late", LONG_S)


async def test_epochs_grow_for_ever(store: Store) -> None:
    """Each taking has one of its own."""
    epochs: list[int] = []
    for number in range(20):
        lease = await store.lease("s", f"owner {number}", LONG_S)
        await store.release(lease)
        epochs.append(lease.epoch)
    assert sorted(set(epochs)) == epochs


async def test_leases_are_there_after_opening_again(place: Place, store: Store) -> None:
    """For another process as for this one."""
    lease = await store.lease("s", "me", LONG_S)
    await store.close()
    other = place.build()
    await other.open()
    assert Held is await outcome(other.lease("s", "you", LONG_S))
    assert [1] == await other.commit([put()], [fence(lease)])
    await other.close()
    await store.open()


@pytest.mark.parametrize(
    ("name", "owner", "ttl_s"), [("", "me", 1.0), ("s", "", 1.0), ("s", "me", 0.0), ("s\0", "me", 1.0)]
)
async def test_mistakes_are_refused(store: Store, name: str, owner: str, ttl_s: float) -> None:
    """As such."""
    with pytest.raises(ValueError):
        await store.lease(name, owner, ttl_s)
