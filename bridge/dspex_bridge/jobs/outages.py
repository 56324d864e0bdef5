"""OUTAGES: a language model that has answered and now answers nobody is waited for.

An optimizer takes a refusal for a bad score, and goes another way for it: an hour's work would be spoiled by
a provider that was away for a minute. Whether it is the model that is away or a request that it will never
answer shows by the other requests: where those are answered, it is the request.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Protocol, TypeVar

from dspy.utils.exceptions import LMError

from dspex_protocol import DSPexError, error

from ..failures import to_failure
from ..lms.accounts import Account

T = TypeVar("T")

AWAY: Final = frozenset(("lm_rate_limited", "lm_timeout", "lm_unavailable"))
"""What it may look like. All else is an answer: the next request would come to the same."""
MAX_ALONE: Final = 4
"""Tries of a request that fail while others are answered."""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
"""Between two tries of one request; a provider may ask for more, by `Retry-After`."""
LONGEST_ASKED_S: Final = 300.0
"""As long as a provider is listened to."""
LONGEST_OUTAGE_S: Final = 3600.0
"""Then the job fails. What it has paid for is kept, and `job.resume` goes on with it."""


class Listener(Protocol):
    """Who is told. Its methods run on the loop."""

    def model_away(self, model: str, code: str) -> None:
        """One answers nobody; told once until it is back."""
        ...

    def model_back(self, model: str) -> None:
        """It answers again."""
        ...

    def give_up(self, reason: DSPexError) -> None:
        """It was away for too long: the job is to end."""
        ...


@dataclass(slots=True, kw_only=True)
class Request:
    """One that is being made.

    Attributes:
        account: Of the model that is asked.
        answered: How many requests of that model were answered before its latest try.
        tries: How often it has failed.
        alone: How often while another one was answered.
    """

    account: Account
    answered: int
    tries: int = 0
    alone: int = 0


@dataclass(slots=True)
class _Model:
    answered: int = 0
    away_since_s: float | None = None
    back: asyncio.Event = field(default_factory=asyncio.Event)


def pause_s(*, tries: int, answered_before: bool, alone: int, asked_s: float | None) -> float | None:
    """How long a request that has failed is to wait; None when its failure is its answer.

    Args:
        tries: How often it has failed.
        answered_before: Its model has answered anybody in this job. One that never did is likely to be
            configured wrongly, and whoever has submitted the job wants to hear of that now.
        alone: How often the request has failed while others were answered. Not whether any was since its
            first try: the last ones before an outage were.
        asked_s: What the provider has asked for.
    """
    if not answered_before or alone >= MAX_ALONE:
        return None
    doubled: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(tries - 1, 16))
    return max(doubled, min(asked_s or 0.0, LONGEST_ASKED_S))


class Outages:
    """Which models of a job answer nobody. Its methods may be called from any thread.

    Args:
        loop: The worker's.
        listener: Is told.
        clock: Seconds that only grow.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, listener: Listener, clock: Callable[[], float] = monotonic
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._clock = clock
        self._lock = threading.Lock()
        self._models: dict[Account, _Model] = {}

    def request(self, account: Account) -> Request:
        """One is made."""
        with self._lock:
            return Request(account=account, answered=self._model(account).answered)

    def answered(self, account: Account) -> None:
        """One was answered, now or in an attempt before."""
        with self._lock:
            model = self._model(account)
            model.answered += 1
            was_away, model.away_since_s = model.away_since_s is not None, None
        if was_away:
            self._loop.call_soon_threadsafe(self._came_back, account, model)

    async def ask(self, account: Account, ask: Callable[[], Awaitable[T]]) -> T:
        """Make a request, again while its model is away; on the loop.

        Args:
            account: Of the model.
            ask: Makes it once.

        Raises:
            LMError: what it came to, where that is its answer.
        """
        request = self.request(account)
        while True:
            try:
                answer = await ask()
            except LMError as reason:
                if not await self.is_to_try_again(request, to_failure(reason)):
                    raise
            else:
                self.answered(account)
                return answer

    def ask_in_thread(self, account: Account, ask: Callable[[], T]) -> T:
        """The same for a thread, which waits; never to be called on the loop."""
        request = self.request(account)
        while True:
            try:
                answer = ask()
            except LMError as reason:
                if not self.is_to_try_again_in_thread(request, to_failure(reason)):
                    raise
            else:
                self.answered(account)
                return answer

    async def is_to_try_again(self, request: Request, failure: DSPexError) -> bool:
        """Wait for the next try of a request that has failed; on the loop.

        Returns:
            False when there is none: its failure is its answer. True after a pause, or as soon as its
            model has answered somebody. Never, when it was away for too long: whoever went on from here
            would take it for a bad answer.
        """
        if failure.code not in AWAY:
            return False
        request.tries += 1
        with self._lock:
            model = self._model(request.account)
            request.alone += model.answered > request.answered
            wait_s = pause_s(
                tries=request.tries,
                answered_before=model.answered > 0,
                alone=request.alone,
                asked_s=(failure.retry_after_ms or 0) / 1000,
            )
            if wait_s is None:
                return False
            is_news = model.away_since_s is None and model.answered == request.answered
            if is_news:
                model.away_since_s = self._clock()
        if is_news:
            self._listener.model_away(_name(request.account), failure.code)
        await self._wait(request.account, model, wait_s)
        request.answered = model.answered
        return True

    def is_to_try_again_in_thread(self, request: Request, failure: DSPexError) -> bool:
        """The same for a thread, which waits; never to be called on the loop."""
        if failure.code not in AWAY:
            return False
        return asyncio.run_coroutine_threadsafe(self.is_to_try_again(request, failure), self._loop).result()

    async def _wait(self, account: Account, model: _Model, wait_s: float) -> None:
        since_s = model.away_since_s
        if since_s is not None and self._clock() - since_s > LONGEST_OUTAGE_S:
            self._listener.give_up(_away_for_too_long(account))
            await asyncio.Event().wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await model.back.wait()

    def _model(self, account: Account) -> _Model:
        return self._models.setdefault(account, _Model())

    def _came_back(self, account: Account, model: _Model) -> None:
        model.back.set()  # which wakes those who wait now
        model.back.clear()
        self._listener.model_back(_name(account))


def _name(account: Account) -> str:
    return account.label or account.model


def _away_for_too_long(account: Account) -> DSPexError:
    minutes = LONGEST_OUTAGE_S / 60
    return error(
        "lm_unavailable",
        f"the language model {_name(account)} has answered nobody for {minutes:g} minutes;"
        " `job.resume` goes on with what is kept",
        details={"lm": _name(account)},
    )
