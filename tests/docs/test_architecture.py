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
    """In the table of its package, once; or its folder has, whose `__init__` says which file is what."""
    table = TEXT.partition(f"\n## {package}, file by file\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [name for cell in cells for name in re.findall(r"`([\w/]+)\.py`", cell)]
    folders = {name for cell in cells for name in re.findall(r"`(\w+)/`", cell)}
    there = [path.relative_to(ROOT / package).with_suffix("") for path in (ROOT / package).rglob("*.py")]
    alone = [path for path in there if path.stem != "__init__" and path.parts[0] not in folders]
    assert sorted(path.as_posix() for path in alone) == sorted(named)
