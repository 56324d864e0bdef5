"""A browser that the tests of pages share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.browser import Browser, Show


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One process of it; each page is forgotten after its test."""
    started = Browser()
    yield started
    started.close()


@pytest.fixture
def show(tmp_path: Path) -> Show:
    """Puts a page where the browser finds it."""
    numbers = iter(range(1_000_000))

    def put(text: str) -> str:
        path = tmp_path / f"page-{next(numbers)}.html"
        path.write_text(text, encoding="utf-8")
        return path.as_uri()

    return put
