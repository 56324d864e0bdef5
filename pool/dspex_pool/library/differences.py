"""What differs between two values, as rows that say where. Pure; it knows nothing of programs.

Maps are compared key by key. Of two arrays what they have in common at the beginning and at the end
is set aside, and the rest is compared one by one: so a demo that was put in or taken out anywhere is
one row. Values are told whole, be they long: what a row leaves out could be the difference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

from dspex_protocol import Pairs, Tagged, encode_value

_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One place where two values differ.

    Attributes:
        path: Such as `state.predict.demos[0].question`. An array's index counts in the later
            value; where something was removed, in the earlier one.
        change: What happened there.
        before: What was there; None for what was added.
        after: What is there; None for what was removed.
    """

    path: str
    change: Literal["added", "removed", "changed"]
    before: object = None
    after: object = None


def differences(before: object, after: object, path: str = "") -> Iterator[Difference]:
    """Each place where two values differ, in the order of the paths' parts.

    Args:
        before: A value of the protocol.
        after: Another.
        path: Where they stand.
    """
    match before, after:
        case dict(), dict() if not isinstance(before, Pairs) and not isinstance(after, Pairs):
            yield from _of_maps(
                cast("Mapping[str, object]", before), cast("Mapping[str, object]", after), path
            )
        case list(), list():
            yield from _of_arrays(cast("list[object]", before), cast("list[object]", after), path)
        case Tagged(), Tagged() if before.tag == after.tag:
            yield from differences(before.value, after.value, path)
        case _:
            if encode_value(before) != encode_value(after):
                yield Difference(path=path, change="changed", before=before, after=after)


def _of_maps(before: Mapping[str, object], after: Mapping[str, object], path: str) -> Iterator[Difference]:
    for key in sorted(before.keys() | after.keys()):
        at = _below(path, key)
        if key not in after:
            yield Difference(path=at, change="removed", before=before[key])
        elif key not in before:
            yield Difference(path=at, change="added", after=after[key])
        else:
            yield from differences(before[key], after[key], at)


def _of_arrays(before: Sequence[object], after: Sequence[object], path: str) -> Iterator[Difference]:
    earlier, later = [encode_value(item) for item in before], [encode_value(item) for item in after]
    start = _common(earlier, later)
    end = _common(earlier[start:][::-1], later[start:][::-1])
    stop, stop_later = len(before) - end, len(after) - end
    both = min(stop, stop_later)
    for at in range(start, both):
        yield from differences(before[at], after[at], f"{path}[{at}]")
    for at in range(both, stop):
        yield Difference(path=f"{path}[{at}]", change="removed", before=before[at])
    for at in range(both, stop_later):
        yield Difference(path=f"{path}[{at}]", change="added", after=after[at])


def _common(one: Sequence[bytes], other: Sequence[bytes]) -> int:
    """How many items at their beginning are equal."""
    for at, (item, same) in enumerate(zip(one, other, strict=False)):
        if item != same:
            return at
    return min(len(one), len(other))


def _below(path: str, key: str) -> str:
    if not _WORD.fullmatch(key):
        return f"{path}[{json.dumps(key, ensure_ascii=False)}]"
    return f"{path}.{key}" if path else key
