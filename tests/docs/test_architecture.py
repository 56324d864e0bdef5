"""docs/architecture.md names every file of the pool and of the bridge, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "docs" / "architecture.md").read_text()


@pytest.mark.parametrize("package", ["bridge/dspex_bridge", "pool/dspex_pool"])
def test_every_file_has_its_line(package: str) -> None:
    """In the table of its package, once."""
    table = TEXT.partition(f"\n## {package}, file by file\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [name for cell in cells for name in re.findall(r"`(\w+)\.py`", cell)]
    there = [path.stem for path in (ROOT / package).glob("*.py") if path.stem != "__init__"]
    assert sorted(there) == sorted(named)
