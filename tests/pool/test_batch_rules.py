"""What follows from what in a batch: which row next, and what becomes of one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from dspex_pool.batch import (
    AfterRow,
    Batch,
    begin,
    judge,
    kept_entries,
    next_row,
    of_row,
    put_back,
    settle,
    summary,
    take_entry,
    usage_of,
)
from dspex_protocol import error, invalid_argument

NOW_S = 10.0


def started(batch: Batch, count: int) -> Batch:
    """With so many rows under way."""
    for _ in range(count):
        row = next_row(batch, NOW_S, batch.rows)
        assert row is not None
        begin(batch, row)
    return batch


def test_as_many_rows_run_as_may() -> None:
    """And the next one when one of them has ended."""
    batch = started(Batch(rows=3, parallelism=2, keeps=True), 2)
    assert next_row(batch, NOW_S, batch.rows) is None
    settle(batch, 0, b"", {}, is_done=True)
    assert 2 == next_row(batch, NOW_S, batch.rows)


def test_outcomes_that_are_not_read_count_as_rows_that_run() -> None:
    """Else a client that reads nothing would fill the memory."""
    batch = started(Batch(rows=9, parallelism=2), 2)
    settle(batch, 1, b"b", {}, is_done=True)
    assert next_row(batch, NOW_S, batch.rows) is None
    assert b"b" == take_entry(batch)
    assert 2 == next_row(batch, NOW_S, batch.rows)


def test_it_is_over_when_nothing_is_left_to_send() -> None:
    """The answer comes after the last item."""
    batch = started(Batch(rows=1, parallelism=2), 1)
    settle(batch, 0, b"a", {}, is_done=True)
    assert (False, b"a", True) == (batch.is_over, take_entry(batch), batch.is_over)


def test_a_row_that_found_no_room_goes_first_after_the_pause() -> None:
    """Nothing of it is lost."""
    batch = started(Batch(rows=3, parallelism=1, keeps=True), 1)
    put_back(batch, 0, error("overloaded", "full", retry_after_ms=500), NOW_S)
    assert next_row(batch, NOW_S + 0.4, batch.rows) is None
    assert 0 == next_row(batch, NOW_S + 0.5, batch.rows)
    begin(batch, 0)
    settle(batch, 0, b"", {}, is_done=True)
    assert 1 == next_row(batch, NOW_S + 0.5, batch.rows)


def test_no_row_is_begun_after_the_last_error_that_is_allowed() -> None:
    """Those that run may end."""
    batch = started(Batch(rows=9, parallelism=3, max_errors=1, keeps=True), 3)
    settle(batch, 1, b"", {}, is_done=False)
    assert next_row(batch, NOW_S, batch.rows) is None
    settle(batch, 0, b"", {}, is_done=True)
    settle(batch, 2, b"", {}, is_done=True)
    assert batch.is_over
    assert {"rows": 9, "done": 2, "failed": 1, "left": 6, "stopped": "max_errors"}.items() <= summary(
        batch
    ).items()


def test_what_is_wrong_with_the_call_ends_the_batch() -> None:
    """It would be wrong with each row; but not once a row has succeeded."""
    batch = started(Batch(rows=9, parallelism=2), 2)
    assert AfterRow.END is judge(batch, invalid_argument("spec.module", "a module", 3))
    assert AfterRow.END is judge(batch, error("unknown_lm", "no such model"))
    assert AfterRow.END is judge(batch, error("boot_failed", "no workers"))
    assert AfterRow.KEEP is judge(batch, invalid_argument("inputs.question", "a string", 3))
    assert AfterRow.KEEP is judge(batch, error("prediction_failed", "nonsense"))
    settle(batch, 0, b"", {}, is_done=True)
    assert AfterRow.KEEP is judge(batch, error("unknown_lm", "no such model"))


def test_want_of_room_says_nothing_about_the_row() -> None:
    """Unless the row may have had effects by then."""
    batch = started(Batch(rows=9, parallelism=2), 2)
    assert AfterRow.AGAIN is judge(batch, error("overloaded", "full"))
    assert AfterRow.KEEP is judge(batch, error("overloaded", "full", maybe_executed=True))


def test_an_error_names_the_row() -> None:
    """By the path of the input, in the message too."""
    named = of_row(invalid_argument("inputs.question", "a string", 3), 7)
    assert "inputs[7].question" == named.details["field"]
    assert named.message.startswith("inputs[7].question: expected a string")
    other = invalid_argument("config.temperature", "a number", "hot")
    assert other is of_row(other, 7)


def test_usage_is_summed_up() -> None:
    """Also that of rows that failed."""
    batch = started(Batch(rows=2, parallelism=2), 2)
    settle(batch, 0, b"", {"lm_calls": 1, "lm_ms": 1.5, "tokens_in": 10, "cost_usd": 0.25}, is_done=True)
    settle(batch, 1, b"", {"lm_calls": 2, "lm_ms": 1.25, "cost_usd": 0.5, "worker": 3}, is_done=False)
    spent = {"lm_calls": 3, "lm_ms": 2.75, "tokens_in": 10, "cost_usd": 0.75}
    assert {**spent, "tokens_out": 0, "unpriced": 0} == summary(batch)["usage"]
    assert spent == usage_of(batch)


@given(
    rows=some.integers(0, 30),
    parallelism=some.integers(1, 8),
    max_errors=some.none() | some.integers(1, 5),
    keeps=some.booleans(),
    steps=some.data(),
)
def test_each_row_has_one_outcome_whatever_happens(
    rows: int, parallelism: int, max_errors: int | None, keeps: bool, steps: some.DataObject
) -> None:
    """Rows are begun in order, never more than may run, and each is settled once."""
    batch = Batch(rows=rows, parallelism=parallelism, max_errors=max_errors, keeps=keeps)
    settled: list[int] = []
    sent: list[bytes] = []
    now_s = NOW_S
    while not batch.is_over:
        while (row := next_row(batch, now_s, batch.rows)) is not None:
            begin(batch, row)
        assert len(batch.running) <= parallelism
        if batch.running:
            row = steps.draw(some.sampled_from(sorted(batch.running)))
            if steps.draw(some.integers(0, 4)) == 0:
                put_back(batch, row, error("overloaded", "full"), now_s)
            else:
                is_done = steps.draw(some.booleans())
                settle(batch, row, b"%d" % row, {}, is_done=is_done)
                settled.append(row)
        now_s += 0.05
        if steps.draw(some.booleans()) and (entry := take_entry(batch)) is not None:
            sent.append(entry)
    assert len(settled) == len(set(settled)) == batch.done + batch.failed
    if max_errors is None:
        assert set(range(rows)) == set(settled)
    if keeps:
        assert [b"%d" % row for row in sorted(settled)] == kept_entries(batch)
    else:
        assert [b"%d" % row for row in settled] == sent
