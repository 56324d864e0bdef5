"""Which stored programs a worker holds, and which it must forget to hold another.

The worker keeps what it is sent until it is told to forget: so the books are here, where the
settings are and where dispatch asks who has a program already. Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeAlias

Key: TypeAlias = tuple[str, int]
"""Id and version of a stored program."""

LIVE_BYTES: Final = 56 * 1024
RECORD_FACTOR: Final = 1.5
"""What a program takes in a worker: so much, and so many times its record.

Measured as a worker's own memory (USS) over 300 programs each, CPython 3.11 and DSPy 3.4.1:

| program                           | record    | in the worker |
|-----------------------------------|-----------|---------------|
| Predict, no demos                 | 520 B     | 48 kB         |
| Predict, 4 demos of 0.3 kB        | 2,200 B   | 53 kB         |
| ChainOfThought, no demos          | 574 B     | 52 kB         |
| ChainOfThought, 8 demos of 0.6 kB | 6,300 B   | 69 kB         |
| ChainOfThought, 16 of 3 kB        | 50,600 B  | 120 kB        |
| ChainOfThought, 50 of 10 kB       | 506,600 B | 641 kB        |

So the default of 256 programs is 15 MB where they are small, and with demos of 50 kB each
32 MB: the default `program_memory_mb` of 64 is twice that, for what is larger still, and a
quarter of what a worker may grow by before it is replaced (`memory_soft_mb`).
"""


def live_bytes(record: bytes) -> int:
    """What a program takes in a worker, estimated from its record."""
    return LIVE_BYTES + int(RECORD_FACTOR * len(record))


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """What a worker must be told before a call: first to forget these, then to load the record."""

    load: bool
    forget: tuple[Key, ...] = ()


NOTHING_TO_SEND: Final = Provision(load=False)


class Holdings:
    """The programs of one worker, the least recently used first.

    Attributes:
        bytes_used: What they take in the worker, estimated.
    """

    __slots__ = ("_held", "_max_bytes", "_max_programs", "bytes_used")

    def __init__(self, max_programs: int, max_bytes: int) -> None:
        self._held: OrderedDict[Key, bytes] = OrderedDict()
        self._max_programs = max_programs
        self._max_bytes = max_bytes
        self.bytes_used = 0

    def __len__(self) -> int:
        return len(self._held)

    def has(self, key: Key, record: bytes) -> bool:
        """Whether the worker holds this very record under that id and version.

        By identity, since the bytes of two programs may be equal only by being one: an id
        that was deleted may come to mean another program, from version 1 again, and
        comparing a megabyte for each call would cost more than sending it.
        """
        return self._held.get(key) is record

    def take(self, key: Key, record: bytes, in_use: Iterable[Key]) -> Provision:
        """A call of the worker is about to use a program.

        Args:
            key: Of the program.
            record: As the program table holds it.
            in_use: Programs of the worker's open calls. They stay, even beyond the bounds: a
                later call pays that back. Only read when there is something to forget, so a
                generator costs nothing else.

        Returns:
            What to send, in the order of `Provision`, ahead of the call.
        """
        if self._held.get(key) is record:
            self._held.move_to_end(key)
            if not self._is_over:
                return NOTHING_TO_SEND
            return Provision(load=False, forget=self._shrink({key, *in_use}))
        self._remove(key)  # the worker replaces it
        self._held[key] = record
        self.bytes_used += live_bytes(record)
        return Provision(load=True, forget=self._shrink({key, *in_use}) if self._is_over else ())

    def newest(self, count: int) -> list[tuple[Key, bytes]]:
        """The programs used last, at most that many, with their records; the newest comes last."""
        newest = islice(reversed(self._held.items()), count)
        return list(newest)[::-1]

    def forget_program(self, program: str) -> list[Key]:
        """A program was deleted: all of its versions, which the worker is to be told to forget.

        Also those in use: a call keeps the program that was there when it came.
        """
        keys = [key for key in self._held if key[0] == program]
        for key in keys:
            self._remove(key)
        return keys

    @property
    def _is_over(self) -> bool:
        return len(self._held) > self._max_programs or self.bytes_used > self._max_bytes

    def _shrink(self, in_use: set[Key]) -> tuple[Key, ...]:
        forgotten: list[Key] = []
        for key in list(self._held):
            if not self._is_over:
                break
            if key not in in_use:
                self._remove(key)
                forgotten.append(key)
        return tuple(forgotten)

    def _remove(self, key: Key) -> None:
        record = self._held.pop(key, None)
        if record is not None:
            self.bytes_used -= live_bytes(record)
