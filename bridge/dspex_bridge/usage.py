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
from dataclasses import dataclass
from typing import Any, Final

from dspy.utils.usage_tracker import UsageTracker

from dspex_protocol.limits import MAX_NAME_BYTES

from .accounts import UNNAMED, Account

_DECIMALS: Final = 12  # of dollars: less than the cheapest token costs


@dataclass(slots=True)
class Spent:
    """What one language model has cost.

    Attributes:
        calls: Requests, whatever came of them.
        ms: Time that they took.
        tokens_in: Of prompts, as the provider counted.
        tokens_out: Of answers.
        cost_usd: Of the requests whose price is known.
        unpriced: Requests with tokens whose price nobody knows.
    """

    calls: int = 0
    ms: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0

    def add(self, other: Spent) -> None:
        """Add up."""
        self.calls += other.calls
        self.ms += other.ms
        self.tokens_in += other.tokens_in
        self.tokens_out += other.tokens_out
        self.cost_usd += other.cost_usd
        self.unpriced += other.unpriced

    def meta(self) -> dict[str, int | float | str]:
        """As it stands in the meta of REPLY and FAIL; the cost only where a price is known."""
        meta: dict[str, int | float | str] = {
            "lm_calls": self.calls,
            "lm_ms": round(self.ms, 3),
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
        }
        if self.cost_usd:
            meta["cost_usd"] = round(self.cost_usd, _DECIMALS)
        if self.unpriced:
            meta["unpriced"] = self.unpriced
        return meta


class Usage:
    """The figures of one call; they only grow.

    Attributes:
        by_lm: What each language model cost, by the name that the host gave it.
    """

    __slots__ = ("_lock", "by_lm")

    def __init__(self) -> None:
        self.by_lm: dict[str, Spent] = {}
        self._lock = threading.Lock()  # programs run their parts in threads

    def add_request(self, waited_s: float, account: Account = UNNAMED) -> None:
        """Count one request and the time that it took, whatever came of it."""
        with self._lock:
            spent = self._of(account)
            spent.calls += 1
            spent.ms += waited_s * 1000

    def add_tokens(self, tokens_in: int, tokens_out: int, account: Account = UNNAMED) -> None:
        """Count tokens of a request as the provider reported them, at the host's price if there is one."""
        cost_usd = account.cost(tokens_in, tokens_out)
        with self._lock:
            spent = self._of(account)
            spent.tokens_in += tokens_in
            spent.tokens_out += tokens_out
            if cost_usd is not None:
                spent.cost_usd += cost_usd
            elif tokens_in or tokens_out:
                spent.unpriced += 1

    def add_price(self, cost_usd: float, account: Account = UNNAMED) -> None:
        """What a request cost whose tokens have been counted without a price."""
        with self._lock:
            spent = self._of(account)
            spent.cost_usd += cost_usd
            spent.unpriced = max(0, spent.unpriced - 1)

    @property
    def total(self) -> Spent:
        """All of them together."""
        total = Spent()
        with self._lock:
            for spent in self.by_lm.values():
                total.add(spent)
        return total

    @property
    def lm_calls(self) -> int:
        """Requests to language models."""
        return self.total.calls

    @property
    def lm_ms(self) -> float:
        """Time that they took, summed."""
        return self.total.ms

    @property
    def tokens_in(self) -> int:
        """Tokens of prompts."""
        return self.total.tokens_in

    @property
    def tokens_out(self) -> int:
        """Tokens of answers."""
        return self.total.tokens_out

    def meta(self) -> dict[str, int | float | str]:
        """The figures as they stand in the meta of REPLY and FAIL; empty if no LM was asked.

        `lm` is there where one alone was asked, which is nearly always; see `split`.
        """
        with self._lock:
            rows = list(self.by_lm.items())
        match rows:
            case []:
                return {}
            case [(name, spent)]:
                return {**spent.meta(), "lm": name} if _is_name(name) else spent.meta()
            case _:
                return self.total.meta()

    def split(self) -> Mapping[str, Mapping[str, int | float | str]] | None:
        """The figures by LM, where `meta` cannot say whose they are."""
        if len(self.by_lm) < 2:
            return None
        with self._lock:
            return {name: spent.meta() for name, spent in self.by_lm.items() if _is_name(name)}

    def _of(self, account: Account) -> Spent:
        spent = self.by_lm.get(account.name)
        if spent is None:
            spent = self.by_lm[account.name] = Spent()
        return spent


def _is_name(name: str) -> bool:
    # An envelope has little room, and a name of any length is nobody's wish.
    return 0 < len(name) <= MAX_NAME_BYTES and len(name.encode()) <= MAX_NAME_BYTES


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
