"""Refusals of arguments that `invalid_argument` has no words for: what is missing, unknown or too much."""

from __future__ import annotations

from collections.abc import Iterable

from dspex_protocol.errors import DSPexError, error


def refusal(field: str, expected: str, got: str, position: int | None = None) -> DSPexError:
    """An `invalid_argument` whose `got` is told in words of ours.

    Args:
        field: Path of the field.
        expected: In words.
        got: In words.
        position: Where in a string, counted from 0.
    """
    details: dict[str, object] = {"field": field, "expected": expected, "got": got}
    at = ""
    if position is not None:
        details["position"] = position
        at = f" at position {position}"
    return error("invalid_argument", f"{field}: expected {expected}{at}, got {got}", details=details)


def missing(field: str, expected: str) -> DSPexError:
    """A field that must be there."""
    return refusal(field, expected, "nothing: it is missing")


def unknown_field(path: str, name: object, known: Iterable[str]) -> DSPexError:
    """A field that does not exist; the ones that do are told."""
    names = ", ".join(known) or "none"
    short = str(name)[:64]
    return refusal(
        f"{path}.{short}" if path else short, f"one of the fields {names}", f"unknown field {short!r}"
    )
