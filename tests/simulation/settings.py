"""Settings for one world: small ones, so that every limit is met all the time."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from dspex_pool.config import Config


def is_elastic(config: Config) -> bool:
    """Whether healthy workers are replaced, or more and fewer kept, as things go."""
    return bool(recycles(config) or config.min_workers is not None)


def recycles(config: Config) -> bool:
    """Whether healthy workers are replaced."""
    return bool(config.recycle_after_calls or config.recycle_after_s or config.memory_soft_mb)


def draw_config(random: Random) -> Config:
    """The settings of one world."""
    workers = random.randint(1, 4)
    return replace(
        Config(),
        workers=workers,
        job_workers=0,
        calls_per_worker=random.randint(1, 4),
        max_queue=random.choice((0, 1, 2, 5, 10, 30)),
        max_open_bytes=random.choice((2048, 20_000, 1 << 20)),
        max_frame_bytes=8192,
        default_deadline_ms=random.choice((300, 1000, 3000)),
        grace_s=random.choice((0.05, 0.2, 0.5)),
        recycle_after_calls=random.choice((0, 0, 3, 10)),
        recycle_after_s=random.choice((0.0, 0.0, 0.5, 5.0)),
        memory_soft_mb=random.choice((0, 20)),
        memory_hard_mb=random.choice((0, 60)),
        drain_s=random.choice((0.1, 1.0)),
        min_workers=random.choice((None, None, random.randint(0, workers))),
        max_queue_s=random.choice((0.1, 0.5, 30.0)),
        batch_share=random.choice((0.05, 0.25, 0.95)),
        programs_per_worker=random.choice((1, 1, 2, 256)),
        boot_timeout_s=random.choice((1.0, 2.0)),
        zygote=random.random() < 0.5,
    )


def draw_job_workers(random: Random) -> int:
    """How many jobs a server runs at once, in a world with jobs."""
    return random.choice((0, 1, 1, 2, 3))
