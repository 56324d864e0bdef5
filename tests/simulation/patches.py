"""Attributes replaced for a while, and put back."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

Patch = tuple[object, str, object]
"""Whose attribute, its name, and what stands there meanwhile."""


@contextmanager
def patched(patches: Sequence[Patch]) -> Generator[None]:
    """Replace attributes for as long as the block runs.

    Raises:
        AttributeError: for one that is not there: a plant whose ground has moved must say so.
    """
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
    try:
        for owner, name, value in patches:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
