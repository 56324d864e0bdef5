"""REQUESTS as runs tell of them: their options as parameters, and what they name as lineage. Pure.

Parameters are told by their paths, such as `optimizer.options.max_demos`. Rows that come with a request
are counted and not copied, and what says on whose account something is asked is withheld.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, cast

from dspex_pool.jobs.records import pin_of
from dspex_protocol import FunctionReference

MAX_PARAMS: Final = 400
"""Of one request: a run has room for some more."""
MAX_NAME_CHARACTERS: Final = 128
MAX_CHARACTERS: Final = 1000
"""Of a text: who reads a table of runs reads no more of it."""
MAX_LISTED: Final = 20
"""Plain values of a list that are told; more are counted."""
WITHHELD: Final = "withheld"

_OF_ACCOUNTS: Final = re.compile(
    "apikey|secret|passw|credential|authoriz|privatekey|accesskey|subscriptionkey|bearer|cookie|header"
    "|connectionstring|^auth$|^key$|(token|keyid)$"
)
"""In names without case and punctuation; the bridge refuses most of them before."""
_ACCOUNT_IN_TEXT: Final = re.compile(r"://[^/\s@]+@|\bsk-[A-Za-z0-9_-]{16,}")
_NOT_LETTERS: Final = re.compile(r"[^a-z0-9]")

WRITES_DATASETS: Final = ("synthesize",)
"""Kinds of jobs whose `dataset` has no version before they have made one."""

OF_PROGRAMS: Final = ("program", "version")
OF_DATASETS: Final = ("dataset", "dataset_version")


class Told(NamedTuple):
    """What a run says of a request.

    Attributes:
        params: Its options.
        lineage: What it names that is stored: ids, and versions where they are given.
        pins: Versions that are not, by the name that a job has for them.
    """

    params: dict[str, object]
    lineage: dict[str, object]
    pins: dict[str, str]


def told_of_job(kind: str, request: object, terms: Mapping[str, object]) -> Told:
    """What a run says of a job.

    Args:
        kind: Of the job.
        request: What was asked for.
        terms: On which terms: budget, deadline.
    """
    asked = cast("dict[str, object]", request) if isinstance(request, dict) else {}
    lineage, pins = origin_of(asked)
    if kind in WRITES_DATASETS:
        pins.pop("dataset_version", None)
    options = {name: _options_of(value, name in lineage) for name, value in asked.items()}
    if lineage.keys() & {"program", "dataset"}:
        options["version"] = None
    return Told(params_of({"kind": kind, **options, **terms}), lineage, pins)


def _options_of(value: object, is_told: bool) -> object:
    """What is left of a field whose stored thing is told as lineage."""
    if not is_told or not isinstance(value, dict):
        return None if is_told else value
    named = cast("dict[str, object]", value)
    return {name: one for name, one in named.items() if name not in ("program", "dataset", "version")}


def params_of(request: Mapping[str, object]) -> dict[str, object]:
    """The options of a request; `left_out` says how many there were more."""
    params: dict[str, object] = {}
    left_out = 0
    for name, value in _flat("", request):
        if len(params) < MAX_PARAMS and 1 <= len(name) <= MAX_NAME_CHARACTERS:
            params[name] = value
        else:
            left_out += 1
    return {**params, "left_out": left_out} if left_out else params


def _flat(path: str, request: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, value in request.items():
        name = str(key)  # whatever it is: msgpack has other keys too
        # `{metric: {metric: "exact_match"}}` is the metric, and not the metric of the metric.
        is_the_same = name == path.rpartition(".")[2] and isinstance(value, str)
        where = path if is_the_same else f"{path}.{name}" if path else name
        if value is None:
            continue
        if _OF_ACCOUNTS.search(_NOT_LETTERS.sub("", name.lower())):
            yield where, WITHHELD
        elif isinstance(value, dict):
            yield from _flat(where, cast("dict[str, object]", value))
        else:
            yield where, _plain(value)


def _plain(value: object) -> object:
    match value:
        case bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return _text(value)
        case list():
            return _listed(cast("list[object]", value))
        case bytes():
            return f"{len(value)} bytes"
        case FunctionReference():
            return value.name
        case _:
            return type(value).__name__


def _text(text: str) -> str:
    if _ACCOUNT_IN_TEXT.search(text):
        return WITHHELD
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"


def _listed(values: list[object]) -> str:
    plain = [_plain(value) for value in values[: MAX_LISTED + 1]]
    if len(values) > MAX_LISTED or not all(isinstance(one, str | int | float | bool) for one in values):
        return f"{len(values)} entries"
    return _text(json.dumps(plain, ensure_ascii=False))


def origin_of(request: Mapping[str, object]) -> tuple[dict[str, object], dict[str, str]]:
    """The programs and datasets that a request names: lineage and pins of `Told`."""
    found = Told({}, {}, {})
    is_of_program = request.get("program") is not None
    if is_of_program:
        _note(found, OF_PROGRAMS, "program", request)
    if request.get("dataset") is not None:
        without = {"dataset": request["dataset"]} if is_of_program else request
        _note(found, OF_DATASETS, "dataset", without)
    for name, value in request.items():
        _note_nested(found, name, value)
    members = request.get("programs")
    for at, one in enumerate(cast("list[object]", members) if isinstance(members, list) else ()):
        _note_nested(found, f"programs.{at}", one)
    return found.lineage, found.pins


def _note_nested(found: Told, name: str, value: object) -> None:
    choice = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    for kind in ("program", "dataset"):
        if isinstance(choice.get(kind), str) and name not in ("save_as", "spec"):
            _note(found, (name, f"{name}_version"), kind, choice)


def _note(found: Told, names: tuple[str, str], kind: str, choice: Mapping[str, object]) -> None:
    given, version, tag = choice[kind], choice.get("version"), choice.get("tag")
    if not isinstance(given, str) or not all(len(name) <= MAX_NAME_CHARACTERS for name in names):
        return
    found.lineage[names[0]] = given
    if isinstance(version, int):
        found.lineage[names[1]] = version
    else:
        is_tagged = kind == "program" and isinstance(tag, str)
        found.pins[names[1]] = pin_of(given, str(tag)) if is_tagged else f"{kind}/{given}"
