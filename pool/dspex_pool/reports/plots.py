"""PLOTS: small drawings, as SVG without style of its own; `page/style.css` has its colours, light and dark.

Each says in words what it shows, for those who do not see it: a title, and the numbers below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from .figures import Axis, Bin, axis_of, bins_of, count_text, score_text
from .markup import Markup, element, joined

WIDTH: Final = 320
HEIGHT: Final = 132
_LEFT: Final = 34
_RIGHT: Final = 10
_TOP: Final = 12
_BOTTOM: Final = 22

STRIP_WIDTH: Final = 220
STRIP_HEIGHT: Final = 22
HISTORY_WIDTH: Final = 720
HISTORY_HEIGHT: Final = 220
MAX_POINTS: Final = 500
"""Of a history, as dots; the line of the best has them all."""

Say = Callable[[float], str]


def histogram(
    title: str, values: Sequence[float], *, mean: float | None = None, say: Say = score_text
) -> Markup:
    """How many values are where; with a line at their mean."""
    axis = axis_of(values)
    whole = are_whole(values)
    bins = bins_of(values, axis, 2 if whole else 20)
    most = max((bin_.values for bin_ in bins), default=0) or 1
    inside = joined(*_bars(bins, most), *_frame(axis, most, say, names_bins=whole))
    line = "" if mean is None or whole else _mean_line(_x(axis.place(mean)))
    return _drawing(
        title, _in_words(bins, say, whole=whole), WIDTH, HEIGHT, joined(inside, line), "histogram"
    )


def are_whole(values: Sequence[float]) -> bool:
    """Whether there are only zeros and ones, which want two bars."""
    return bool(values) and all(value in (0.0, 1.0) for value in values)


def _bars(bins: Sequence[Bin], most: int) -> Iterator[Markup]:
    room = (WIDTH - _LEFT - _RIGHT) / len(bins)
    for n, bin_ in enumerate(bins):
        if bin_.values:
            height = max(1.0, (HEIGHT - _TOP - _BOTTOM) * bin_.values / most)
            yield element(
                "rect",
                class_="bar",
                x=round(_LEFT + n * room + 1, 2),
                y=round(HEIGHT - _BOTTOM - height, 2),
                width=round(room - 2, 2),
                height=round(height, 2),
            )


def _frame(axis: Axis, most: int, say: Say, *, names_bins: bool) -> Iterator[Markup]:
    floor = HEIGHT - _BOTTOM
    yield element("line", class_="axis", x1=_LEFT, y1=floor, x2=WIDTH - _RIGHT, y2=floor)
    yield element("text", count_text(most), class_="tick", x=_LEFT - 5, y=_TOP + 4, text_anchor="end")
    yield element("text", "0", class_="tick", x=_LEFT - 5, y=floor, text_anchor="end")
    if names_bins:
        places = [(0.25, "0", "middle"), (0.75, "1", "middle")]
    else:
        middle = say((axis.low + axis.high) / 2)
        places = [(0.0, say(axis.low), "start"), (0.5, middle, "middle"), (1.0, say(axis.high), "end")]
    for share, words, anchor in places:
        yield element("text", words, class_="tick", x=_x(share), y=HEIGHT - 6, text_anchor=anchor)


def _mean_line(x: float) -> Markup:
    return element("line", class_="mean", x1=x, y1=_TOP - 4, x2=x, y2=HEIGHT - _BOTTOM)


def _x(share: float) -> float:
    return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 2)


def _in_words(bins: Sequence[Bin], say: Say, *, whole: bool) -> str:
    if whole:
        return f"{bins[0].values} times 0, {bins[1].values} times 1."
    filled = [f"{bin_.values} from {say(bin_.low)} to {say(bin_.high)}" for bin_ in bins if bin_.values]
    return "; ".join(filled) + "." if filled else "No value."


def interval_strip(
    title: str,
    axis: Axis,
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    reference: float | None = None,
) -> Markup:
    """A value and its interval on an axis, in a row of a table; with a line where nothing differs."""
    middle = STRIP_HEIGHT / 2

    def at(number: float) -> float:
        return round(6 + axis.place(number) * (STRIP_WIDTH - 12), 2)

    parts = [element("line", class_="axis", x1=6, y1=middle, x2=STRIP_WIDTH - 6, y2=middle)]
    if reference is not None:
        parts.append(element("line", class_="zero", x1=at(reference), y1=2, x2=at(reference), y2=20))
    if low is not None and high is not None:
        parts.append(element("line", class_="interval", x1=at(low), y1=middle, x2=at(high), y2=middle))
        parts += [element("line", class_="end", x1=at(x), y1=6, x2=at(x), y2=16) for x in (low, high)]
    if value is not None:
        parts.append(element("circle", class_="dot", cx=at(value), cy=middle, r=4))
    words = f"On an axis from {score_text(axis.low)} to {score_text(axis.high)}."
    return _drawing(title, words, STRIP_WIDTH, STRIP_HEIGHT, joined(*parts), "strip")


def share_strip(title: str, shares: Sequence[tuple[str, float]]) -> Markup:
    """Parts of a whole side by side; each part has a class of its own."""
    whole = sum(count for _, count in shares) or 1.0
    parts: list[Markup] = []
    x = 0.0
    for look, count in shares:
        width = STRIP_WIDTH * count / whole
        if width:
            parts.append(
                element(
                    "rect", class_=look, x=round(x, 2), y=4, width=round(max(0.0, width - 1), 2), height=14
                )
            )
        x += width
    words = ", ".join(f"{count_text(count)} {look}" for look, count in shares)
    return _drawing(title, words, STRIP_WIDTH, STRIP_HEIGHT, joined(*parts), "strip")


def history(title: str, scores: Sequence[tuple[float | None, bool]], best: Sequence[float | None]) -> Markup:
    """A score for each trial, and the best so far as a line of steps.

    Args:
        title: What it shows.
        scores: Of each trial, None where it has none; and whether it is of all rows.
        best: The best of all trials until then.
    """
    known = [value for value in (*(score for score, _ in scores), *best) if value is not None]
    axis = _close_axis(known)
    step = (HISTORY_WIDTH - 70) / max(1, len(scores) - 1)

    def x(n: int) -> float:
        return round(56 + n * step, 2)

    def y(value: float) -> float:
        return round(HISTORY_HEIGHT - 30 - axis.place(value) * (HISTORY_HEIGHT - 46), 2)

    parts = [*_grid(axis, y), *_trial_ticks(len(scores), x)]
    line = _steps([(x(n), y(value)) for n, value in enumerate(best) if value is not None])
    if line:
        parts.append(element("path", class_="best", d=line))
    every = -(-len(scores) // MAX_POINTS)
    parts += [
        element("circle", class_="dot" if is_full else "part", cx=x(n), cy=y(value), r=3.5)
        for n, (value, is_full) in enumerate(scores)
        if value is not None and n % max(1, every) == 0
    ]
    reached = [value for value in best if value is not None]
    words = "No score."
    if reached:
        way = f"from {score_text(reached[0])} to {score_text(reached[-1])}"
        words = f"{len(scores)} trials; the best score goes {way}."
    return _drawing(title, words, HISTORY_WIDTH, HISTORY_HEIGHT, joined(*parts), "history")


def lines(title: str, series: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> Markup:
    """Values over steps, a line each; numbered at their ends, since colours alone do not tell them apart."""
    points = [point for _, line in series for point in line]
    axis = _close_axis([y for _, y in points])
    across = Axis(min((x for x, _ in points), default=0.0), max((x for x, _ in points), default=1.0))
    if across.low == across.high:
        across = Axis(across.low, across.low + 1)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x, y = across.place(point[0]), axis.place(point[1])
        return round(56 + x * (HISTORY_WIDTH - 90), 2), round(
            HISTORY_HEIGHT - 30 - y * (HISTORY_HEIGHT - 46), 2
        )

    parts = [*_grid(axis, lambda value: place((across.low, value))[1])]
    ends: list[tuple[float, float, int]] = []
    for n, (_, line) in enumerate(series):
        placed = [place(point) for point in _thinned(line)]
        path = "M" + "L".join(f"{x:g} {y:g}" for x, y in placed)
        parts.append(element("path", class_=f"line line-{n % 8}", d=path))
        ends.append((placed[-1][1], placed[-1][0], n + 1))
    parts += _numbers(ends)
    words = "; ".join(
        f"{n}, {name}: from {score_text(line[0][1])} to {score_text(line[-1][1])} in {len(line)} values"
        for n, (name, line) in enumerate(series, 1)
    )
    return _drawing(title, words, HISTORY_WIDTH, HISTORY_HEIGHT, joined(*parts), "history")


def _numbers(ends: Sequence[tuple[float, float, int]]) -> Iterator[Markup]:
    """At the ends of lines, one below another where they would cover each other."""
    free = 0.0
    for y, x, number in sorted(ends):
        free = max(free, y)
        yield element("text", str(number), class_="tick", x=x + 6, y=round(free + 4, 2))
        free += 11


def _thinned(line: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Some of many points, the last one among them."""
    every = -(-len(line) // MAX_POINTS)
    return line if every <= 1 else [*line[:-1:every], line[-1]]


def _close_axis(values: Sequence[float]) -> Axis:
    """Scores of trials are near each other; an axis from 0 to 1 would hide what happened."""
    if not values:
        return Axis(0.0, 1.0)
    low, high = min(values), max(values)
    if high - low > 1e100:
        return axis_of(values)
    room = (high - low) * 0.08 or abs(high) * 0.05 or 0.5
    return Axis(low - room, high + room)


def _grid(axis: Axis, y: Callable[[float], float]) -> Iterator[Markup]:
    for n in range(5):
        value = axis.low + (axis.high - axis.low) * n / 4
        yield element("line", class_="grid", x1=56, y1=y(value), x2=HISTORY_WIDTH - 8, y2=y(value))
        yield element("text", score_text(value), class_="tick", x=50, y=y(value) + 4, text_anchor="end")


def _trial_ticks(trials: int, x: Callable[[int], float]) -> Iterator[Markup]:
    every = max(1, -(-trials // 8))
    for n in range(0, trials, every):
        yield element("text", str(n + 1), class_="tick", x=x(n), y=HISTORY_HEIGHT - 10, text_anchor="middle")


def _steps(points: Sequence[tuple[float, float]]) -> str:
    if not points:
        return ""
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    for (_, before), (x, y) in pairwise(points):
        path += f"H{x:g}" + (f"V{y:g}" if y != before else "")
    return path


def _drawing(title: str, words: str, width: int, height: int, content: Markup, look: str) -> Markup:
    return element(
        "svg",
        element("title", title),
        content,
        role="img",
        class_=look,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        aria_label=f"{title}. {words}",
    )
