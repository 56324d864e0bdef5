"""SELECTIONS: which rows of a version, in which order: all, a sample, or one side of a split. Pure.

A selection is a few words that always mean the same rows, on every machine and in every release: the
order of a shuffle is that of SHA-256 over seed and row number, and no random generator's.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, cast

from dspex_protocol import invalid_argument
from dspex_protocol.records import Doc, Length, Range

MAX_SEED: Final = 2**63 - 1
MAX_SIDES: Final = 16

Seed = Annotated[int, Range(0, MAX_SEED), Doc("the same seed, the same rows")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows.

    Attributes:
        sample: So many, drawn without putting back; all where there are fewer. Of a side its first
            ones, since the rows of a side are in drawn order.
        split: Name of a side to its share; together at most 1.
        side: The one that is meant.
        seed: For either.
    """

    sample: Annotated[int, Range(1), Doc("so many rows, drawn by seed")] | None = None
    split: Annotated[dict[str, float], Doc("name of a side to its share of the rows")] | None = None
    side: Annotated[str, Length(1, 64), Doc("which side of the split")] | None = None
    seed: Seed = 0


def check_selection(selection: Selection, path: str = "select") -> None:
    """Refuse what selects nothing that can be said.

    Raises:
        CallerError: `invalid_argument` naming the field.
    """
    if selection.split is None:
        if selection.side is not None:
            raise invalid_argument(f"{path}.side", "nothing without a split", selection.side)
        return
    check_shares(selection.split, f"{path}.split")
    if selection.side not in selection.split:
        sides = ", ".join(selection.split)
        raise invalid_argument(f"{path}.side", f"a side of the split ({sides})", selection.side)


def check_shares(shares: Mapping[str, float], path: str) -> None:
    """Refuse shares that are more than all.

    Raises:
        CallerError: `invalid_argument` naming the field.
    """
    if not 1 <= len(shares) <= MAX_SIDES:
        raise invalid_argument(path, f"1 to {MAX_SIDES} sides", dict(shares))
    for name, share in shares.items():
        if not name or not math.isfinite(share) or not 0 < share <= 1:
            raise invalid_argument(f"{path}.{name}", "a share of more than 0 and at most 1", share)
    if sum(shares.values()) > 1 + 1e-9:
        raise invalid_argument(path, "shares that are at most 1 together", dict(shares))


def sizes_of(shares: Mapping[str, float], rows: int) -> dict[str, int]:
    """How many rows each side gets: its share rounded down, and what that leaves to the largest rests.

    Shares that are all together leave no row out.
    """
    # By name: a map has no order on the wire, and the same words must mean the same rows everywhere.
    exact = {name: share * rows for name, share in sorted(shares.items())}
    sizes = {name: math.floor(size + 1e-9) for name, size in exact.items()}
    left = min(rows, math.floor(sum(exact.values()) + 1e-6)) - sum(sizes.values())
    by_rest = sorted(exact, key=lambda name: sizes[name] - exact[name])  # stable
    for name in by_rest[:left]:
        sizes[name] += 1
    return sizes


def rows_of(selection: Selection, rows: int) -> Sequence[int]:
    """The numbers of the rows that are meant, from 0, in order.

    Args:
        selection: Checked.
        rows: How many the version has.
    """
    if selection.split is not None:
        side = _side(selection.split, cast("str", selection.side), shuffled(rows, selection.seed))
        return side[: selection.sample]
    if selection.sample is not None:
        return shuffled(rows, selection.seed)[: selection.sample]
    return range(rows)


def _side(shares: Mapping[str, float], side: str, order: Sequence[int]) -> Sequence[int]:
    first = 0
    for name, size in sizes_of(shares, len(order)).items():
        if name == side:
            return order[first : first + size]
        first += size
    raise AssertionError("a selection is checked before it is used")


def shuffled(rows: int, seed: int) -> list[int]:
    """The numbers from 0 to `rows` - 1 in the order that a seed gives."""
    salt = hashlib.sha256(seed.to_bytes(8, "big"))

    def place(row: int) -> bytes:
        mixed = salt.copy()
        mixed.update(row.to_bytes(8, "big"))
        return mixed.digest()

    return sorted(range(rows), key=place)
