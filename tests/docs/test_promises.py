"""The table of promises names tests, counts and defects that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests.chaos.plants import PLANTS as CHAOS_PLANTS
from tests.simulation.plants import PLANTS as SIMULATION_PLANTS

ROOT: Final = Path(__file__).parents[2]
TABLE: Final = (
    (ROOT / "docs" / "reliability.md").read_text().partition("\n## Promises\n")[2].partition("\n## ")[0]
)
ROWS: Final = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if line.startswith("| P")
]
PROMISES: Final = [f"P{number}" for number in (*range(1, 12), 12, 13, 15, 16, 17, 20)]


def test_every_promise_has_a_test_and_a_defect() -> None:
    """In the order of their numbers."""
    assert PROMISES == [row[0] for row in ROWS]
    assert [] == [row[0] for row in ROWS if not (row[1] and row[2] and row[4])]


def test_every_path_exists() -> None:
    """By its path, or by a name that only one test has."""
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    names = re.findall(r"`(test_\w+\.py)`", TABLE)
    paths = re.findall(r"`((?:tests|protocol)/[\w/.]+)`", TABLE)
    assert len(names) > 10
    assert set() == set(names) - files
    assert [] == [path for path in paths if not (ROOT / path).exists()]


def test_every_count_is_read_by_a_test() -> None:
    """`DSPEX_TEST_KILLS` is `count("kills", …)`; a name that goes on from the one before begins with `_`."""
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    counted = {name.upper() for name in re.findall(r'count\("(\w+)"', sources)}
    named = set(re.findall(r"`(?:DSPEX_TEST)?_([A-Z_]+)(?:=\d+)?`", TABLE))
    assert len(named) > 5
    assert set() == named - counted


def test_every_planted_defect_exists() -> None:
    """Those of the simulation and of chaos by name; the others stand in files that are named."""
    named = set(re.findall(r"`([a-z_]+)`", " ".join(row[4] for row in ROWS)))
    assert len(named) > 10
    assert set() == named - set(SIMULATION_PLANTS) - set(CHAOS_PLANTS)
