"""ANSWERS of a job: each is asked for once in its life, however often the job begins anew.

An entry of the journal is a map, encoded:

    kind      `lm`, `host` or another word; only `lm` draws on the budget
    key       32 bytes: what the request was, all that its answer may depend on
    n         which of the equal requests, from 1, in the order in which they were made
    answer    a value; or
    failure   an error of ours, where the request came to that: it would come to the same again
    usage     what it cost: lm_calls, tokens_in, tokens_out, cost_usd
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

from dspex_protocol import DSPexError, decode_failure, decode_value, encode_failure, encode_value

from ..lms.journal import is_refusal
from .budget import Cost, Purse
from .noting import Noting

PAID: Final = "lm"
"""The kind of answers that cost something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request came to, and what it cost."""

    value: object
    cost: Cost = field(default_factory=Cost)


Place: TypeAlias = tuple[str, bytes, int]
"""Kind, key and number of a request."""


class Answers:
    """What is kept, and the way to have more kept. Its methods may be called from any thread.

    Args:
        noting: Keeps new ones.
        purse: Pays for requests.
        loop: The worker's event loop, on which `noting` runs.
        on_spent: Is told, on any thread, when a request was refused for its price: the job ends with that,
            whatever becomes of the exception.
        on_asked: Is told, on the loop and before it is made, of each request that counts against a budget of
            requests: it counts also when this process dies before the answer.

    Attributes:
        forgiven: So many of the first entries are from before the job was resumed: what failed among them is
            asked for again.
        is_anew: A request that had failed then was made again: from there on this attempt goes a way of its
            own.
        answered: Requests that were answered from the journal.
        live: Those that were really made.
    """

    def __init__(
        self,
        noting: Noting,
        purse: Purse,
        loop: asyncio.AbstractEventLoop,
        on_spent: Callable[[DSPexError], None],
        on_asked: Callable[[], None] = lambda: None,
    ) -> None:
        self._noting = noting
        self._purse = purse
        self._loop = loop
        self._on_spent = on_spent
        self._on_asked = on_asked
        self._lock = threading.Lock()
        self._kept: dict[Place, bytes] = {}
        self._failed: set[Place] = set()
        self._loaded = 0
        self._under_way = 0
        self._settled = asyncio.Event()
        self._settled.set()
        self._refusal: DSPexError | None = None
        self.forgiven = 0
        self.is_anew = False
        self._asked: Counter[tuple[str, bytes]] = Counter()
        self.answered = 0
        self.live = 0

    def load(self, entries: Iterable[bytes]) -> None:
        """Take entries that the attempts before have left; of two for one place the first counts."""
        for entry in entries:
            told = _map(decode_value(entry))
            place = str(told["kind"]), cast("bytes", told["key"]), cast("int", told["n"])
            self._loaded += 1
            if self._loaded <= self.forgiven and _is_failure(told):
                self._failed.add(place)
            elif place not in self._kept:
                self._kept[place] = entry

    @property
    def unasked(self) -> int:
        """Answers that are kept and that nobody has asked for, since this attempt went another way."""
        with self._lock:
            return len(self._kept)

    @property
    def spent(self) -> Cost:
        """What all attempts have spent so far."""
        return self._purse.spent

    async def ask(self, kind: str, key: bytes, live: Callable[[], Awaitable[Answer]]) -> object:
        """The answer to a request.

        Args:
            kind: `lm` or another word.
            key: 32 bytes; equal ones mean equal requests.
            live: Makes the request, where its answer is not kept. A DSPexError that it raises is an answer
                too, and is kept; another exception passes through and is not.

        Returns:
            The answer, which is kept by then.

        Raises:
            DSPexError: what the request came to; `budget_spent`.
        """
        place, entry = self._begin(kind, key)
        if entry is not None:
            return _answer_in(entry)
        answer, failure = Answer(value=None), None
        try:
            try:
                if self._counts(kind):
                    self._on_asked()
                answer = await live()
            except DSPexError as reason:
                failure = reason
            finally:
                self._made(place, answer.cost)
            await self._noting.keep(_entry(place, answer, failure))
        finally:
            self._over()
        return _outcome(answer, failure)

    def ask_in_thread(self, kind: str, key: bytes, live: Callable[[], Answer]) -> object:
        """The same for a thread, which waits; never to be called on the event loop."""
        place, entry = self._begin(kind, key)
        if entry is not None:
            return _answer_in(entry)
        answer, failure = Answer(value=None), None
        try:
            try:
                if self._counts(kind):
                    asyncio.run_coroutine_threadsafe(self._ask_soon(), self._loop).result()
                answer = live()
            except DSPexError as reason:
                failure = reason
            finally:
                self._made(place, answer.cost)
            keep = self._noting.keep(_entry(place, answer, failure))
            asyncio.run_coroutine_threadsafe(keep, self._loop).result()
        finally:
            self._over()
        return _outcome(answer, failure)

    def refuse(self, reason: DSPexError) -> None:
        """Let no request be made any more, at whatever price: the job ends for that reason."""
        with self._lock:
            self._refusal = self._refusal or reason

    async def settle(self, limit_s: float) -> None:
        """Wait until what is under way is kept, since it is paid for; on the loop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._settled.wait()

    def _begin(self, kind: str, key: bytes) -> tuple[Place, bytes | None]:
        """Which place a request has, and what is kept for it; where nothing is, it may be made.

        Raises:
            DSPexError: `budget_spent`, or why else the job ends, when it may not.
        """
        with self._lock:
            self._asked[kind, key] += 1
            place = kind, key, self._asked[kind, key]
            entry = self._kept.pop(place, None)
            if entry is not None:
                self.answered += 1
                return place, entry
            self.is_anew = self.is_anew or place in self._failed
            if self._refusal is not None:
                raise self._refusal
            try:
                if kind == PAID:
                    self._purse.take()
            except DSPexError as refusal:
                self._refusal = refusal
                self._on_spent(refusal)
                raise
            self.live += 1
            self._under_way += 1
            self._settled.clear()
            return place, None

    def _counts(self, kind: str) -> bool:
        return kind == PAID and self._purse.counts_requests

    async def _ask_soon(self) -> None:
        self._on_asked()

    def _over(self) -> None:
        with self._lock:
            self._under_way -= 1
            if not self._under_way:
                self._loop.call_soon_threadsafe(self._look_settled)

    def _look_settled(self) -> None:
        with self._lock:
            if not self._under_way:
                self._settled.set()

    def _made(self, place: Place, cost: Cost) -> None:
        with self._lock:
            if place[0] == PAID:
                self._purse.settle(cost if cost.lm_calls else Cost(lm_calls=1) + cost)


def _entry(place: Place, answer: Answer, failure: DSPexError | None) -> bytes:
    kind, key, number = place
    told: dict[str, object] = {"kind": kind, "key": key, "n": number}
    if failure is None:
        told["answer"] = answer.value
    else:
        told["failure"] = encode_failure(failure)
    if kind == PAID:
        cost = answer.cost if answer.cost.lm_calls else Cost(lm_calls=1) + answer.cost
        told["usage"] = cost.told()
    return encode_value(told)


def _is_failure(told: Mapping[str, object]) -> bool:
    return "failure" in told or is_refusal(told["answer"])


def _answer_in(entry: bytes) -> object:
    told = _map(decode_value(entry))
    if "failure" in told:
        raise decode_failure(cast("bytes", told["failure"]))
    return told["answer"]


def _outcome(answer: Answer, failure: DSPexError | None) -> object:
    if failure is not None:
        raise failure
    return answer.value


def _map(value: object) -> dict[str, Any]:
    assert isinstance(value, dict)
    return cast("dict[str, Any]", value)
