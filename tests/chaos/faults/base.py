"""What every fault is."""

from __future__ import annotations

from random import Random
from typing import ClassVar, Protocol

from tests.chaos.history import Fault
from tests.chaos.scene import Scene


class Injector(Protocol):
    """A fault that can be done again and again.

    Attributes:
        name: As reports, the table of `legal.py` and `--faults` call it.
        weight: How often it is drawn, relative to the others.
    """

    name: ClassVar[str]
    weight: ClassVar[float]

    async def inject(self, scene: Scene, random: Random, fault: Fault) -> None:
        """Do it; return when its cause is gone.

        Args:
            scene: The server.
            random: Seeded for this one fault: the same seed does the same.
            fault: Its entry in the history; `victim` is to be filled in.
        """
        ...
