"""Generated pages say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from dspex_protocol import CODES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_in_the_tree_are_fresh(generate: ModuleType) -> None:
    """Every generated page equals what `make docs` would write."""
    assert [] == generate.stale_pages()


def test_every_code_has_its_row(generate: ModuleType) -> None:
    """docs/errors.md lists each code of the table once, with its meaning."""
    rows = [line for line in generate.errors_page().splitlines() if line.startswith("| `")]
    assert sorted(CODES) == sorted(row.split("`")[1] for row in rows)
    assert all(CODES[row.split("`")[1]].meaning in row for row in rows)


def test_a_changed_page_is_called_stale(generate: ModuleType, tmp_path: Path) -> None:
    """A page that was edited by hand, or is missing, is named."""
    generate.write_pages(tmp_path)
    assert [] == generate.stale_pages(tmp_path)
    (tmp_path / "errors.md").write_text("# Errors, from memory\n")
    assert ["errors.md"] == generate.stale_pages(tmp_path)
    (tmp_path / "errors.md").unlink()
    assert ["errors.md"] == generate.stale_pages(tmp_path)
