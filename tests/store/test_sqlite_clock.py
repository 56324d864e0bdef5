"""The clock of a SQLite store: pure, so every boot and every step of the wall clock can be had."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dspex_pool.store.sqlite_clock import (
    ANCHOR_AGE_S,
    Anchor,
    Clocks,
    Reading,
    StoreClock,
    go_on,
    is_of_this_boot,
)

FIRST = Reading(boot_id="one", boot_s=100.0, wall_s=1e9)
ANCHOR = Anchor(boot_id="one", boot_s=100.0, wall_s=1e9, store_s=50.0)


def later(boot_s: float, wall_s: float) -> Reading:
    """What the clocks say after so much of each, in the same boot."""
    return replace(FIRST, boot_s=FIRST.boot_s + boot_s, wall_s=FIRST.wall_s + wall_s)


def rebooted(wall_s: float) -> Reading:
    """What they say just after another boot."""
    return Reading(boot_id="two", boot_s=1.0, wall_s=FIRST.wall_s + wall_s)


def test_a_new_file_begins_at_zero() -> None:
    """Whatever the clocks say."""
    assert Anchor(boot_id="one", boot_s=100.0, wall_s=1e9, store_s=0.0) == go_on(None, FIRST)


def test_within_a_boot_only_the_time_since_boot_counts() -> None:
    """The wall clock may be set by a year in either direction."""
    for step_s in (0.0, 3.2e7, -3.2e7):
        assert 57.0 == go_on(ANCHOR, later(7.0, step_s)).store_s


def test_across_boots_the_wall_clock_counts() -> None:
    """An hour switched off is an hour."""
    assert 3650.0 == go_on(ANCHOR, rebooted(3600.0)).store_s


def test_a_wall_clock_that_was_set_back_does_not_turn_time_back() -> None:
    """It goes on from where it was known to be."""
    assert 50.0 == go_on(ANCHOR, rebooted(-1e9)).store_s


def test_the_anchor_of_another_boot_is_of_this_one_afterwards() -> None:
    """So the next process of this boot follows the time since boot."""
    moved = go_on(ANCHOR, rebooted(10.0))
    assert ("two", 1.0, 60.0) == (moved.boot_id, moved.boot_s, moved.store_s)
    assert is_of_this_boot(moved, replace(rebooted(0.0), boot_s=2.0))
    assert not is_of_this_boot(ANCHOR, rebooted(10.0))


def test_a_count_that_went_back_is_another_boot() -> None:
    """Where the kernel does not name its boots, that is all there is to go by."""
    nameless = replace(ANCHOR, boot_id="")
    again = Reading(boot_id="", boot_s=5.0, wall_s=FIRST.wall_s + 20.0)
    assert 70.0 == go_on(nameless, again).store_s


def test_a_clock_follows_the_time_since_boot() -> None:
    """And asks for a new anchor after a minute."""
    now_s = 100.0
    clock = StoreClock(ANCHOR, lambda: now_s)
    assert (50.0, False) == (clock.now_s(), clock.is_due())
    now_s += ANCHOR_AGE_S
    assert (50.0 + ANCHOR_AGE_S, True) == (clock.now_s(), clock.is_due())


def test_moving_the_anchor_does_not_move_the_time() -> None:
    """Processes with anchors of different moments agree."""
    early = StoreClock(ANCHOR, lambda: 500.0)
    late = StoreClock(go_on(ANCHOR, later(200.0, -1e6)), lambda: 500.0)
    assert early.now_s() == late.now_s() == 450.0


def test_the_real_clocks_go_forward() -> None:
    """And the boot has a name, where the kernel gives one."""
    one, two = Clocks().read(), Clocks().read()
    assert one.boot_id == two.boot_id
    assert one.boot_s <= two.boot_s


@dataclass
class Machine:
    """A machine that is used, switched off, and set wrong."""

    reading: Reading = FIRST
    boots: int = 1

    def run(self, seconds: float) -> None:
        reading = self.reading
        self.reading = replace(reading, boot_s=reading.boot_s + seconds, wall_s=reading.wall_s + seconds)

    def set_wall(self, step_s: float) -> None:
        self.reading = replace(self.reading, wall_s=self.reading.wall_s + step_s)

    def restart(self, off_s: float) -> None:
        self.boots += 1
        wall_s = self.reading.wall_s + off_s
        self.reading = Reading(boot_id=f"boot {self.boots}", boot_s=0.0, wall_s=wall_s)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.floats(0, 1e7)),
        st.tuples(st.just("set_wall"), st.floats(-1e9, 1e9)),
        st.tuples(st.just("restart"), st.floats(0, 1e7)),
    ),
    max_size=30,
)


@given(steps)
def test_time_never_goes_back(todo: list[tuple[str, float]]) -> None:
    """Whatever happens to the machine, as long as each thing is followed by a new anchor."""
    machine, anchor = Machine(), go_on(None, FIRST)
    seen = [anchor.store_s]
    for name, seconds in todo:
        getattr(machine, name)(seconds)
        anchor = go_on(anchor, machine.reading)
        seen.append(anchor.store_s)
    assert all(before <= after for before, after in pairwise(seen))


@given(st.lists(st.floats(0, 1e6), max_size=20), st.floats(-1e9, 1e9))
def test_within_a_boot_time_is_exact(runs: list[float], step_s: float) -> None:
    """However often the anchor moves and the wall clock is set."""
    machine, anchor = Machine(), go_on(None, FIRST)
    for seconds in runs:
        machine.run(seconds)
        machine.set_wall(step_s)
        anchor = go_on(anchor, machine.reading)
    assert abs(anchor.store_s - sum(runs)) < 1e-3
