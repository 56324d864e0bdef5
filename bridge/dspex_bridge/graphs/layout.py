"""Boxes in columns, and the ways of the arrows between them. Pure: sizes and pairs in, places out.

In the manner of Sugiyama: arrows that would close a circle are turned round for the while; each box
stands in the column after the last of those that point to it; an arrow over several columns passes
through a point in each of those between; within the columns boxes are ordered by where their
neighbours are, and then moved as near to them as they can be without touching.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Point: TypeAlias = tuple[float, float]
Pair: TypeAlias = tuple[int, int]

COLUMN_GAP: Final = 72.0
ROW_GAP: Final = 18.0
SWEEPS: Final = 6
"""Times that boxes are moved towards their neighbours, to the one side and back."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where all is.

    Attributes:
        places: Upper left corner of each box.
        ways: Of each arrow, the points that it goes through, from its source to its target.
        size: Width and height of the whole.
    """

    places: list[Point]
    ways: list[list[Point]]
    size: Point


@dataclass(slots=True)
class _Spot:
    """A box, or a point that an arrow passes through."""

    width: float
    height: float
    column: int
    before: list[int] = field(default_factory=list[int])
    after: list[int] = field(default_factory=list[int])
    x: float = 0.0
    y: float = 0.0  # of its middle


def lay_out(sizes: Sequence[Point], arrows: Sequence[Pair]) -> Layout:
    """Find places.

    Args:
        sizes: Width and height of each box.
        arrows: Source and target of each, by the number of the box.
    """
    forward = _without_circles(len(sizes), arrows)
    columns = _columns(len(sizes), forward)
    spots = [_Spot(width, height, columns[n]) for n, (width, height) in enumerate(sizes)]
    chains = [_chain(spots, source, target) for source, target in forward]
    rows = _rows(spots)
    _order(spots, rows)
    _set_x(spots, rows)
    _set_y(spots, rows)
    places = [(spot.x, spot.y - spot.height / 2) for spot in spots[: len(sizes)]]
    ways = _ways(spots, chains)
    turned = [
        way if pair == arrow else way[::-1] for way, pair, arrow in zip(ways, forward, arrows, strict=True)
    ]
    right = max((spot.x + spot.width for spot in spots), default=0.0)
    bottom = max((spot.y + spot.height / 2 for spot in spots), default=0.0)
    return Layout(places, turned, (right, bottom))


def _without_circles(count: int, arrows: Sequence[Pair]) -> list[Pair]:
    """The arrows, with those turned round that lead back to where a walk came from."""
    leading: list[list[int]] = [[] for _ in range(count)]
    for source, target in arrows:
        leading[source].append(target)
    back: set[Pair] = set()
    state = [0] * count  # 1 while a walk is in it, 2 after
    for start in range(count):
        if state[start]:
            continue
        state[start] = 1
        walk = [(start, iter(leading[start]))]
        while walk:
            at, rest = walk[-1]
            to = next(rest, None)
            if to is None:
                state[at] = 2
                walk.pop()
            elif state[to] == 1:
                back.add((at, to))
            elif state[to] == 0:
                state[to] = 1
                walk.append((to, iter(leading[to])))
    return [(target, source) if (source, target) in back else (source, target) for source, target in arrows]


def _columns(count: int, arrows: Sequence[Pair]) -> list[int]:
    """Of each box one more than the greatest of those that point to it; a box may point to itself."""
    leading: list[list[int]] = [[] for _ in range(count)]
    open_before = [0] * count
    for source, target in arrows:
        if source != target:
            leading[source].append(target)
            open_before[target] += 1
    columns = [0] * count
    ready = [n for n in range(count) if not open_before[n]]
    while ready:
        at = ready.pop()
        for to in leading[at]:
            columns[to] = max(columns[to], columns[at] + 1)
            open_before[to] -= 1
            if not open_before[to]:
                ready.append(to)
    return columns


def _chain(spots: list[_Spot], source: int, target: int) -> list[int]:
    """The spots of an arrow: its ends, and a new point in each column between."""
    between = range(spots[source].column + 1, spots[target].column)
    chain = [source, *range(len(spots), len(spots) + len(between)), target]
    spots.extend(_Spot(0.0, 0.0, column) for column in between)
    if source != target:
        for here, there in itertools.pairwise(chain):
            spots[here].after.append(there)
            spots[there].before.append(here)
    return chain


def _rows(spots: Sequence[_Spot]) -> list[list[int]]:
    """Of each column its spots, in the order in which a walk from the left comes to them."""
    rows: list[list[int]] = [[] for _ in range(1 + max((spot.column for spot in spots), default=-1))]
    seen: set[int] = set()
    waiting = [n for n in reversed(range(len(spots))) if not spots[n].before]
    while waiting:
        at = waiting.pop()
        if at not in seen:
            seen.add(at)
            rows[spots[at].column].append(at)
            waiting.extend(reversed(spots[at].after))
    return rows


def _order(spots: Sequence[_Spot], rows: list[list[int]]) -> None:
    """Put each column's spots in the order of their neighbours' places, there and back."""
    for sweep in range(SWEEPS):
        there = sweep % 2 == 0
        for column in rows[1:] if there else rows[-2::-1]:
            place = {n: at for row in rows for at, n in enumerate(row)}
            column.sort(key=lambda n: _mean((place[m] for m in _near(spots[n], there)), place[n]))


def _near(spot: _Spot, there: bool) -> list[int]:
    return spot.before if there else spot.after


def _mean(values: Iterable[float], otherwise: float) -> float:
    some = list(values)
    return sum(some) / len(some) if some else otherwise


def _set_x(spots: Sequence[_Spot], rows: Sequence[Sequence[int]]) -> None:
    x = 0.0
    for row in rows:
        for n in row:
            spots[n].x = x
        width = max((spots[n].width for n in row), default=0.0)
        for n in row:
            if not spots[n].height:  # a point is as wide as its column, so that its arrow goes straight on
                spots[n].width = width
        x += width + COLUMN_GAP


def _set_y(spots: Sequence[_Spot], rows: Sequence[Sequence[int]]) -> None:
    for row in rows:
        _spread(spots, row, dict.fromkeys(row, 0.0))
    for sweep in range(SWEEPS):
        there = sweep % 2 == 0
        for row in rows[1:] if there else rows[-2::-1]:
            wanted = {n: _mean((spots[m].y for m in _near(spots[n], there)), spots[n].y) for n in row}
            _spread(spots, row, wanted)
    top = min((spot.y - spot.height / 2 for spot in spots), default=0.0)
    for spot in spots:
        spot.y -= top


def _spread(spots: Sequence[_Spot], row: Sequence[int], wanted: Mapping[int, float]) -> None:
    """Put a column's spots where they are wanted, as nearly as their order and sizes allow.

    The least sum of squares: neighbours that would overlap become a block, which stands at the mean
    of where its members wanted it.
    """
    offsets: list[float] = []
    for at, n in enumerate(row):
        before = offsets[-1] + spots[row[at - 1]].height / 2 + ROW_GAP if at else 0.0
        offsets.append(before + spots[n].height / 2)
    blocks: list[tuple[float, int]] = []  # sum and count
    for n, offset in zip(row, offsets, strict=True):
        total, count = wanted[n] - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            total, count = total + blocks[-1][0], count + blocks[-1][1]
            blocks.pop()
        blocks.append((total, count))
    starts = [total / count for total, count in blocks for _ in range(count)]
    for n, start, offset in zip(row, starts, offsets, strict=True):
        spots[n].y = start + offset


# Ways --------------------------------------------------------------------------------------


def _ways(spots: Sequence[_Spot], chains: Sequence[Sequence[int]]) -> list[list[Point]]:
    """The points of each arrow: a door at each box, both sides of each point between."""
    leaving = _doors(spots, [(chain[0], chain[1]) for chain in chains])
    coming = _doors(spots, [(chain[-1], chain[-2]) for chain in chains])
    ways: list[list[Point]] = []
    for n, chain in enumerate(chains):
        first, last = spots[chain[0]], spots[chain[-1]]
        way = [(first.x + first.width, leaving[n])]
        for m in chain[1:-1]:
            way += [(spots[m].x, spots[m].y), (spots[m].x + spots[m].width, spots[m].y)]
        own = chain[0] == chain[-1]
        way.append((last.x + (last.width if own else 0.0), coming[n]))
        ways.append(way)
    return ways


def _doors(spots: Sequence[_Spot], ends: Sequence[Pair]) -> list[float]:
    """Where each arrow meets its box: on a side of it they stand apart, in the order of their other ends."""
    at_box: dict[int, list[int]] = {}
    for n, (box, _) in enumerate(ends):
        at_box.setdefault(box, []).append(n)
    doors = [0.0] * len(ends)
    for box, arrows in at_box.items():
        arrows.sort(key=lambda n: spots[ends[n][1]].y)
        for place, n in enumerate(arrows):
            doors[n] = spots[box].y + spots[box].height * ((place + 1) / (len(arrows) + 1) - 0.5)
    return doors
