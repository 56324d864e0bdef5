"""One attempt of a simulated job: loads its answers, asks for what is missing, keeps it and goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from dspex_protocol import REPLY, DSPexError, decode_value, encode_value
from tests.support.tasks import HandPromise, HandTasks

from .records import Violation
from .toil import (
    FUNCTION,
    HOST,
    LM,
    Place,
    answer_to,
    carried,
    places_of,
    result_of,
    score_of,
    toil_of,
)

if TYPE_CHECKING:
    from .job_workers import JobWorker

PAGE: Final = 3
"""Answers that are read at a time: few, so that there are several pages."""
WHILE_ASKING: Final = ("job_dies_asking", "job_freezes_asking")
WHILE_KEEPING: Final = ("job_dies_keeping", "job_talks_nonsense")
WHILE_TELLING: Final = ("job_dies_telling",)


class Spent(Exception):
    """The budget has no room."""


class Attempt:
    """What a worker does with the job that it was given.

    Attributes:
        job: Its id.
        toil: What is to be done.
        known: Answers that were kept when it began.
        is_over: It does nothing any more.
    """

    def __init__(self, worker: JobWorker, told: Mapping[str, object]) -> None:
        self._worker = worker
        self._world = worker.world
        self._book = worker.world.jobs
        self._tasks = HandTasks(worker.run_later)
        self._works: list[Coroutine[Any, Any, None]] = []
        self.job = str(told["job"])
        self.number = cast("int", told["attempt"])
        self.toil = toil_of(told["request"])
        budget = cast("dict[str, int]", told["budget"])
        spent = cast("dict[str, int]", told["spent"])
        self._limit = budget.get("lm_calls")
        self._spent = spent["lm_calls"]
        self._under_way = 0
        self._kept: dict[Place, int] = {}
        self._answered = 0
        self._live = 0
        self._events = 0
        self._best = -1.0
        self._to_keep: list[tuple[Place, HandPromise[None]]] = []
        self._is_keeping = False
        self.is_over = False
        self.known = self._book.attempt_began(worker, self)

    def __repr__(self) -> str:
        return f"<attempt {self.number} of {self.job}>"

    def begin(self) -> None:
        """Do it."""
        self._start(self._run())

    def stop(self) -> None:
        """No more of it."""
        self.is_over = True
        for work in self._works:
            with contextlib.suppress(Exception, ValueError):
                work.close()
        self._works.clear()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        if self.is_over:  # its worker died a moment ago, in the middle of this
            work.close()
            return
        self._works.append(work)
        self._tasks.start(work)

    async def _run(self) -> None:
        try:
            await self._load()
            await self._take_steps()
        except Spent:
            self._worker.fail("budget_spent", f"{self._spent} of {self._limit}")
        except DSPexError as refusal:
            raise Violation("P10", f"{self} is refused what it asks: {refusal}") from refusal

    async def _load(self) -> None:
        after = 0
        while True:
            page = cast("Any", await self._worker.ask("job.answers", {"after": after, "limit": PAGE}))
            if not page["entries"]:
                return
            for entry in page["entries"]:
                place, answer = read_entry(entry)
                self._kept[place] = answer
            after = page["last"]

    async def _take_steps(self) -> None:
        toil, carry, step = self.toil, self.toil.number, 0
        while toil.is_endless or step < toil.steps:
            step += 1
            carry = carried(carry, await self._ask_all(places_of(toil, step, carry)))
            await self._tell(step, carry)
        if toil.fails:
            self._worker.fail("program_failed", "it was to fail")
        else:
            self._worker.reply(REPLY, encode_value(self._outcome(carry)))

    def _outcome(self, carry: int) -> dict[str, object]:
        replay = {"answered": self._answered, "live": self._live, "diverged": len(self._kept)}
        save = self._book.to_save(self.job, self.toil) if self.toil.saves else None
        return {"result": result_of(self.toil, carry), "save": save, "replay": replay}

    async def _tell(self, step: int, carry: int) -> None:
        self._events += 1
        score = score_of(carry)
        self._worker.tell("job.progress", {"done": step, "score": score})
        told = self._worker.ask("job.event", {"n": self._events, "event": {"type": "step", "step": step}})
        self._worker.stumble(WHILE_TELLING)
        await told
        self._book.event_acknowledged(self, step)
        if score > self._best:
            self._best = score
            await self._worker.ask("job.best", {"score": score, "content": {"step": step}})

    # Questions

    async def _ask_all(self, places: list[Place]) -> dict[Place, int]:
        answers: dict[Place, int] = {}
        all_there: HandPromise[None] = self._tasks.promise()

        async def ask(place: Place) -> None:
            try:
                answers[place] = await self._ask(place)
            except Spent as refusal:
                if not all_there.done():
                    all_there.set_exception(refusal)
                return
            except DSPexError as refusal:
                raise Violation("P10", f"{self} is refused {place}: {refusal}") from refusal
            if len(answers) == len(places) and not all_there.done():
                all_there.set_result(None)

        for place in places:
            self._start(ask(place))
        await all_there
        return answers

    async def _ask(self, place: Place) -> int:
        if place in self._kept:
            self._answered += 1
            return self._kept.pop(place)
        self._take_money(place)
        self._live += 1
        self._book.asked(self, place)
        if place.kind == LM and self._limit is not None:
            self._worker.tell("job.asked", {})
        answer = await (self._ask_host(place) if place.kind == HOST else self._ask_model(place))
        kept: HandPromise[None] = self._tasks.promise()
        self._to_keep.append((place, kept))
        if not self._is_keeping:
            self._is_keeping = True
            self._start(self._keep())
        await kept
        return answer

    def _take_money(self, place: Place) -> None:
        if place.kind != LM:
            return
        if self._limit is not None and self._spent + self._under_way >= self._limit:
            raise Spent
        self._under_way += 1

    async def _ask_model(self, place: Place) -> int:
        there: HandPromise[None] = self._tasks.promise()
        self._worker.after(self.toil.ms / 1000 * self._world.random.random(), there.set_result, None)
        self._worker.stumble(WHILE_ASKING)
        await there
        self._under_way -= 1
        self._spent += 1
        return answer_to(place.key)

    async def _ask_host(self, place: Place) -> int:
        args = {"job": self.job, "key": place.key}
        answer = await self._worker.ask("function.call", {"function": FUNCTION, "args": args})
        if answer != answer_to(place.key):
            raise Violation("P2", f"{self} asks {place} and is answered {answer!r}")
        return answer_to(place.key)

    async def _keep(self) -> None:
        """What comes while others are on their way goes with the next message."""
        while self._to_keep:
            taken, self._to_keep = self._to_keep, []
            entries = [write_entry(place, answer_to(place.key)) for place, _ in taken]
            kept = self._worker.ask("job.answered", {"entries": entries})
            self._worker.stumble(WHILE_KEEPING)
            try:
                await kept
            except DSPexError as refusal:
                raise Violation("P10", f"{self} cannot have answers kept: {refusal}") from refusal
            self._book.acknowledged(self, [place for place, _ in taken])
            for _, promise in taken:
                promise.set_result(None)
        self._is_keeping = False


def write_entry(place: Place, answer: int) -> bytes:
    """As a worker has it kept."""
    told: dict[str, object] = {"kind": place.kind, "key": place.key, "n": place.number, "answer": answer}
    if place.kind == LM:
        told["usage"] = {"lm_calls": 1}
    return encode_value(told)


def read_entry(entry: bytes) -> tuple[Place, int]:
    """As it was kept."""
    told = cast("dict[str, Any]", decode_value(entry))
    return Place(told["kind"], told["key"], told["n"]), told["answer"]
