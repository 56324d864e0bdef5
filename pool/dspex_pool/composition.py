"""Stored programs that a spec names as parts: which they are, and the spec with their versions. Pure.

A part stands in a spec's `options.module`, or in one of its `options.nodes` or `options.parts`; there
a map with `program` names a stored one. What else there is in a spec only workers know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, cast

from dspex_protocol import DSPexError, error, invalid_argument

from .library.names import Reference, check_program, check_tag
from .library.shelf import Held

MAX_STORED_PARTS: Final = 128
"""In one spec, as many as a pipeline may have nodes."""

MAX_BYTES: Final = 8 * 1024 * 1024
"""Of their records: they go to a worker in one frame, which at 16 MiB would be too large."""

_NAMED: Final = ("nodes", "parts")
"""Options that hold parts by name."""

_KEYS: Final = ("program", "version", "tag")


def stored_parts(spec: Mapping[str, object]) -> dict[str, Reference]:
    """The stored programs that a spec names as parts.

    Returns:
        By path, such as `spec.options.nodes.search`.

    Raises:
        CallerError: `invalid_argument` naming the part.
    """
    found = {path: _reference(part, path) for path, part in _parts(spec, "spec") if _names_program(part)}
    if len(found) > MAX_STORED_PARTS:
        raise _too_much(f"at most {MAX_STORED_PARTS} stored programs as parts", f"{len(found)}")
    return found


def pinned(spec: Mapping[str, object], held: Mapping[str, Held], path: str = "spec") -> dict[str, object]:
    """The spec with the id and version of each stored program in its part's place.

    Args:
        spec: As the client gave it.
        held: By path, what was found.
        path: Where the spec stands.
    """
    options = dict(_map(spec.get("options")))
    for key, part in _inside(spec):
        where = f"{path}.options.{'.'.join(key)}"
        if where in held:
            program, version, _ = held[where]
            new: object = {"program": program, "version": version}
        elif isinstance(part, dict):
            new = pinned(cast("dict[str, object]", part), held, where)
        else:
            continue
        options[key[0]] = new if key == ("module",) else {**_map(options[key[0]]), key[1]: new}
    return {**spec, "options": options} if options else dict(spec)


def records_of(held: Mapping[str, Held]) -> list[dict[str, object]]:
    """What a worker is sent of the stored programs, each once.

    Raises:
        CallerError: `invalid_argument` where they are too much for one frame.
    """
    each = {(program, version): content for program, version, content in held.values()}
    size = sum(map(len, each.values()))
    if size > MAX_BYTES:
        raise _too_much(f"stored programs of at most {MAX_BYTES} bytes as parts", f"{size} bytes")
    return [
        {"program": program, "version": version, "record": content}
        for (program, version), content in each.items()
    ]


def unknown_part(path: str, reference: Reference, refusal: DSPexError) -> DSPexError:
    """The store's refusal, with the part that named the program."""
    details = {**refusal.details, "field": f"{path}.program", "program": reference.program}
    return error(
        refusal.code,
        f"{path}: {refusal.message}",
        details=details,
        retryable=refusal.retryable,
        retry_after_ms=refusal.retry_after_ms,
    )


def _parts(spec: Mapping[str, object], path: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Every part of a spec and of its parts, with its path."""
    for key, part in _inside(spec):
        if isinstance(part, dict):
            where = f"{path}.options.{'.'.join(key)}"
            inner = cast("dict[str, object]", part)
            yield where, inner
            yield from _parts(inner, where)


def _inside(spec: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], object]]:
    options = _map(spec.get("options"))
    if "module" in options:
        yield ("module",), options["module"]
    for key in _NAMED:
        for name, part in _map(options.get(key)).items():
            yield (key, name), part


def _map(value: object) -> Mapping[str, object]:
    """A map; what else may stand there a worker refuses."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _names_program(part: Mapping[str, object]) -> bool:
    return "program" in part


def _reference(part: Mapping[str, object], path: str) -> Reference:
    for key in part:
        if key not in _KEYS:
            expected = f"one of {', '.join(_KEYS)}, of a stored program as a part"
            raise invalid_argument(f"{path}.{key}", expected, key)
    program = check_program(part["program"], f"{path}.program")
    version, tag = part.get("version"), part.get("tag")
    if version is not None and (type(version) is not int or version < 1):
        raise invalid_argument(f"{path}.version", "an integer from 1", version)
    if version is not None and tag is not None:
        raise invalid_argument(f"{path}.tag", "nothing beside a version", tag)
    return Reference(program, version, None if tag is None else check_tag(tag, f"{path}.tag"))


def _too_much(expected: str, got: str) -> DSPexError:
    details = {"field": "spec", "expected": expected, "got": got}
    return error("invalid_argument", f"spec: expected {expected}, got {got}", details=details)
