"""Who is asked within a job, through its answers: language models, and functions of the host.

A job asks a language model the same question once, as DSPy's own cache would have it, and gives the
answer to all who ask it, also to those who ask while it is on its way. That bounds what an optimizer
costs that tries the same program twice; and which of two threads asked first makes no difference to
any attempt. A rollout of its own makes a question another one.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, cast

from dspy.utils.exceptions import LMError

from dspex_protocol import DSPexError, Tensor, encode_value

from ..host_functions import HostFunctions
from ..lms.accounts import Account
from ..lms.answering import CountingLM
from ..lms.embedding import Vectors, VectorSource, rows_of, tensor_of
from ..lms.journal import (
    bare,
    is_refusal,
    kept_failure,
    kept_outputs,
    read_outputs,
    request_key,
    vectors_key,
)
from ..lms.usage import Spent, Usage, counting
from ..worker.calls import CallTable
from .answers import PAID, Answer, Answers
from .budget import Cost
from .outages import Outages

HOST: Final = "host"
"""The kind of answers of the host's functions."""


class JobJournal:
    """Answers language models' requests out of a job's answers.

    Args:
        answers: Of the job.
        outages: Has requests wait while a model is away.

    Attributes:
        on_ask: Is told of each question, in the thread that asks.
        on_failure: Is told code and message of each refusal, kept ones too.
    """

    def __init__(self, answers: Answers, outages: Outages) -> None:
        self._answers = answers
        self._outages = outages
        self._lock = threading.Lock()
        self._known: dict[bytes, Future[object]] = {}
        self.on_ask: Callable[[], None] = lambda: None
        self.on_failure: Callable[[str, str], None] = lambda code, message: None

    def ask(self, lm: CountingLM, prompt: Any, messages: Any, options: Mapping[str, Any]) -> list[Any]:
        """As `lms.journal.Journal`."""
        self.on_ask()
        key = request_key(lm, prompt, messages, options)

        def live() -> Answer:
            usage = Usage()

            def once() -> list[Any]:
                nonlocal usage
                usage = Usage()  # a try that came to nothing is not the job's to pay
                with counting(usage), bare(lm):
                    return lm(prompt, messages=messages, **options)  # type: ignore[no-any-return]

            try:
                outputs = self._outages.ask_in_thread(lm.account, once)
            except LMError as failure:
                return Answer(value=kept_failure(failure), cost=_cost(usage))
            return Answer(value=kept_outputs(outputs), cost=_cost(usage))

        kept = self._once(key, lambda: self._answers.ask_in_thread(PAID, key, live))
        self._note(lm.account, kept)
        return read_outputs(kept, lm.model)

    async def aask(self, lm: CountingLM, prompt: Any, messages: Any, options: Mapping[str, Any]) -> list[Any]:
        """As `lms.journal.Journal`."""
        self.on_ask()
        key = request_key(lm, prompt, messages, options)

        async def live() -> Answer:
            usage = Usage()

            async def once() -> list[Any]:
                nonlocal usage
                usage = Usage()
                with counting(usage), bare(lm):
                    return await lm.acall(prompt, messages=messages, **options)  # type: ignore[no-any-return]

            try:
                outputs = await self._outages.ask(lm.account, once)
            except LMError as failure:
                return Answer(value=kept_failure(failure), cost=_cost(usage))
            return Answer(value=kept_outputs(outputs), cost=_cost(usage))

        kept = await self._aonce(key, lambda: self._answers.ask(PAID, key, live))
        self._note(lm.account, kept)
        return read_outputs(kept, lm.model)

    async def vectors(
        self, source: VectorSource, account: Account, texts: Sequence[str], config: Mapping[str, object]
    ) -> Vectors:
        """As `lms.journal.Journal`."""
        key = vectors_key(account, texts, config)

        async def live() -> Answer:
            made = await self._outages.ask(account, lambda: source.embed(list(texts), config))
            usage = Usage()
            usage.add_request(0, account)
            usage.add_tokens(made.tokens_in, 0, account)
            kept = {"vectors": tensor_of(made.rows), "tokens_in": made.tokens_in}
            return Answer(value=kept, cost=_cost(usage))

        kept: Any = await self._aonce(key, lambda: self._answers.ask(PAID, key, live))
        self._note(account, kept)
        return Vectors(rows_of(cast("Tensor", kept["vectors"])), kept["tokens_in"])

    def _note(self, account: Account, kept: object) -> None:
        if not is_refusal(kept):
            self._outages.answered(account)

    def _once(self, key: bytes, ask: Callable[[], object]) -> object:
        answer, is_mine = self._place(key)
        if is_mine:
            try:
                answer.set_result(ask())
            except BaseException as reason:
                self._forget(key, answer, reason)
                raise
            self._forget_refusal(key, answer)
        return answer.result()

    async def _aonce(self, key: bytes, ask: Callable[[], Awaitable[object]]) -> object:
        answer, is_mine = self._place(key)
        if is_mine:
            try:
                answer.set_result(await ask())
            except BaseException as reason:
                self._forget(key, answer, reason)
                raise
            self._forget_refusal(key, answer)
        return await asyncio.shield(asyncio.wrap_future(answer))

    def _place(self, key: bytes) -> tuple[Future[object], bool]:
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                return known, False
            mine = self._known[key] = Future()
            return mine, True

    def _forget(self, key: bytes, answer: Future[object], reason: BaseException) -> None:
        """What failed for us is asked again by the next, and told to those who wait."""
        with self._lock:
            self._known.pop(key, None)
        if isinstance(reason, DSPexError):
            self.on_failure(reason.code, reason.message)
        answer.set_exception(reason)
        with suppress(BaseException):
            answer.exception()  # looked at, so that nobody complains that it was not

    def _forget_refusal(self, key: bytes, answer: Future[object]) -> None:
        """A model's refusal may be another thing the next time, as it may be where DSPy caches."""
        kept = cast("dict[str, Any]", answer.result())
        if is_refusal(kept):
            self.on_failure(kept["failure"], kept["message"])
            with self._lock:
                self._known.pop(key, None)


def _cost(usage: Spent) -> Cost:
    return Cost(
        lm_calls=usage.lm_calls,
        tokens_in=usage.tokens_in,
        tokens_out=usage.tokens_out,
        cost_usd=usage.cost_usd,
    )


class JobFunctions(HostFunctions):
    """The host's functions, answered out of a job's answers: one that did something does it once.

    Args:
        calls: The wire.
        answers: Of the job.
        loop: The worker's event loop.
        nesting: Names of functions that call predictors back. They run in each attempt: what they
            return is made of answers that are kept, and the steps between are the program's trace.
    """

    def __init__(
        self,
        calls: CallTable,
        answers: Answers,
        loop: asyncio.AbstractEventLoop,
        nesting: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(self._call_kept, loop, calls.stream_host)
        self._calls = calls
        self._answers = answers
        self.nesting = nesting

    def require(self, name: str, path: str, prefix: str = "") -> None:
        """Nothing: that the host offers it was seen when the job was submitted, and a call waits for it."""

    async def _call_kept(self, name: str, args: Mapping[str, object]) -> object:
        if name in self.nesting:
            return await self._calls.call_host(name, args)
        key = hashlib.sha256(encode_value([HOST, name, dict(args)])).digest()

        async def live() -> Answer:
            return Answer(value=await self._calls.call_host(name, args))

        return await self._answers.ask(HOST, key, live)
