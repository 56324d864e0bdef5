"""What a metric is once it is built: one that measures, one that asks, or one made of others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from .rows import Row
from .scores import Score


@dataclass(frozen=True)
class Plain:
    """Measures by itself, in bounded time, and may do so in any thread.

    Attributes:
        name: Of its kind, as in a spec.
        measure: Of a row.
    """

    name: str
    measure: Callable[[Row], Score]

    @property
    def asks(self) -> bool:
        """Whether it or a part of it asks somebody."""
        return False

    @property
    def asks_models(self) -> bool:
        """Whether it or a part of it asks a language model."""
        return False


@dataclass(frozen=True)
class Asking:
    """Asks a language model or the host, on the worker's event loop.

    Attributes:
        name: Of its kind, as in a spec.
        ask: About a row.
        asks_models: It asks a language model.
    """

    name: str
    ask: Callable[[Row], Awaitable[Score]]
    asks_models: bool

    @property
    def asks(self) -> bool:
        """Whether it or a part of it asks somebody."""
        return True


@dataclass(frozen=True)
class Composed:
    """Makes one score of those of its parts.

    Attributes:
        name: Of its kind, as in a spec.
        parts: By name, in order.
        combine: Makes the score of theirs.
    """

    name: str
    parts: Mapping[str, Metric]
    combine: Callable[[Mapping[str, Score]], Score]

    @cached_property
    def asks(self) -> bool:
        """Whether it or a part of it asks somebody."""
        return any(part.asks for part in self.parts.values())

    @cached_property
    def asks_models(self) -> bool:
        """Whether it or a part of it asks a language model."""
        return any(part.asks_models for part in self.parts.values())


Metric: TypeAlias = Plain | Asking | Composed
