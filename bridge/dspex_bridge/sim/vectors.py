"""Vectors for texts: of length one, and the same for the same text and seed. No meaning is in them."""

from __future__ import annotations

import math
from hashlib import blake2b
from random import Random
from typing import Final

DIMENSIONS: Final = 64
MAX_DIMENSIONS: Final = 4096


def vector(text: str, seed: int, dimensions: int = DIMENSIONS) -> list[float]:
    """The vector of a text."""
    digest = blake2b(f"{seed}\0{text}".encode(), digest_size=8).digest()
    random = Random(int.from_bytes(digest, "big"))
    raw = [random.gauss(0, 1) for _ in range(dimensions)]
    length = math.sqrt(sum(value * value for value in raw))
    return [value / length for value in raw]


def tokens_of(texts: list[str]) -> int:
    """What the offline model counts for them."""
    return sum(-(-len(text) // 4) for text in texts)
