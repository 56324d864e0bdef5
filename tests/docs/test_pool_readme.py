"""pool/README.md names what is there: every limit with its value, every step with its function."""

from __future__ import annotations

import importlib
import re
from dataclasses import fields
from functools import reduce
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from dspex_pool.config import Config

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = ROOT / "pool" / "dspex_pool"
TEXT: Final = (ROOT / "pool" / "README.md").read_text()
# Numbers that bound nothing: an id, an exit code, a unit, the word for "no limit", how many there are.
NO_LIMITS: Final = frozenset(
    ("greeting.HELLO_ID", "guest.SLOT", "memory.PAGE_BYTES", "placing.NO_LIMIT", "recycling.MIB")
    + ("waiting.UNLIMITED", "watchdog.EXIT_CODE", "errands.NO_LIMIT", "session_records.SCHEMA")
)
SCALES: Final = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20}


class Limit(NamedTuple):
    """A row of the table."""

    name: str
    value: str
    unit: str
    why: str


def _read_limits(text: str) -> list[Limit]:
    table = text.partition("\n## Limits\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [Limit(row[1].strip("`"), *row[2:]) for row in rows if len(row) == 5 and "`" in row[1]]


LIMITS: Final = _read_limits(TEXT)


def _number(limit: Limit) -> float | None:
    """What a row says, in the unit of the code."""
    if limit.value == "unset":
        return None
    in_bytes = limit.name.lower().removesuffix("_per_s").endswith("_bytes")
    return float(limit.value.replace(",", "")) * (SCALES[limit.unit] if in_bytes else 1)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _settings() -> dict[str, object]:
    numbers = {one.name: getattr(Config(), one.name) for one in fields(Config)}
    return {name: value for name, value in numbers.items() if value is None or _is_number(value)}


def _constants() -> dict[str, object]:
    """Every number that stands in capitals at the top of a file of the pool."""
    found: dict[str, object] = {}
    for path in PACKAGE.glob("*.py"):
        for name in re.findall(r"^([A-Z][A-Z_]+)(?:: Final)? = ", path.read_text(), re.MULTILINE):
            value = getattr(importlib.import_module(f"dspex_pool.{path.stem}"), name)
            if _is_number(value):
                found[f"{path.stem}.{name}"] = value
    return found


CODE: Final = _settings() | _constants()


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.name)
def test_a_limit_has_the_value_of_the_code(limit: Limit) -> None:
    """A setting's default, or a constant; and a reason."""
    assert CODE[limit.name] == _number(limit)
    assert "" != limit.why


def test_every_limit_of_the_code_is_in_the_table() -> None:
    """Once each, so that a new one cannot come without its reason."""
    named = [limit.name for limit in LIMITS]
    assert sorted(CODE.keys() - NO_LIMITS) == sorted(named)


def test_every_function_exists() -> None:
    """`placing.py` `Placing.place` is a function of that file."""
    named = re.findall(r"`(\w+)\.py` `([\w.]+)`", TEXT)
    assert len(named) > 30
    for module, path in named:
        reduce(getattr, path.split("."), importlib.import_module(f"dspex_pool.{module}"))
