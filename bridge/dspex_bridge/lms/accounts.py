"""What a language model's tokens cost: by the host's prices, or by DSPy's list of them.

Costs are floats of US dollars. They are estimates for budgets and reports, not for invoices; the
error of adding up a million of them is far below that of the prices.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any, Final

from dspy.clients.costs import estimate_cost
from dspy.clients.model_metadata import model_info
from dspy.lm15 import Response

from dspex_protocol.handshake import LMConfig
from dspex_protocol.limits import MAX_NAME_BYTES

TOKENS_PER_PRICE: Final = 1_000_000
"""As providers print their prices."""


@dataclass(frozen=True, slots=True)
class Account:
    """To whom requests are put down, and at what price.

    Attributes:
        label: The LM's name, as the host configured it; empty for one that nobody configured, or
            whose name is too long for an envelope.
        model: As configured, such as `openai/gpt-4o-mini`.
        usd_in: Price of one token of a prompt; None where the host has set no prices.
        usd_out: Price of one token of an answer.
    """

    label: str = ""
    model: str = ""
    usd_in: float | None = None
    usd_out: float = 0.0

    @property
    def has_prices(self) -> bool:
        """Whether the host has set them; then nobody else is asked."""
        return self.usd_in is not None

    def estimate(self, responses: object) -> float | None:
        """By DSPy's list, where DSPy itself gave no price: it gives none for engines that are not its own.

        Args:
            responses: What DSPy got: one `Response`, or several.
        """
        provider, _, model = self.model.partition("/")
        if provider in ("sim", "host") or not _is_listed(provider, model):
            return None
        found = list(responses) if isinstance(responses, tuple) else [responses]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        costs = [_estimate(response, provider, model) for response in found]  # pyright: ignore[reportUnknownVariableType]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


UNNAMED: Final = Account()
"""Of language models that nobody configured, such as those of warming up."""


def account_of(name: str, config: LMConfig) -> Account:
    """The account of a configured LM.

    A price that is missing beside the other is zero, and so are those of an offline model.
    """
    has_prices = config.usd_per_million_in is not None or config.usd_per_million_out is not None
    label = name if len(name.encode()) <= MAX_NAME_BYTES else ""
    if not has_prices and not config.model.startswith("sim/"):
        return Account(label, config.model)
    return Account(
        label,
        config.model,
        (config.usd_per_million_in or 0.0) / TOKENS_PER_PRICE,
        (config.usd_per_million_out or 0.0) / TOKENS_PER_PRICE,
    )


@functools.lru_cache(maxsize=256)
def _is_listed(provider: str, model: str) -> bool:
    # Asked once: for a name that is not there, DSPy searches through all of its list.
    return bool(model_info(provider, model))


def _estimate(response: Any, provider: str, model: str) -> float | None:
    if not isinstance(response, Response):
        return None
    # The model that was asked for, not the dated name that the provider answers with.
    cost: float | None = estimate_cost(
        replace(response, model=model), provider=provider, requested_model=model
    )[0]
    return cost
