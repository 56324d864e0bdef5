"""Our own mutations, for machines without atheris: no guidance, but many tries."""

from __future__ import annotations

import random

# Bytes at the borders between MessagePack's types, and first bytes of long forms.
TELLING = bytes(
    [0, 1, 0x7F, 0x80, 0x81, 0x8F, 0x90, 0x91, 0x92, 0x95, 0x9F, 0xA0, 0xA1, *range(0xC0, 0xE1), 0xFF]
)


def mutate(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """One to four small changes; `other` is what pieces are borrowed from."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(changed) + 1)
        match chance.randrange(6):
            case 0 if place < len(changed):
                changed[place] = chance.choice(TELLING)
            case 1 if place < len(changed):
                changed[place] ^= 1 << chance.randrange(8)
            case 2:
                changed[place:place] = bytes([chance.choice(TELLING)])
            case 3:
                del changed[place : place + chance.randint(1, 4)]
            case 4:
                start = chance.randrange(len(other) + 1)
                changed[place:place] = other[start : start + chance.randint(1, 16)]
            case _:
                changed[place:place] = changed[place : place + chance.randint(1, 8)]
    return bytes(changed)
