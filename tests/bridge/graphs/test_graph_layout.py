"""Boxes and arrows: none on another, and each arrow from its box to its box."""

from __future__ import annotations

import itertools
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from dspex_bridge.graphs.layout import COLUMN_GAP, ROW_GAP, Layout, Pair, Point, lay_out

SIZES: Final = st.lists(
    st.tuples(st.floats(10, 300, width=32), st.floats(10, 200, width=32)), min_size=1, max_size=12
)
NEAR: Final = 0.01


@st.composite
def drawings(draw: st.DrawFn) -> tuple[list[Point], list[Pair]]:
    sizes = draw(SIZES)
    box = st.integers(0, len(sizes) - 1)
    return sizes, draw(st.lists(st.tuples(box, box), max_size=20))


@given(drawings())
def test_no_box_lies_on_another(drawing: tuple[list[Point], list[Pair]]) -> None:
    """They keep their distance, circles or not, and all are within the whole."""
    sizes, arrows = drawing
    found = lay_out(sizes, arrows)
    boxes = [
        (x, y, x + width, y + height) for (x, y), (width, height) in zip(found.places, sizes, strict=True)
    ]
    for one, other in itertools.combinations(boxes, 2):
        beside = one[2] + COLUMN_GAP <= other[0] + NEAR or other[2] + COLUMN_GAP <= one[0] + NEAR
        above = one[3] + ROW_GAP <= other[1] + NEAR or other[3] + ROW_GAP <= one[1] + NEAR
        assert beside or above
    for left, top, right, bottom in boxes:
        assert -NEAR <= left
        assert -NEAR <= top
        assert right <= found.size[0] + NEAR
        assert bottom <= found.size[1] + NEAR


def is_at(box: int, point: Point, sizes: list[Point], found: Layout) -> bool:
    (x, y), (width, height) = found.places[box], sizes[box]
    return min(abs(point[0] - x), abs(point[0] - x - width)) < NEAR and y < point[1] < y + height


@given(drawings())
def test_an_arrow_goes_from_its_box_to_its_box(drawing: tuple[list[Point], list[Pair]]) -> None:
    """Also one that goes back."""
    sizes, arrows = drawing
    found = lay_out(sizes, arrows)
    assert len(arrows) == len(found.ways)
    for (source, target), way in zip(arrows, found.ways, strict=True):
        assert is_at(source, way[0], sizes, found)
        assert is_at(target, way[-1], sizes, found)


def test_arrows_point_to_the_right_and_only_a_circle_goes_back() -> None:
    """Three in a row, and one arrow from the last to the first."""
    found = lay_out([(50, 20)] * 3, [(0, 1), (1, 2), (2, 0)])
    assert [0.0, 50 + COLUMN_GAP, 2 * (50 + COLUMN_GAP)] == [x for x, _ in found.places]
    ends = [(way[0][0], way[-1][0]) for way in found.ways]
    assert [True, True, False] == [start < end for start, end in ends]


def test_a_box_stands_in_the_middle_of_what_it_points_to() -> None:
    """Of two as well as of three."""
    found = lay_out([(50, 20)] * 4, [(0, 1), (0, 2), (0, 3)])
    heights = [y for _, y in found.places]
    assert heights[0] == heights[2]
    assert heights[1] < heights[2] < heights[3]


def test_arrows_at_one_side_stand_apart() -> None:
    """Two between the same boxes are two."""
    found = lay_out([(50, 40)] * 2, [(0, 1), (0, 1)])
    assert found.ways[0][0][1] != found.ways[1][0][1]


def test_there_may_be_nothing() -> None:
    """And then there is nothing."""
    assert Layout([], [], (0.0, 0.0)) == lay_out([], [])
