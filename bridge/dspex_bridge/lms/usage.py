"""What a call spent on language models: requests, time, tokens, money.

The record is a context variable, so that tasks and threads which DSPy starts for it add to
the same figures. The LMs of `answering` report requests and time; tokens come the way DSPy
reports them, through its `usage_tracker` setting, and prices by `accounts`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from dspy.utils.usage_tracker import UsageTracker

from .accounts import UNNAMED, Account

_DECIMALS: Final = 12  # of dollars: less than the cheapest token costs


class Spent:
    """What language models have cost.

    Attributes:
        lm_calls: Requests, whatever came of them.
        lm_ms: Time that they took, summed.
        tokens_in: Of prompts, as providers counted.
        tokens_out: Of answers.
        cost_usd: Of the requests whose price is known.
        unpriced: Requests with tokens whose price nobody knows.
    """

    __slots__ = ("cost_usd", "lm_calls", "lm_ms", "tokens_in", "tokens_out", "unpriced")

    def __init__(self) -> None:
        self.lm_calls = 0
        self.tokens_in = 0
        self.tokens_out = 0
        self.unpriced = 0
        self.lm_ms = 0.0
        self.cost_usd = 0.0

    def meta(self) -> dict[str, int | float | str]:
        """As it stands in the meta of REPLY and FAIL; the cost only where there is any."""
        meta: dict[str, int | float | str] = {
            "lm_calls": self.lm_calls,
            "lm_ms": round(self.lm_ms, 3),
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
        }
        if self.cost_usd:
            meta["cost_usd"] = round(self.cost_usd, _DECIMALS)
        if self.unpriced:
            meta["unpriced"] = self.unpriced
        return meta

    def count_tokens(self, tokens_in: int, tokens_out: int, account: Account) -> None:
        """Add a request's tokens, and what they cost by the host's prices."""
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
        if account.usd_in is not None:
            self.cost_usd += tokens_in * account.usd_in + tokens_out * account.usd_out
        elif tokens_in or tokens_out:
            self.unpriced += 1

    def count_price(self, cost_usd: float) -> None:
        """Add the price of a request whose tokens have been counted without one."""
        self.cost_usd += cost_usd
        self.unpriced = max(0, self.unpriced - 1)


class Usage(Spent):
    """The figures of one call; they only grow.

    Nearly every call asks one language model, so figures by model are kept apart only once
    there is a second one.
    """

    __slots__ = ("_account", "_lock", "_shares")

    def __init__(self) -> None:
        super().__init__()
        self._account: Account | None = None
        self._shares: dict[str, Spent] | None = None
        self._lock = threading.Lock()  # programs run their parts in threads

    def add_request(self, waited_s: float, account: Account = UNNAMED) -> None:
        """Count one request and the time that it took, whatever came of it."""
        with self._lock:
            share = self._share(account)
            self.lm_calls += 1
            self.lm_ms += waited_s * 1000
            if share is not None:
                share.lm_calls += 1
                share.lm_ms += waited_s * 1000

    def add_tokens(self, tokens_in: int, tokens_out: int, account: Account = UNNAMED) -> None:
        """Count tokens of a request as the provider reported them, at the host's price if there is one."""
        with self._lock:
            share = self._share(account)
            self.count_tokens(tokens_in, tokens_out, account)
            if share is not None:
                share.count_tokens(tokens_in, tokens_out, account)

    def add_price(self, cost_usd: float, account: Account = UNNAMED) -> None:
        """What a request cost whose tokens have been counted without a price."""
        with self._lock:
            share = self._share(account)
            self.count_price(cost_usd)
            if share is not None:
                share.count_price(cost_usd)

    def meta(self) -> dict[str, int | float | str]:
        """The figures as they stand in the meta of REPLY and FAIL; empty if no LM was asked.

        `lm` is there where one alone was asked; else `split` says whose they are.
        """
        if not self.lm_calls:
            return {}
        meta = super().meta()
        if self._shares is None and self._account is not None and self._account.label:
            meta["lm"] = self._account.label
        return meta

    def split(self) -> Mapping[str, Mapping[str, int | float | str]] | None:
        """The figures by LM, where `meta` cannot say whose they are."""
        if self._shares is None:
            return None
        with self._lock:
            return {name: share.meta() for name, share in self._shares.items() if name}

    def _share(self, account: Account) -> Spent | None:
        """What to count twice, where several models are asked; before the figures of `account` are added."""
        if self._shares is None:
            if self._account is None or self._account.label == account.label:
                self._account = account
                return None
            self._shares = {self._account.label: self._copied()}
        return self._shares.setdefault(account.label, Spent())

    def _copied(self) -> Spent:
        copied = Spent()
        for name in Spent.__slots__:
            setattr(copied, name, getattr(self, name))
        return copied


_current: ContextVar[Usage | None] = ContextVar("dspex_usage", default=None)


def current_usage() -> Usage | None:
    """The record of the call at hand, or None outside of one."""
    return _current.get()


@contextmanager
def counting(usage: Usage | None = None) -> Generator[Usage]:
    """Count what happens inside, into `usage` where one is given."""
    counted = Usage() if usage is None else usage
    token = _current.set(counted)
    try:
        yield counted
    finally:
        _current.reset(token)


class RequestTimer:
    """Counts one request to an LM: made before it, stopped after it."""

    __slots__ = ("_account", "_started_s", "_usage")

    def __init__(self, account: Account = UNNAMED, usage: Usage | None = None) -> None:
        self._account = account
        self._usage = _current.get() if usage is None else usage
        self._started_s = time.perf_counter()

    def stop(self) -> None:
        """The request has ended, well or badly."""
        if self._usage is not None:
            self._usage.add_request(time.perf_counter() - self._started_s, self._account)


class Tracker:
    """What DSPy reports a request's tokens to: the call at hand, and a program's own tracker."""

    __slots__ = ("_account", "_next")

    def __init__(self, program_tracker: UsageTracker | None = None, account: Account = UNNAMED) -> None:
        self._next = program_tracker
        self._account = account

    def add_usage(self, lm: str, usage_entry: dict[str, Any]) -> None:
        """Add one request's figures, in the names that DSPy uses."""
        usage = _current.get()
        if usage is not None:
            usage.add_tokens(
                _whole(usage_entry.get("prompt_tokens")),
                _whole(usage_entry.get("completion_tokens")),
                self._account,
            )
        if self._next is not None:
            self._next.add_usage(lm, usage_entry)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
