"""docs/optimizers.md names all of DSPy's optimizers, and all their options."""

from __future__ import annotations

from pathlib import Path

import pytest

from dspex_bridge.optimizers.classes import optimizer_classes

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "optimizers.md").read_text()


@pytest.mark.parametrize("name", sorted(optimizer_classes()))
def test_it_is_on_the_page(name: str) -> None:
    """In a row of its own, with something said of it."""
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
    assert "".join(row.split("|")[2:]).strip()


def test_every_option_is_on_the_page() -> None:
    """With what it does, of each optimizer that has it."""
    for name, row in optimizer_classes().items():
        for record in (row.options, row.compile):
            for option in record.__dataclass_fields__:  # type: ignore[attr-defined]
                lines = [line for line in PAGE.splitlines() if line.startswith(f"| `{option}` |")]
                assert any(f"`{name}`" in line for line in lines), (name, option)
