"""Texts that match a regular expression, for string fields with a `pattern`."""

from __future__ import annotations

import re
from random import Random

# The parsed form has no public name; `re.compile` uses the same module since 3.11.
from re import _constants as tokens  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
from re import _parser as parser  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
from typing import Any, Final

_MOST_REPEATS: Final = 6  # beyond the minimum, where a pattern sets no maximum
_CATEGORIES: Final = {"DIGIT": "0123456789", "WORD": "abcdefgh_0123", "SPACE": " "}
_ANYTHING: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


def matching(pattern: str, random: Random) -> str | None:
    """A text that `pattern` finds, or None where the pattern uses what is not supported here."""
    try:
        text = _sequence(list(parser.parse(pattern)), random, {})
        return text if re.search(pattern, text) else None
    except (re.error, KeyError, IndexError, RecursionError):
        return None


def _sequence(parts: list[Any], random: Random, groups: dict[int, str]) -> str:
    return "".join(_part(operation, argument, random, groups) for operation, argument in parts)


def _part(operation: Any, argument: Any, random: Random, groups: dict[int, str]) -> str:
    if operation is tokens.LITERAL:
        return chr(argument)
    if operation is tokens.NOT_LITERAL:
        return random.choice(_ANYTHING.replace(chr(argument), ""))
    if operation is tokens.ANY:
        return random.choice(_ANYTHING)
    if operation is tokens.AT:
        return ""
    if operation is tokens.IN:
        return _one_of(argument, random)
    if operation in (tokens.MAX_REPEAT, tokens.MIN_REPEAT):
        low, high, inner = argument
        times = random.randint(low, min(high, low + _MOST_REPEATS))
        return "".join(_sequence(list(inner), random, groups) for _ in range(times))
    if operation is tokens.BRANCH:
        return _sequence(list(random.choice(argument[1])), random, groups)
    if operation is tokens.SUBPATTERN:
        text = _sequence(list(argument[3]), random, groups)
        groups[argument[0]] = text
        return text
    if operation is tokens.GROUPREF:
        return groups[argument]
    raise KeyError(str(operation))


def _one_of(members: list[Any], random: Random) -> str:
    allowed: set[str] = set()
    negated = False
    for operation, argument in members:
        if operation is tokens.NEGATE:
            negated = True
        elif operation is tokens.LITERAL:
            allowed.add(chr(argument))
        elif operation is tokens.RANGE:
            allowed.update(map(chr, range(argument[0], min(argument[1], argument[0] + 127) + 1)))
        else:
            name = str(argument).removeprefix("CATEGORY_")
            if name.startswith("NOT_"):
                allowed.update(set(_ANYTHING + " ") - set(_CATEGORIES[name.removeprefix("NOT_")]))
            else:
                allowed.update(_CATEGORIES[name])
    return random.choice(sorted(set(_ANYTHING) - allowed if negated else allowed))
