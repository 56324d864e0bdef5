"""A graph as one SVG: no script, no font and no picture from elsewhere, light and dark.

Its text is measured roughly, since no font is known here; boxes are wide enough for common ones.
Every rule of its style begins with its own id, so that it can stand in a page beside others.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from .labels import Label, label_of, plain, summary_of, title_of
from .layout import Layout, Point, lay_out
from .parts import Edge, Graph, Node

MARGIN: Final = 24.0
PADDING: Final = 12.0
TITLE_PX: Final = 14.0
LINE_PX: Final = 12.0
LEADING: Final = 1.4
"""Height of a line by its letters' size."""

MIN_WIDTH: Final = 96.0
LOOP_PX: Final = 40.0
"""How far an arrow from a box to itself goes out."""
_NARROW: Final = frozenset("iljtfrI.,:;'|!()[]{} ")
_BROAD: Final = frozenset("mwMW@%…→←<>+=~")

_STYLE: Final = """
#{id} {{ --paper: #ffffff; --ink: #1c2430; --dim: #5a6675; --line: #7d8896;
  --program: #e8ecf2; --module: #f5f6f8; --predictor: #e3effd; --tool: #e6f5e9;
  --reward: #fdf1dc; --lm: #f0e8fa;
  --feeds: #1f6fc4; font-family: system-ui, sans-serif; color-scheme: light dark; }}
@media (prefers-color-scheme: dark) {{
#{id} {{ --paper: #12161c; --ink: #e8edf4; --dim: #a5b0be; --line: #7d8896;
  --program: #2a323d; --module: #1d232b; --predictor: #173150; --tool: #173a22;
  --reward: #43320f; --lm: #33214b;
  --feeds: #66aef5; }}
}}
#{id} .paper {{ fill: var(--paper); }}
#{id} .box {{ stroke: var(--line); stroke-width: 1; }}
#{id} .title {{ fill: var(--ink); font-size: {title}px; font-weight: 600; }}
#{id} .line {{ fill: var(--ink); font-size: {line}px; }}
#{id} .role, #{id} .field {{ fill: var(--dim); font-size: {line}px; }}
#{id} .field {{ paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }}
#{id} .arrow {{ fill: none; stroke: var(--line); stroke-width: 1.25; }}
#{id} .calls {{ stroke-dasharray: 5 4; }}
#{id} .feeds {{ stroke: var(--feeds); stroke-width: 2; }}
#{id} .head {{ fill: var(--line); }}
#{id} .feeds-head {{ fill: var(--feeds); }}
"""


def to_svg(graph: Graph) -> str:
    """The drawing, a document of its own."""
    labels = [label_of(node) for node in graph.nodes]
    numbers = {node.id: n for n, node in enumerate(graph.nodes)}
    arrows = [(numbers[edge.source], numbers[edge.target]) for edge in graph.edges]
    sizes = [_size(label) for label in labels]
    laid_out = lay_out(sizes, arrows)
    own = "g" + hashlib.blake2b(repr((labels, graph.edges)).encode(), digest_size=6).hexdigest()
    body = [*_arrows(graph.edges, laid_out, own), *_boxes(graph.nodes, labels, sizes, laid_out)]
    return "\n".join(_document(graph, own, laid_out.size, body)) + "\n"


def _document(graph: Graph, own: str, size: Point, body: Sequence[str]) -> Iterator[str]:
    width, height = size[0] + 2 * MARGIN, size[1] + 2 * MARGIN
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" id="{own}" role="img" aria-labelledby="{own}-t {own}-d"'
        f' width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">'
    )
    yield f'<title id="{own}-t">{_text(title_of(graph))}</title>'
    yield f'<desc id="{own}-d">{_text(summary_of(graph))}</desc>'
    yield f"<style>{_STYLE.format(id=own, title=TITLE_PX, line=LINE_PX)}</style>"
    yield "<defs>"
    for name, look in zip(_HEADS.values(), ("head", "feeds-head"), strict=True):
        yield (
            f'<marker id="{own}-{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"'
            f' markerUnits="userSpaceOnUse" orient="auto"><path class="{look}" d="M0 0L8 4L0 8Z"/></marker>'
        )
    yield "</defs>"
    yield f'<rect class="paper" width="{width:.0f}" height="{height:.0f}" rx="8"/>'
    yield f'<g transform="translate({MARGIN:.0f} {MARGIN:.0f})">'
    yield from body
    yield "</g>"
    yield "</svg>"


# Boxes -------------------------------------------------------------------------------------


def _size(label: Label) -> Point:
    lines = max((measured(line, LINE_PX) for line in (label.role, *label.lines)), default=0.0)
    width = max(MIN_WIDTH, measured(label.title, TITLE_PX) * 1.08, lines) + 2 * PADDING
    return width, TITLE_PX * LEADING + LINE_PX * LEADING * (1 + len(label.lines)) + 2 * PADDING - 4


def measured(text: str, size_px: float) -> float:
    """About how wide a text is."""
    return size_px * sum(map(_width, text))


def _width(character: str) -> float:
    if character in _NARROW:
        return 0.36
    if character in _BROAD:
        return 0.92
    if unicodedata.east_asian_width(character) in ("W", "F"):
        return 1.05
    if unicodedata.combining(character):
        return 0.0
    return 0.7 if character.isupper() else 0.58


def _boxes(
    nodes: Sequence[Node], labels: Sequence[Label], sizes: Sequence[Point], laid_out: Layout
) -> Iterator[str]:
    for node, label, size, place in zip(nodes, labels, sizes, laid_out.places, strict=True):
        yield from _box(node, label, size, place)


def _box(node: Node, label: Label, size: Point, place: Point) -> Iterator[str]:
    yield f'<g transform="translate({place[0]:.1f} {place[1]:.1f})">'
    if label.hint:
        yield f"<title>{_text(label.hint)}</title>"
    radius = size[1] / 4 if node.kind in ("program", "lm") else 4.0
    yield (
        f'<rect class="box" style="fill: var(--{node.kind})" width="{size[0]:.1f}" height="{size[1]:.1f}"'
        f' rx="{radius:.1f}"/>'
    )
    y = PADDING + TITLE_PX
    yield f'<text class="title" x="{PADDING:.0f}" y="{y - 2:.1f}">{_text(label.title)}</text>'
    for n, line in enumerate((label.role, *label.lines)):
        y += LINE_PX * LEADING
        look = "line" if n else "role"
        yield f'<text class="{look}" x="{PADDING:.0f}" y="{y:.1f}">{_text(line)}</text>'
    yield "</g>"


# Arrows ------------------------------------------------------------------------------------


_HEADS: Final = {"calls": "h", "feeds": "f"}
"""Markers by what arrows say; what contains a part has no head."""


def _arrows(edges: Sequence[Edge], laid_out: Layout, own: str) -> Iterator[str]:
    for edge, way in zip(edges, laid_out.ways, strict=True):
        marker = _HEADS.get(edge.link)
        head = f' marker-end="url(#{own}-{marker})"' if marker else ""
        yield f'<path class="arrow {edge.link}" d="{_path(way)}"{head}/>'
        if edge.label:
            x, y = _middle(way)
            words = _text(plain(edge.label))
            yield f'<text class="field" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{words}</text>'


def _path(way: Sequence[Point]) -> str:
    """A line that leaves and comes to each of its points level."""
    (x, y), *rest = way
    path = f"M{x:.1f} {y:.1f}"
    for to_x, to_y in rest:
        bend = (x + to_x) / 2 if to_x != x else x + LOOP_PX
        path += f"C{bend:.1f} {y:.1f} {bend:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
        x, y = to_x, to_y
    return path


def _middle(way: Sequence[Point]) -> Point:
    """Where its label stands: half way of the stretch in its middle."""
    at = (len(way) - 1) // 2
    (x, y), (to_x, to_y) = way[at], way[at + 1]
    return (x + to_x) / 2 + (LOOP_PX if x == to_x else 0.0), (y + to_y) / 2 - 4


def _text(text: str) -> str:
    return escape(text, quote=True)
