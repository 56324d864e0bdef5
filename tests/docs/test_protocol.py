"""docs/protocol.md tells what the server tells: figures, events and methods by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, cast

import pytest

from dspex_pool.client import Client
from dspex_pool.connections import POOL_EVENTS
from dspex_pool.operations import OWN_METHODS

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "docs" / "protocol.md").read_text()


def _first_cells(heading: str) -> list[str]:
    """Names in the first column of the table with that heading."""
    rows = TEXT.partition(f"\n{heading}\n")[2].partition("\n\n")[0].splitlines()[1:]
    return [name for row in rows for name in re.findall(r"`([\w.]+)`", row.split("|")[1])]


def _fields(key: str) -> list[str]:
    """The names in `{b, a}` of a key of the snapshot, sorted."""
    row = TEXT.partition("| key | value |")[2].partition(f"\n| `{key}` |")[2].partition("\n")[0]
    return sorted(re.findall(r"\w+", row.partition("{")[2].partition("}")[0]))


@pytest.mark.slow
async def test_a_snapshot_has_the_keys_that_are_written_down() -> None:
    """Of the whole, and of a worker, a client and a lane in it."""
    async with Client.start(flags=("--workers", "1")) as client:
        await client.call("system.echo")
        info = cast("dict[str, Any]", await client.call("system.info", {}))
    assert sorted(info) == sorted(_first_cells("| key | value |"))
    for name, row in (
        ("workers", info["workers"][0]),
        ("clients", info["clients"][0]),
        ("lanes", info["lanes"]["batch"]),
    ):
        assert sorted(row) == _fields(name)


def test_every_event_is_written_down() -> None:
    """Lines of the log that are about a worker, and those that go to hosts besides."""
    sources = "".join(path.read_text() for path in (ROOT / "pool" / "dspex_pool").glob("*.py"))
    lines = re.findall(r'_log\.\w+\(\s*"(\w+)"([^\n]*)', sources)
    events = {name for name, rest in lines if "worker=" in rest or name in POOL_EVENTS}
    assert len(events) > 10
    assert sorted(events) == sorted(_first_cells("| event | fields | when |"))


def test_every_method_of_the_supervisor_is_written_down() -> None:
    """In the tables of section 7."""
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", TEXT.partition("\n## 7. ")[2], re.MULTILINE)
    assert [] == sorted(OWN_METHODS.keys() - set(rows))
