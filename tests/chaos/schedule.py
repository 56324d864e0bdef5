"""Which fault comes when: drawn from a seed before the run begins, so that it can be had again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A fault to come.

    Attributes:
        at_s: After the beginning of the load.
        fault: Its name in the registry.
        seed: For all that the fault itself leaves to chance.
    """

    at_s: float
    fault: str
    seed: int


def draw_schedule(
    seed: int, weights: Mapping[str, float], *, begin_s: float, end_s: float, per_s: float
) -> list[Moment]:
    """Draw the faults of a run.

    Args:
        seed: The same seed and arguments give the same schedule.
        weights: How often each fault is drawn. Each comes once before any comes by chance,
            as far as the time reaches, so that a short run has met them all.
        begin_s: Calm before that.
        end_s: And after that.
        per_s: Faults a second, on average.
    """
    random = Random(seed)
    names = sorted(weights)
    random.shuffle(names)
    moments: list[Moment] = []
    at_s = begin_s + random.expovariate(per_s)
    while at_s < end_s:
        name = names.pop() if names else _draw(random, weights)
        moments.append(Moment(at_s=at_s, fault=name, seed=random.getrandbits(32)))
        at_s += random.expovariate(per_s)
    return moments


def _draw(random: Random, weights: Mapping[str, float]) -> str:
    names = sorted(weights)
    return random.choices(names, [weights[name] for name in names])[0]
