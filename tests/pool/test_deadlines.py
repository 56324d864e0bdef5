"""The wheel: nothing early, nothing forgotten, nothing kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dspex_pool.deadlines import TICKS_PER_S, DeadlineWheel

times = st.floats(0, 100, allow_nan=False)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 9), times),
        st.tuples(st.just("remove"), st.integers(0, 9), st.just(0.0)),
        st.tuples(st.just("due"), st.just(0), times),
    ),
    max_size=40,
)


@given(steps)
def test_the_wheel_does_as_a_plain_dictionary_would(steps: list[tuple[str, int, float]]) -> None:
    """Each thing comes out once, at most a tick late, and never early."""
    wheel: DeadlineWheel[int] = DeadlineWheel()
    model: dict[int, float] = {}
    for what, thing, at_s in steps:
        if what == "add":
            wheel.add(thing, at_s)
            model[thing] = at_s
        elif what == "remove":
            wheel.remove(thing)
            model.pop(thing, None)
        else:
            out = wheel.due(at_s)
            assert len(out) == len(set(out))
            assert all(model[thing] <= at_s for thing in out)
            late = {thing for thing, due_s in model.items() if due_s + 2 / TICKS_PER_S <= at_s}
            assert late <= set(out)
            for gone in out:
                del model[gone]
        assert len(model) == len(wheel)


@given(st.dictionaries(st.integers(), times, min_size=1))
def test_the_next_moment_is_when_the_first_comes_due(things: dict[int, float]) -> None:
    """Waking then finds something, and waking before it finds nothing."""
    wheel: DeadlineWheel[int] = DeadlineWheel()
    for thing, at_s in things.items():
        wheel.add(thing, at_s)
    next_s = wheel.next_s()
    assert next_s is not None
    assert 0 <= next_s - min(things.values()) <= 1 / TICKS_PER_S + 1e-9
    assert [] == wheel.due(next_s - 1 / TICKS_PER_S)
    assert [] != wheel.due(next_s)


def test_an_empty_wheel_has_no_next_moment() -> None:
    """Also when it had something."""
    wheel: DeadlineWheel[str] = DeadlineWheel()
    wheel.add("x", 5)
    wheel.remove("x")
    wheel.remove("x")
    assert None is wheel.next_s()
    assert [] == wheel.due(1000)


def test_what_is_added_again_moves() -> None:
    """It comes due at the later time only."""
    wheel: DeadlineWheel[str] = DeadlineWheel()
    wheel.add("x", 1)
    wheel.add("x", 2)
    assert [] == wheel.due(1.5)
    assert ["x"] == wheel.due(2.5)


def test_what_is_due_comes_earliest_first() -> None:
    """Whatever the order of adding."""
    wheel: DeadlineWheel[float] = DeadlineWheel()
    for at_s in (3.0, 1.0, 2.0):
        wheel.add(at_s, at_s)
    assert [1.0, 2.0, 3.0] == wheel.due(10)


def test_calls_that_end_early_leave_nothing_behind_them() -> None:
    """A day of calls with a day's deadline each: buckets that are empty go before their time."""
    wheel: DeadlineWheel[int] = DeadlineWheel()
    wheel.add(-1, 1.0)
    for n in range(20_000):
        wheel.add(n, 86_400 + n / 10)
        wheel.remove(n)
    assert len(wheel._buckets) < 3000
    assert [-1] == wheel.due(2)
