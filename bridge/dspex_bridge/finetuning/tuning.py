"""The making of one model: begun once, however often the process dies that looks after it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, TypeVar

from dspex_protocol.errors import error

from ..jobs.answers import Answer
from .endpoint import ProviderEvent, ProviderJob, TuningEndpoint
from .examples import TrainingFile

T = TypeVar("T")

LEAST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 20.0
"""Between two looks at a provider, which has no way to tell by itself; DSPy's own looks as rarely."""
PAUSE_GROWTH: Final = 1.5

Tell: TypeAlias = Callable[[ProviderEvent], Awaitable[None]]
"""Is given each of the provider's events, once and in order."""


class Asking(Protocol):
    """What keeps answers; `jobs.answers.Answers` is it."""

    async def ask(self, kind: str, key: bytes, live: Callable[[], Awaitable[Answer]]) -> object:
        """See there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A model that is to be made.

    Attributes:
        owner: The job of ours that wants it: another one's is made anew.
        model: Of which, by the provider's name.
        file: Of what.
        options: How, as the provider's API has it.
    """

    owner: str
    model: str
    file: TrainingFile
    options: Mapping[str, object]

    @property
    def key(self) -> bytes:
        """32 bytes: the same for the same wish."""
        told = json.dumps([self.owner, self.model, self.options], sort_keys=True, default=str)
        return hashlib.sha256(told.encode() + self.file.digest).digest()


class Patience(Protocol):
    """Has requests wait while a provider is away."""

    def __call__(self, ask: Callable[[], Awaitable[T]]) -> Awaitable[T]:
        """Make one, again if need be."""
        ...


async def tuned(
    endpoint: TuningEndpoint, wish: Wish, answers: Asking, tell: Tell, patiently: Patience
) -> ProviderJob:
    """Have a model made, and wait for it; cancelling this cancels the provider's job.

    Args:
        endpoint: Where.
        wish: What.
        answers: Keeps which job of the provider's it is.
        tell: Hears what happens to that.
        patiently: A job of hours must not fail for a minute in which nobody answers.

    Returns:
        The provider's job, which has succeeded.

    Raises:
        DSPexError: `finetune_failed` when it has failed, or was cancelled by somebody else.
        LMError: the provider cannot be asked.
    """
    try:
        kept = await answers.ask("finetune", wish.key, lambda: _begin(endpoint, wish, patiently))
        ended = await _followed(endpoint, str(kept), tell, patiently)
    except asyncio.CancelledError:
        await asyncio.shield(_give_up(endpoint, wish))
        raise
    return checked(ended)


def checked(ended: ProviderJob) -> ProviderJob:
    """One that has succeeded.

    Raises:
        DSPexError: `finetune_failed` for any other. The provider's words are in its events: they may quote
            what it was given.
    """
    if ended.status == "succeeded":
        return ended
    raise error(
        "finetune_failed",
        f"the provider's fine-tuning job ended as {ended.status}; its events tell why",
        details={"provider_job": ended.id, "status": ended.status, "reason": ended.failure},
    )


async def _begin(endpoint: TuningEndpoint, wish: Wish, patiently: Patience) -> Answer:
    key = wish.key.hex()

    async def begin() -> ProviderJob:
        # Whoever began it may have died before this was kept; or only the answer was lost.
        return await endpoint.find(key) or await endpoint.start(file, wish.model, wish.options, key)

    job = await patiently(lambda: endpoint.find(key))
    if job is None:
        file = await patiently(lambda: endpoint.upload(wish.file.body))
        job = await patiently(begin)
    return Answer(value=job.id)


async def _followed(endpoint: TuningEndpoint, job: str, tell: Tell, patiently: Patience) -> ProviderJob:
    told, pause_s = 0, LEAST_PAUSE_S
    while True:
        # Before its events: what came of it is among those.
        found = await patiently(lambda: endpoint.job(job))
        events = await patiently(lambda: endpoint.events(job))
        for event in events[told:]:
            await tell(event)
        pause_s = LEAST_PAUSE_S if len(events) > told else min(LONGEST_PAUSE_S, pause_s * PAUSE_GROWTH)
        told = len(events)
        if found.has_ended:
            return found
        await asyncio.sleep(pause_s)


async def _give_up(endpoint: TuningEndpoint, wish: Wish) -> None:
    """Have the provider stop, and forget the file, as DSPy's own does."""
    job = await endpoint.find(wish.key.hex())
    if job is not None:
        await endpoint.cancel(job.id)
        if job.file:
            await endpoint.delete_file(job.file)
