"""Figures of a server in little room: numbers, bytes, times and names, each as a few characters.

They come over the wire, perhaps from another version of DSPex: what is missing or of another
type is a dash, and a name cannot steer the terminal.
"""

from __future__ import annotations

import math
from typing import Final

from .readable import plain

UNKNOWN: Final = "-"
MAX_NAME_CHARACTERS: Final = 200
"""Of one name: a view of many names of a megabyte would take seconds to lay out."""
_MIB: Final = 1024 * 1024
_STEPS: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_BYTE_STEPS: Final = ((1024.0**4, "TB"), (1024.0**3, "GB"), (1024.0**2, "MB"), (1024.0, "kB"))


def number_of(value: object) -> float | None:
    """A finite number; None for anything else, so that nothing is calculated with it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def name_text(value: object) -> str:
    """A name or a word on one line; a number as it is."""
    if value is None or value == "":
        return UNKNOWN
    text = str(value) if isinstance(value, str | int | float) else UNKNOWN
    return plain(text[:MAX_NAME_CHARACTERS]).replace("\n", "\\n").replace("\t", "\\t")


def count_text(value: object) -> str:
    """How many, in at most six characters: 9999, 12.3k, 1.2M."""
    number = number_of(value)
    if number is None:
        return UNKNOWN
    if abs(number) < 10_000:
        return f"{number:.0f}"
    return _scaled(number)


def rate_text(value: object) -> str:
    """How many a second: one place behind the point where there are few."""
    number = number_of(value)
    if number is None:
        return UNKNOWN
    return f"{number:.1f}" if abs(number) < 1000 else count_text(number)


def score_text(value: object) -> str:
    """A score: three places behind the point."""
    number = number_of(value)
    if number is None:
        return UNKNOWN
    return f"{number:.3f}" if abs(number) < 1000 else count_text(number)


def money_text(value: object) -> str:
    """Dollars: two places behind the point."""
    number = number_of(value)
    if number is None:
        return UNKNOWN
    return f"{number:.2f}" if abs(number) < 1000 else count_text(number)


def megabytes_text(value: object) -> str:
    """Bytes in the MB of the settings, which are 1,048,576 bytes."""
    number = number_of(value)
    if number is None:
        return UNKNOWN
    return f"{number / _MIB:.1f}" if number < 1000 * _MIB else count_text(number / _MIB)


def bytes_text(value: object) -> str:
    """Bytes in the unit that suits them."""
    number = number_of(value)
    if number is None:
        return UNKNOWN
    for size, unit in _BYTE_STEPS:
        if number >= size:
            return f"{count_text(number / size) if number >= 100 * size else f'{number / size:.1f}'} {unit}"
    return f"{number:.0f} B"


def milliseconds_text(value: object) -> str:
    """Milliseconds without their unit: three digits that count."""
    number = number_of(value)
    if number is None:
        return UNKNOWN
    if number < 10:
        return f"{number:.2f}"
    return f"{number:.1f}" if number < 1000 else count_text(number)


def age_text(value: object) -> str:
    """Seconds as the two units that say most: 12s, 3m05s, 2h10m, 5d03h."""
    number = number_of(value)
    if number is None or number < 0:
        return UNKNOWN
    if number < 60:
        return f"{int(number)}s"
    minutes, seconds = divmod(int(number), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h" if days < 1000 else f"{count_text(days)}d"
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"


def _scaled(number: float) -> str:
    for size, unit in _STEPS:
        if size <= abs(number) < 1e15:
            part = number / size
            return f"{part:.1f}{unit}" if abs(part) < 100 else f"{part:.0f}{unit}"
    return f"{number:.0e}"
