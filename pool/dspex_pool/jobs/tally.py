"""TALLY: what has come of the jobs that this server has run, since it started."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from .records import State


@dataclass(slots=True)
class Tally:
    """Counts.

    Attributes:
        attempts: That were begun here.
        died: Workers of theirs that ended before the job had.
        done, failed, cancelled: Jobs that came to their end here.
        answers_kept: That were asked for and are kept.
        answers_replayed: That attempts before had kept, and that were given to a later one.
        lm_calls: Those of the kept ones that language models gave.
    """

    attempts: int = 0
    died: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    answers_kept: int = 0
    answers_replayed: int = 0
    lm_calls: int = 0

    def ended(self, state: str) -> None:
        """A job has."""
        match state:
            case State.DONE:
                self.done += 1
            case State.FAILED:
                self.failed += 1
            case State.CANCELLED:
                self.cancelled += 1
            case _:
                pass  # it goes on elsewhere

    def snapshot(self) -> dict[str, int]:
        """As plain values."""
        return asdict(self)
