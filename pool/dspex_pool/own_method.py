"""A method that the supervisor answers itself, as `system.describe` tells it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """No parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMethod:
    """One of them.

    Attributes:
        parameters: Dataclass of its payload; None takes any value.
        doc: One sentence.
    """

    parameters: type | None
    doc: str
