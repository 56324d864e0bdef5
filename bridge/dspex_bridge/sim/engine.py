"""The offline model as a source of answers for `dspex_bridge.answering`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager

from dspy.utils.exceptions import LMRateLimitError, LMServerError, LMTimeoutError

from dspex_bridge.answering import Answer, Question, WantedCall

from .model import SimAnswer, SimModel, SimRateLimited, SimTool, SimUnavailable


class SimSource:
    """Waits as long as the model says, and speaks DSPy's errors."""

    def __init__(self, model: SimModel, timeout_s: float | None = None) -> None:
        self.model = model
        self.timeout_s = timeout_s

    def ask(self, question: Question) -> Answer:
        """Answer, sleeping in this thread."""
        answer = self._decide(question)
        time.sleep(self._patience_s(answer.total_s))
        self._check_time(question.model, answer.total_s)
        return _answer(answer)

    async def aask(self, question: Question) -> Answer:
        """Answer, sleeping on the loop."""
        answer = self._decide(question)
        if answer.total_s:
            await asyncio.sleep(self._patience_s(answer.total_s))
            self._check_time(question.model, answer.total_s)
        return _answer(answer)

    def stream(self, question: Question) -> Iterator[str | Answer]:
        """The pieces of an answer, then the whole."""
        answer = self._decide(question)
        self._check_time(question.model, answer.first_token_s)
        time.sleep(answer.first_token_s)
        for piece in self.model.pieces(answer):
            if answer.token_s:
                time.sleep(answer.token_s)
            yield piece
        yield _answer(answer)

    async def astream(self, question: Question) -> AsyncIterator[str | Answer]:
        """The pieces of an answer, then the whole."""
        answer = self._decide(question)
        self._check_time(question.model, answer.first_token_s)
        await asyncio.sleep(answer.first_token_s)
        for piece in self.model.pieces(answer):
            # Even at once means a turn of the loop, or a stream would be a single piece.
            await asyncio.sleep(answer.token_s)
            yield piece
        yield _answer(answer)

    async def wait(self, model: str) -> None:
        """What a request goes through before it is answered: it takes its time, and may be refused."""
        with _in_dspys_words(model):
            needed_s = self.model.weather()
        await asyncio.sleep(self._patience_s(needed_s))
        self._check_time(model, needed_s)

    def _decide(self, question: Question) -> SimAnswer:
        with _in_dspys_words(question.model):
            tools = [SimTool(tool.name, dict(tool.parameters)) for tool in question.tools]
            return self.model.answer(question.texts, question.temperature, question.response_schema, tools)

    def _patience_s(self, needed_s: float) -> float:
        return needed_s if self.timeout_s is None else min(needed_s, self.timeout_s)

    def _check_time(self, model: str, needed_s: float) -> None:
        if self.timeout_s is not None and needed_s > self.timeout_s:
            raise LMTimeoutError(f"sim: no answer within timeout_s = {self.timeout_s}", model=model)


@contextmanager
def _in_dspys_words(model: str) -> Generator[None]:
    """What the model refuses, as the error that DSPy would raise of a provider."""
    try:
        yield
    except SimRateLimited as refusal:
        raise LMRateLimitError(
            str(refusal), model=model, status=429, retry_after=refusal.retry_after_s
        ) from None
    except SimUnavailable as refusal:
        raise LMServerError(str(refusal), model=model, status=503) from None


def _answer(answer: SimAnswer) -> Answer:
    calls = [] if answer.call is None else [WantedCall(answer.call.id, answer.call.name, answer.call.args)]
    return Answer(answer.text, answer.tokens_in, answer.tokens_out, calls)
