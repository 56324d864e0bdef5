"""docs/reliability.md has a row for each verdict after a death, and names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from dspex_pool.deaths import AfterDeath

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "docs" / "reliability.md").read_text()


def _section(heading: str) -> str:
    return TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_every_verdict_has_its_row() -> None:
    """What becomes of a call whose worker died, once each."""
    rows = re.findall(
        r"^\| `([A-Z_]+)` \|", _section("What becomes of a call whose worker died"), re.MULTILINE
    )
    assert sorted(verdict.name for verdict in AfterDeath) == sorted(rows)


def test_every_failure_names_tests_that_exist() -> None:
    """By path, or by the name of a file that is there."""
    named = re.findall(r"`((?:\w+/)*\w+(?:\.py|/))`", _section("Failures"))
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    missing = [name for name in named if not ((ROOT / name).exists() or name in there)]
    assert len(named) > 30
    assert [] == missing
