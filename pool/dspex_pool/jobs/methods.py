"""The methods about jobs: what each does with the store, and with a worker."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from dspex_pool.experiments.chronicle import Chronicle
from dspex_pool.experiments.requests import Told, told_of_job
from dspex_pool.handling import Handling
from dspex_pool.library.heavy import worked_out
from dspex_pool.library.names import check_program
from dspex_pool.library.writes import in_order
from dspex_pool.ports import Stored
from dspex_pool.program_methods import AskWorker, Encoded, Handler, parameters
from dspex_protocol import DSPexError, decode_value, encode_value, invalid_argument
from dspex_protocol.records import read
from dspex_protocol.slices import cut_map, is_map, join_map

from . import refusals
from .answers import describe, event_row, failure_of
from .following import Following
from .needs import Stock, read_needs
from .news import News
from .operations import (
    Budget,
    FollowJob,
    GetJob,
    ListEvents,
    ListJobs,
    NamedJob,
    ResumeJob,
    Terms,
)
from .records import Job, State
from .shelf import Shelf, Wish

if TYPE_CHECKING:
    from dspex_pool.calls import Call

OWN: Final = ("kind", "key", "budget", "deadline_s", "note", "experiment")
"""Entries of a submission that are for the supervisor; the request is for a worker."""


class JobMethods:
    """Answers calls about jobs.

    Args:
        stored: The store, new ids, the wall clock, and where what computes for long is done.
        handling: What these calls run in.
        ask: Has a worker check a request.
        shelf: Where jobs are.
        following: Streams events.
        news: What happens to jobs here.
        stock: Programs and datasets that requests name.
    """

    def __init__(
        self,
        stored: Stored,
        handling: Handling,
        ask: AskWorker,
        shelf: Shelf,
        following: Following,
        news: News,
        stock: Stock,
    ) -> None:
        self._apart = stored.tasks.apart
        self._chronicle = Chronicle(stored)
        self._handling = handling
        self._ask = ask
        self._shelf = shelf
        self._following = following
        self._news = news
        self._stock = stock

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """What answers each method."""
        return {
            "job.submit": self._submit,
            "job.get": self._get,
            "job.list": self._list,
            "job.events": self._events,
            "job.follow": self._follow,
            "job.cancel": self._cancel,
            "job.resume": self._resume,
            "job.best": self._best,
            "job.result": self._result,
            "job.delete": self._delete,
        }

    async def _submit(self, call: Call) -> object:
        terms, request = _cut(call.payload)
        checked = join_map({"kind": encode_value(terms.kind), "request": request})
        needs = read_needs(await self._ask(call, "job.check", checked))
        digest, told = await worked_out(self._apart, len(request), lambda: _looked_at(terms, request))
        write_id = call.meta.get("write_id")
        key = terms.key or (None if write_id is None else f"write/{write_id}")
        try:
            pins = await self._stock.look(needs)
        except DSPexError:
            # What it was begun with may be gone since; the job is there.
            known = await self._shelf.job_of(key, digest)
            if known is None:
                raise
            return _submitted(known, created=False)
        wish = Wish(
            kind=terms.kind,
            request=request,
            key=key,
            digest=digest,
            budget=limits_of(terms.budget) or {},
            deadline_s=terms.deadline_s,
            note=terms.note,
            tenant=call.tenant.name,
            experiment=terms.experiment,
            told=told,
            pins=pins,
        )
        call.begin_effects()
        job, created = await self._shelf.submit(wish)
        self._news.submitted()
        return _submitted(job, created=created)

    async def _get(self, call: Call) -> object:
        wish = parameters(GetJob, call)
        row = await self._described(wish.job)
        if not wish.request:
            return row
        encoded = {name: encode_value(value) for name, value in row.items()}
        return Encoded(join_map({**encoded, "request": await self._shelf.request(wish.job)}))

    async def _described(self, job: str) -> dict[str, object]:
        found = await self._shelf.get(job)
        return describe(found.job, self._news.progress.get(job), is_cancelling=found.is_cancelling)

    async def _list(self, call: Call) -> object:
        wish = parameters(ListJobs, call)
        jobs, next_, unreadable = await self._shelf.page(wish.kind, wish.state, wish.after, wish.limit)
        rows = [describe(job, self._news.progress.get(job.job)) for job in jobs]
        return {"jobs": rows, "next": next_} | ({"unreadable": unreadable} if unreadable else {})

    async def _events(self, call: Call) -> object:
        wish = parameters(ListEvents, call)
        found = await self._shelf.get(wish.job)
        entries = await self._shelf.events(wish.job, wish.after, wish.limit)
        last = entries[-1].number if entries else wish.after
        return {
            "events": [event_row(entry) for entry in entries],
            "next": last if last < found.job.events else None,
        }

    async def _follow(self, call: Call) -> object:
        wish = parameters(FollowJob, call)
        with self._handling.aside():
            return await self._following.follow(call, wish.job, wish.after)

    async def _cancel(self, call: Call) -> object:
        job = parameters(NamedJob, call).job
        found = await self._shelf.get(job)
        if found.job.is_ended:
            return await self._described(job)
        call.begin_effects()
        await self._shelf.want_end(job)
        try:
            await self._news.cancel(job)  # else who has it sees the wish at its next heartbeat
            return await self._described(job)
        except DSPexError as failure:
            raise refusals.after_the_wish(failure) from failure

    async def _resume(self, call: Call) -> object:
        wish = parameters(ResumeJob, call)
        call.begin_effects()
        # While it says what it has cost so far: the run of what is to come is another one.
        await self._chronicle.close_job((await self._shelf.get(wish.job)).job)
        job = await self._shelf.resume(wish.job, limits_of(wish.budget), wish.deadline_s)
        self._news.submitted()
        self._news.changed(job.job)
        return describe(job, self._news.progress.get(job.job))

    async def _best(self, call: Call) -> object:
        job = parameters(NamedJob, call).job
        await self._shelf.get(job)
        best = await self._shelf.best(job)
        if best is None:
            return None
        return Encoded(join_map({"score": encode_value(best.score), "content": best.content}))

    async def _result(self, call: Call) -> object:
        job = parameters(NamedJob, call).job
        found = (await self._shelf.get(job)).job
        if found.state != State.DONE:
            failure = failure_of(found, await self._shelf.best(job))
            assert failure is not None  # it has no result
            raise failure
        said = {"job": job, "saved": found.saved, "replay": found.replay}
        encoded = {name: encode_value(value) for name, value in said.items()}
        return Encoded(join_map({**encoded, "result": await self._shelf.result(job)}))

    async def _delete(self, call: Call) -> object:
        job = parameters(NamedJob, call).job
        call.begin_effects()
        await self._chronicle.close_job((await self._shelf.get(job)).job)
        await self._shelf.delete(job)
        return None


def limits_of(budget: Budget | None) -> dict[str, int | float] | None:
    """Those that a budget has, by name; None for no budget."""
    if budget is None:
        return None
    return {name: limit for name, limit in asdict(budget).items() if limit is not None}


def _submitted(job: Job, *, created: bool) -> dict[str, object]:
    return {"job": job.job, "created": created, "experiment": job.experiment, "run": job.run}


def _cut(payload: bytes) -> tuple[Terms, bytes]:
    """What is for us, and the request, which is not decoded here: it may be long."""
    if not is_map(payload):
        raise invalid_argument("payload", "a map", decode_value(payload))
    given = cut_map(payload)
    request = given.pop("request", None)
    terms = read(Terms, {key: decode_value(piece) for key, piece in given.items()})
    if terms.experiment is not None:
        check_program(terms.experiment, "experiment")
    if request is None:
        raise invalid_argument("request", "what the job needs; nil for nothing", None)
    return terms, request


def _looked_at(terms: Terms, request: bytes) -> tuple[bytes, Told | None]:
    """A digest of what makes two submissions under one key the same, and what a run says of them."""
    budget = None if terms.budget is None else asdict(terms.budget)
    asked = decode_value(request)
    same = [terms.kind, budget, terms.deadline_s, in_order(asked)]
    if terms.experiment is None:
        return hashlib.sha256(encode_value(same)).digest(), None
    told = told_of_job(terms.kind, asked, {"budget": budget, "deadline_s": terms.deadline_s})
    return hashlib.sha256(encode_value([*same, terms.experiment])).digest(), told
