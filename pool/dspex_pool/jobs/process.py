"""What is different about a job's worker process, which is a guest of the server.

Its hash seed is the job's, so that sets are walked in the same order in each attempt; and it stands
behind all others for the processors, so that predictions do not wait for it.
"""

from __future__ import annotations

import hashlib
from typing import Final

from dspex_pool.ports import Alone

NICENESS: Final = 10
"""Predictions come first: it gets a tenth of a processor that others want, and all of one that nobody does.
With the utmost, 19, it got a seventieth, and on a busy machine took minutes to boot."""


def alone_for(job: str) -> Alone:
    """How the process of that job is started."""
    return Alone(environment={"PYTHONHASHSEED": str(_seed_of(job))}, niceness=NICENESS)


def _seed_of(job: str) -> int:
    return int.from_bytes(hashlib.sha256(job.encode()).digest()[:4], "big")
