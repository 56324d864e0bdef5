"""docs/metrics.md names all that DSPy has for evaluation; what is no metric here, with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dspy.evaluate
import pytest

from dspex_bridge.metrics.catalog import metric_classes

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
EXPORTED: Any = dspy.evaluate.__all__


@pytest.mark.parametrize("name", sorted({*EXPORTED, *metric_classes()}))
def test_it_is_on_the_page(name: str) -> None:
    """In a row of its own, with something said of it."""
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
    assert "".join(row.split("|")[2:]).strip()


def test_every_option_is_on_the_page() -> None:
    """With what it does, of each metric that has it."""
    for name, row in metric_classes().items():
        for option in row.options.__dataclass_fields__:  # type: ignore[attr-defined]
            lines = [line for line in PAGE.splitlines() if line.startswith(f"| `{option}` |")]
            assert any(f"`{name}`" in line for line in lines), (name, option)
