"""What a job may spend, and whether another request may still be made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dspex_protocol.errors import DSPexError, error
from dspex_protocol.records import Doc, Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of a job, over all of its attempts; None for none."""

    lm_calls: Annotated[int | None, Range(0), Doc("requests to language models")] = None
    tokens: Annotated[int | None, Range(0), Doc("of prompts and answers together")] = None
    usd: Annotated[float | None, Range(0), Doc("of those requests whose price is known")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What requests have cost."""

    lm_calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0

    @property
    def tokens(self) -> int:
        """Of prompts and answers together."""
        return self.tokens_in + self.tokens_out

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            lm_calls=self.lm_calls + other.lm_calls,
            tokens_in=self.tokens_in + other.tokens_in,
            tokens_out=self.tokens_out + other.tokens_out,
            cost_usd=self.cost_usd + other.cost_usd,
        )

    def told(self) -> dict[str, object]:
        """As it goes over the wire."""
        return {
            "lm_calls": self.lm_calls,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "cost_usd": self.cost_usd,
        }


class Purse:
    """A budget, what of it is spent, and what requests that are under way may yet cost.

    What one of those will cost nobody knows; each is taken to cost as much as the dearest before it.
    Not for several threads at once; `Answers` has the lock.

    Args:
        budget: The limits.
        spent: By the attempts before.
    """

    def __init__(self, budget: Budget, spent: Cost) -> None:
        self._budget = budget
        self.spent = spent
        self._under_way = 0
        self._dearest = Cost()

    @property
    def counts_requests(self) -> bool:
        """Whether there is a limit for them."""
        return self._budget.lm_calls is not None

    def take(self) -> None:
        """Let one more request be made.

        Raises:
            ServiceError: `budget_spent` when there is no room for it.
        """
        for limit, spent, most in (
            (self._budget.lm_calls, self.spent.lm_calls, 1),
            (self._budget.tokens, self.spent.tokens, self._dearest.tokens),
            (self._budget.usd, self.spent.cost_usd, self._dearest.cost_usd),
        ):
            if limit is not None and spent + self._under_way * most >= limit:
                raise self._refusal()
        self._under_way += 1

    def settle(self, cost: Cost) -> None:
        """One has been made and has cost so much."""
        self._under_way -= 1
        self.spent += cost
        self._dearest = Cost(
            tokens_in=max(self._dearest.tokens, cost.tokens),
            cost_usd=max(self._dearest.cost_usd, cost.cost_usd),
        )

    def _refusal(self) -> DSPexError:
        limits = {"lm_calls": self._budget.lm_calls, "tokens": self._budget.tokens, "usd": self._budget.usd}
        budget = {name: limit for name, limit in limits.items() if limit is not None}
        said = ", ".join(f"{limit:g} {name}" for name, limit in budget.items())
        return error(
            "budget_spent",
            f"the budget of the job ({said}) has no room for another request",
            details={"budget": budget, "spent": self.spent.told()},
        )
