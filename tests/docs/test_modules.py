"""docs/modules.md names all that DSPy has for predictions; where it cannot be used, the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dspy
import dspy.predict
import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "modules.md").read_text()
MODULES = [
    name
    for name, found in vars(dspy).items()
    if isinstance(found, type) and issubclass(found, dspy.Module) and found is not dspy.Module
]
EXPORTED: Any = dspy.predict.__all__


@pytest.mark.parametrize("name", sorted({*MODULES, *EXPORTED}))
def test_it_is_on_the_page(name: str) -> None:
    """In a row of its own, with something said of it."""
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
    assert "".join(row.split("|")[2:]).strip()
