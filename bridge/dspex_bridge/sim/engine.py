"""The offline model as a source of answers for `dspex_bridge.lms.answering`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator

from dspy.utils.exceptions import LMRateLimitError, LMServerError, LMTimeoutError

from dspex_bridge.lms.answering import Answer, Question, WantedCall

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

    def stream(self, question: Question) -> Generator[str | Answer]:
        """The pieces of an answer, then the whole."""
        answer = self._decide(question)
        self._check_time(question.model, answer.first_token_s)
        time.sleep(answer.first_token_s)
        for piece in self.model.pieces(answer):
            if answer.token_s:
                time.sleep(answer.token_s)
            yield piece
        yield _answer(answer)

    async def astream(self, question: Question) -> AsyncGenerator[str | Answer]:
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
        try:
            needed_s = self.model.weather()
        except (SimRateLimited, SimUnavailable) as refusal:
            raise _in_dspys_words(refusal, model) from None
        await asyncio.sleep(self._patience_s(needed_s))
        self._check_time(model, needed_s)

    def _decide(self, question: Question) -> SimAnswer:
        tools = (
            [SimTool(tool.name, dict(tool.parameters)) for tool in question.tools] if question.tools else ()
        )
        try:
            return self.model.answer(question.texts, question.temperature, question.response_schema, tools)
        except (SimRateLimited, SimUnavailable) as refusal:
            raise _in_dspys_words(refusal, question.model) from None

    def _patience_s(self, needed_s: float) -> float:
        return needed_s if self.timeout_s is None else min(needed_s, self.timeout_s)

    def _check_time(self, model: str, needed_s: float) -> None:
        if self.timeout_s is not None and needed_s > self.timeout_s:
            raise LMTimeoutError(f"sim: no answer within timeout_s = {self.timeout_s}", model=model)


def _in_dspys_words(refusal: SimRateLimited | SimUnavailable, model: str) -> Exception:
    """The error that DSPy would raise of a provider."""
    told: Exception = LMServerError(str(refusal), model=model, status=503)
    if isinstance(refusal, SimRateLimited):
        told = LMRateLimitError(str(refusal), model=model, status=429, retry_after=refusal.retry_after_s)
    return told


def _answer(answer: SimAnswer) -> Answer:
    if answer.call is None:
        return Answer(answer.text, answer.tokens_in, answer.tokens_out)
    call = WantedCall(answer.call.id, answer.call.name, answer.call.args)
    return Answer(answer.text, answer.tokens_in, answer.tokens_out, (call,))
