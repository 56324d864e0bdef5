"""The ranking, against a dictionary that is searched."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dspex_pool.ranking import Ranking

STEPS = st.tuples(st.integers(0, 5), st.none() | st.integers(0, 4))


@given(st.lists(STEPS, max_size=300))
def test_the_first_is_the_lowest_and_of_equals_the_one_ranked_first(
    steps: list[tuple[int, int | None]],
) -> None:
    """Whatever is put in, moved and taken out; None takes out."""
    ranking, known = Ranking[int](), dict[int, tuple[int, int]]()
    for count, (thing, rank) in enumerate(steps):
        if rank is None:
            ranking.drop(thing)
            known.pop(thing, None)
        else:
            ranking.set(thing, rank)
            known[thing] = (rank, count)
        assert min(known, key=known.__getitem__, default=None) == ranking.first()
        assert (len(known), thing in known) == (len(ranking), thing in ranking)


def test_a_thing_that_moves_for_ever_takes_no_more_memory() -> None:
    """What was left behind in the heap is thrown out."""
    ranking = Ranking[str]()
    ranking.set("still", -1)
    for rank in range(10_000):
        ranking.set("moving", rank)
    assert "still" == ranking.first()
    assert ranking.entries <= 100
