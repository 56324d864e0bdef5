"""A metric over JSON: values, or texts that are JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, NoReturn

from dspex_protocol.errors import invalid_argument
from dspex_protocol.records import Doc, Length

from .compared import Compared
from .equality import Every, Path, Step, difference, written
from .rows import Row
from .scores import Score, no_score, verdict

MAX_IGNORED: Final = 64
_STEP: Final = re.compile(r"(?:^|\.)(?P<key>[^.\[\]]+)|\[(?P<index>\d{1,9}|\*)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonMatch(Compared):
    """Whether a value, or a text that is JSON, is what was expected."""

    ignore: Annotated[
        list[Annotated[str, Length(1, 256)]],
        Length(0, MAX_IGNORED),
        Doc("paths that do not count, such as `meta.time` or `items[*].id`; `*` is any key"),
    ] = field(default_factory=list[str])

    def check(self, path: str) -> None:
        """Refuse what is no path.

        Raises:
            CallerError: `invalid_argument`.
        """
        Compared.check(self, path)
        for n, ignored in enumerate(self.ignore):
            read_path(ignored, f"{path}.ignore[{n}]")

    def measure(self, row: Row) -> Score:
        """Feedback names the first place that differs."""
        ignored = [read_path(path, "ignore") for path in self.ignore]
        return self.best(row, lambda given, wanted, path: _compare(given, wanted, path, ignored), _read)


def _read(given: Any) -> object:
    """The value, or the score of what is no JSON."""
    try:
        return _value(given)
    except _NoJson as reason:
        return verdict(False, f"it is no JSON ({reason})")


def _compare(given: Any, wanted: Any, path: str, ignored: list[Path]) -> Score:
    try:
        reference = _value(wanted)
    except _NoJson as reason:
        raise no_score(path, "JSON", f"a text that is none ({reason})") from None
    if isinstance(given, Score):
        return given
    found = difference(given, reference, ignored)
    return verdict(found is None, None if found is None else f"{written(found[0])}: {found[1]}")


class _NoJson(Exception):
    """A text is no JSON."""


def _value(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_constant=_refuse)
    except RecursionError:
        raise _NoJson("it is nested too deep") from None
    except json.JSONDecodeError as reason:
        raise _NoJson(f"{reason.msg} at character {reason.pos}") from None
    except ValueError as reason:  # a number of thousands of digits, or one that JSON does not have
        raise _NoJson(str(reason)[:64]) from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no value of JSON")


def read_path(text: str, path: str) -> Path:
    """A path as it is written.

    Args:
        text: Keys with dots between, and indexes in brackets; `*` for any.
        path: Where it stands, for messages.

    Raises:
        CallerError: `invalid_argument`.
    """
    steps: list[Step] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            raise invalid_argument(path, "a path, such as meta.time or items[*].id", text)
        steps.append(_step(found["key"], found["index"]))
        at = found.end()
    return tuple(steps)


def _step(key: str | None, index: str | None) -> Step:
    if "*" in (key, index):
        return Every.ONE
    return key if index is None and key is not None else int(index or 0)
