"""Whether two values are the same, as in JSON and on the wire: a truth is no number, and NaN is NaN."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import Enum, auto
from typing import Any, Final, TypeAlias

from dspex_protocol import DSPexError

from ..values.outgoing import to_wire

MAX_DEPTH: Final = 100
"""Deeper than any value of the wire; texts that are read as JSON may be deeper."""


class Every(Enum):
    """A step of a path that fits every key and every index."""

    ONE = auto()


Step: TypeAlias = str | int | Every
Path: TypeAlias = tuple[Step, ...]


def difference(
    given: Any, wanted: Any, ignored: Sequence[Path] = (), path: Path = ()
) -> tuple[Path, str] | None:
    """The first place where two values differ.

    Args:
        given: What came.
        wanted: What was expected.
        ignored: Places that do not count, nor what is in them.
        path: Where both stand.

    Returns:
        The place, and in words what is wrong there; None when they are the same.
    """
    if any(_fits(one, path) for one in ignored):
        return None
    if len(path) > MAX_DEPTH:
        return path, f"it is nested more than {MAX_DEPTH} levels deep"
    if isinstance(given, dict) and isinstance(wanted, dict):
        return _first(
            _of_member(given, wanted, key, ignored, (*path, key)) for key in dict.fromkeys((*wanted, *given))
        )
    if isinstance(given, list | tuple) and isinstance(wanted, list | tuple):
        return _of_arrays(given, wanted, ignored, path)
    return None if _same(given, wanted) else (path, "it is another value")


def _of_member(
    given: dict[Any, Any], wanted: dict[Any, Any], key: Any, ignored: Sequence[Path], path: Path
) -> tuple[Path, str] | None:
    if key in given and key in wanted:
        return difference(given[key], wanted[key], ignored, path)
    if any(_fits(one, path) for one in ignored):
        return None
    return path, "it is missing" if key in wanted else "it was not expected"


def _of_arrays(
    given: Sequence[Any], wanted: Sequence[Any], ignored: Sequence[Path], path: Path
) -> tuple[Path, str] | None:
    found = _first(
        difference(ours, theirs, ignored, (*path, n))
        for n, (ours, theirs) in enumerate(zip(given, wanted, strict=False))
    )
    if found is None and len(given) != len(wanted):
        return path, f"it has {len(given)} members, and {len(wanted)} were expected"
    return found


def _first(found: Iterable[tuple[Path, str] | None]) -> tuple[Path, str] | None:
    return next((one for one in found if one is not None), None)


def _same(given: Any, wanted: Any) -> bool:
    if _is_number(given) and _is_number(wanted):
        return bool(given == wanted) or (_is_nan(given) and _is_nan(wanted))
    if type(given) is type(wanted) or (isinstance(given, str) and isinstance(wanted, str)):
        if isinstance(given, str | bool | bytes | None):
            return bool(given == wanted)
        return _same_object(given, wanted)
    return False


def _same_object(given: Any, wanted: Any) -> bool:
    """Of DSPy's types and others: what they are on the wire."""
    try:
        return to_wire(given) == to_wire(wanted)
    except DSPexError:
        return bool(given == wanted)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _is_nan(value: Any) -> bool:
    return bool(value != value)  # noqa: PLR0124 - that is what NaN is


def _fits(pattern: Path, path: Path) -> bool:
    return len(pattern) == len(path) and all(
        one is Every.ONE or one == step for one, step in zip(pattern, path, strict=True)
    )


def written(path: Path) -> str:
    """A path as people write it, such as `items[0].name`; `$` for the whole."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f"{'.' if text else ''}{step}"
    return text or "$"
