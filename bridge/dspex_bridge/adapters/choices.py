"""What a program or a call chooses beside its module: an adapter, and what a violation leads to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias

from dspex_protocol.records import Doc, Length, Range


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterChoice:
    """An adapter with options of its own."""

    name: Annotated[str, Length(1, 128), Doc("as system.describe lists it under adapters")]
    options: Annotated[dict[str, object], Doc("the adapter's own options")] = field(
        default_factory=dict[str, object]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Ask the model again."""

    retry: Annotated[int, Range(1, 8), Doc("how often at most, for each answer of a predictor")]


Adapter: TypeAlias = Annotated[
    str | AdapterChoice | None, Doc("how prompts are written and answers read: a name, or {name, options}")
]
OnViolation: TypeAlias = Annotated[
    Literal["fail"] | Retry | None,
    Doc('what an answer leads to that does not fit the signature: "fail", the default, or {retry: n}'),
]


def retries_of(choice: OnViolation) -> int | None:
    """How often a model is asked again; None where nothing was chosen."""
    if isinstance(choice, Retry):
        return choice.retry
    return None if choice is None else 0
