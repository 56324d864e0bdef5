"""Which growth is let pass, and what a verdict needs."""

from __future__ import annotations

from dataclasses import replace

from tests.support.anatomy import Holdings

from .gates import SUPERVISOR_BYTES_PER_CALL, WARM, WORKER_BYTES_PER_CALL
from .run import Growth, Result, Verdict
from .samples import Counts, Samples
from .slope import Slope

HELD = Holdings(descriptors=9, threads=2, children=2, zombies=0)
LEVEL = Counts(supervisor=HELD, worker=None, waiting=0, open_bytes=0, calls=0)
FLAT = Growth(slope=Slope(lower=0, middle=0, upper=0), gate=WARM.supervisor_gate(1000))
GOOD = Verdict(path="ok", calls=1000, seconds=1.0, supervisor=FLAT, worker=None, before=LEVEL, after=LEVEL)


def test_a_long_run_is_held_to_the_release_gate() -> None:
    """And a short one to what it can tell."""
    assert WARM.supervisor_gate(10**8).is_release
    assert SUPERVISOR_BYTES_PER_CALL == WARM.supervisor_gate(10**8).bytes_per_call
    assert WORKER_BYTES_PER_CALL == WARM.worker_gate(10**8).bytes_per_call
    assert not WARM.supervisor_gate(1000).is_release
    assert 10 * WARM.supervisor_gate(10_000).bytes_per_call == WARM.supervisor_gate(1000).bytes_per_call


def test_the_upper_limit_counts() -> None:
    """A run that is not sure does not pass, whatever its best guess."""
    gate = WARM.supervisor_gate(10**8)
    assert gate.passes(Slope(lower=-1.0, middle=0.0, upper=0.2))
    assert not gate.passes(Slope(lower=-1.0, middle=0.0, upper=0.3))


def test_one_descriptor_more_fails_a_path() -> None:
    """What is counted has to be the same, to the last one."""
    assert GOOD.passes
    more = replace(LEVEL, supervisor=replace(HELD, descriptors=10))
    assert not replace(GOOD, after=more).passes


def test_a_leak_that_was_not_caught_makes_a_run_void() -> None:
    """However flat its paths are."""
    assert Result(verdicts=[GOOD]).is_good
    assert not Result(verdicts=[GOOD], missed=["1 B a call"]).is_good


def test_samples_keep_what_was_added() -> None:
    """In order, and nothing that was not."""
    samples = Samples(3)
    samples.add(10, 100, 1000)
    samples.add(20, 200, 2000)
    assert [10, 20] == list(samples.calls)
    assert [100, 200] == list(samples.supervisor_bytes)
    assert [1000, 2000] == list(samples.worker_bytes)
