"""A server's snapshot as tables and lines: `dspex ps`, and what `dspex top` is made of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.snapshots import snapshot

from dspex_pool.cli import tables
from dspex_pool.cli.tables import cell_width, text_lines

TABLES = (tables.jobs, tables.workers, tables.lanes, tables.latencies, tables.tenants, tables.clients)


def test_workers_stand_one_a_line() -> None:
    """Words at the left, numbers at the right, each column as wide as it must be."""
    lines = text_lines(tables.workers(snapshot(workers=2)))
    assert [
        "worker slot  pid state    calls served   age    MB own MB progs retiring",
        "     1    0 4710 busy         3     10 5m00s 100.0    2.0     1 -",
        "     2    1 4711 draining     3  12.3k 5m00s 100.0    2.0     1 memory",
    ] == lines


def test_workers_come_in_the_order_of_their_numbers() -> None:
    """A server lists them in the order of its table."""
    shown = snapshot(workers=3)
    shown["workers"].reverse()
    assert ["1", "2", "3"] == [row[0] for row in tables.workers(shown).rows]


def test_wide_characters_keep_the_columns_straight() -> None:
    """They take two columns of a terminal, and accents none."""
    shown = {"clients": [{"name": "東京"}, {"name": "ab\u0301"}, {"name": "abcd"}]}
    lines = text_lines(tables.without(tables.clients(shown), "client", "tenant", "peer_pid", "open_calls"))
    assert ["name by", "東京 -", "ab\u0301   -", "abcd -"] == lines
    assert [7, 6, 6, 6] == [cell_width(line) for line in lines]


@pytest.mark.parametrize("table", TABLES)
def test_an_older_server_has_fewer_tables(table: Any) -> None:
    """What it does not tell is empty, and no reason to fail."""
    assert () == table({}).rows
    assert (
        ()
        == table(
            {"workers": None, "lanes": [], "latencies": 3, "tenants": {}, "clients": [1], "jobs": 2}
        ).rows
    )


def test_an_older_server_has_fewer_columns() -> None:
    """Its workers had a number, a pid and a state."""
    shown = {"workers": [{"worker": 1, "pid": 4711, "state": "ready"}]}
    assert ("1", "-", "4711", "ready", *["-"] * 7) == tables.workers(shown).rows[0]


def test_a_column_is_left_out() -> None:
    """Heading and cells."""
    table = tables.without(tables.tenants(snapshot()), "weight", "running")
    assert ["tenant", "waiting"] == [column.title for column in table.columns]
    assert ("tenant-0", "4") == table.rows[0]


def test_lines_tell_the_pool_at_a_glance() -> None:
    """Server, strength, load."""
    shown = snapshot()
    assert "dspex/0.1.0  pid 4700  up 3h12m  uvloop  zygote" == tables.server_line(shown)
    assert "workers 3 ready, 1 starting, target 4 of 1 to 8" == tables.pool_line(shown)
    assert "calls/s 812.3  waiting 34  payloads 11.8 MB  replied 1.2M  failed 15" == tables.load_line(shown)


def test_lines_of_an_older_server_have_dashes() -> None:
    """Never a made-up nought."""
    assert "pid -  up -" == tables.server_line({})
    assert "workers - ready" == tables.pool_line({})
    assert "calls/s -  waiting -  payloads -  replied -  failed -" == tables.load_line({})
    assert "restarts -  quarantined -  retry tokens -" == tables.trouble_line({})


def test_troubles_that_never_were_are_not_told() -> None:
    """Only those that a person looks for first are always there."""
    quiet = {"restarts": 0, "quarantined": 0, "retry_tokens": 100.0, "stuck": 0, "shed": 2}
    assert "restarts 0  quarantined 0  retry tokens 100  shed 2" == tables.trouble_line(quiet)


def test_tallies_come_by_size() -> None:
    """Errors by code, recycles by reason."""
    shown = {"errors": {"timeout": 3, "overloaded": 12, "a\x1b[m": 1}}
    assert "overloaded 12  timeout 3  a\\x1b[m 1" == tables.tally_line(shown, "errors")
    assert "none" == tables.tally_line(shown, "recycles")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
KEYS = st.sampled_from([*snapshot(), "worker", "tenant", "state", "lane", "all"])


@given(st.dictionaries(KEYS, VALUES | st.lists(st.dictionaries(KEYS, VALUES, max_size=3), max_size=3)))
def test_whatever_a_server_says_is_printable(shown: dict[str, object]) -> None:
    """A table, and nothing that steers the terminal."""
    lines = [line for table in TABLES for line in text_lines(table(shown))]
    lines += [tables.server_line(shown), tables.pool_line(shown), tables.load_line(shown)]
    lines += [tables.trouble_line(shown), tables.tally_line(shown, "errors")]
    assert [] == [line for line in lines if not line.isprintable()]
