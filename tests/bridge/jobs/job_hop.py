"""The supervisor's half of a job, in a few lines: what a test's own store keeps of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support import plugin_jobs
from tests.support.hops import Heard, Hop, worker_here

from dspex_protocol import CALL, CANCEL, FAIL, REPLY, DSPexError, decode_failure, decode_value


class JobHop:
    """Has a worker run jobs and answers what it asks.

    Attributes:
        answers: What it had kept, over all attempts.
        events: By number.
        best: Each that it told.
        batches: How many answers came with each message.
        stop_after: So many answers, and the job is cancelled; or its worker killed, by `kill`.
    """

    def __init__(self, hop: Hop) -> None:
        self.hop = hop
        self.answers: list[bytes] = []
        self.events: dict[int, Any] = {}
        self.best: list[Any] = []
        self.batches: list[int] = []
        self.stop_after = 1 << 30
        self.kill: Callable[[], None] | None = None
        self.function: Callable[[Any], object] = lambda asked: None
        self._seen = 0

    async def run(self, request: object, kind: str = "toil", attempt: int = 1, **more: Any) -> Any:
        """The REPLY of `job.run`; None where it was left alone after `stop_after` answers.

        Raises:
            DSPexError: its FAIL.
        """
        what = {"job": "j", "kind": kind, "request": request, "attempt": attempt, **more}
        call_id = await self.hop.start("job.run", what)
        while True:
            while self._seen < len(self.hop.heard):
                frame = self.hop.heard[self._seen]
                self._seen += 1
                if frame.id == call_id and frame.kind == REPLY:
                    return frame.value
                if frame.id == call_id and frame.kind == FAIL:
                    raise decode_failure(frame.payload)
                if frame.kind == CALL:
                    assert frame.meta["parent"] == call_id
                    if len(self.answers) >= self.stop_after:
                        return await self._give_up(call_id)
                    await self.hop.say(REPLY, frame.id, None, {}, self._answer(frame))
            await self.hop.hear()

    async def _give_up(self, call_id: int) -> None:
        if self.kill is not None:
            self.kill()
            return
        await self.hop.say(CANCEL, call_id, None, {}, None)
        with pytest.raises(DSPexError):
            await self.hop.end(call_id)

    def _answer(self, frame: Heard) -> object:
        asked = frame.value
        match frame.method:
            case "job.answers":
                page = self.answers[asked["after"] :][: asked["limit"]]
                return {"entries": page, "last": asked["after"] + len(page)}
            case "job.answered":
                self.batches.append(len(asked["entries"]))
                self.answers += asked["entries"]
            case "job.event":
                if asked.get("anew"):
                    self.events[asked["n"]] = asked["event"]
                self.events.setdefault(asked["n"], asked["event"])
            case "job.best":
                self.best.append(asked)
            case "function.call":
                return self.function(asked)
            case "job.rows":
                at = asked["offset"]
                return {"rows": [{"at": at}, {"at": at + 1}], "next": at + 2 if at < 4 else None}
            case other:
                raise AssertionError(other)
        return None

    async def failure(self, request: object, **more: Any) -> DSPexError:
        """A job that must fail."""
        try:
            reply = await self.run(request, **more)
        except DSPexError as refused:
            return refused
        raise AssertionError(f"it gave {reply!r}")

    def values(self) -> list[Any]:
        """The entries, decoded."""
        return [decode_value(entry) for entry in self.answers]


@asynccontextmanager
async def job_worker() -> AsyncGenerator[JobHop]:
    """A worker that knows `toil`, in this process."""
    async with worker_here() as (hop, worker):
        worker.kinds.update({kind.name: kind for kind in plugin_jobs.KINDS})
        yield JobHop(hop)
