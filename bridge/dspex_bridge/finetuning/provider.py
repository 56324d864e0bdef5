"""Where the models of a job are fine-tuned, also when one of DSPy's optimizers wants it."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from dspy.clients.provider import Provider, TrainingJob
from dspy.clients.utils_finetune import TrainDataFormat

from dspex_protocol.errors import error

from ..lms.accounts import Account
from ..lms.answering import CountingLM
from ..lms.lms import DEFAULT, LanguageModels
from ..refusals import refusal
from .endpoint import ProviderEvent, ProviderJob, TuningEndpoint
from .examples import conversation_of, training_file
from .local import LOCAL, check_local, tuned_locally
from .tuning import Wish, tuned

if TYPE_CHECKING:
    from ..jobs.job import Job

OPENAI: Final = "https://api.openai.com/v1"
OPENAI_KEY: Final = "OPENAI_API_KEY"


class TuningProvider:
    """Has models made for one job.

    Args:
        lms: The configured language models.
        job: For whom; keeps what has begun, and hears what happens.
    """

    def __init__(self, lms: LanguageModels, job: Job) -> None:
        self._lms = lms
        self._job = job

    async def tune(
        self, name: str | None, rows: Sequence[Mapping[str, object]], options: Mapping[str, object]
    ) -> ProviderJob:
        """Have a model made of the one that is configured under a name.

        Args:
            name: Of the LM; None for the default one.
            rows: Conversations, each with its `messages`.
            options: As the provider's API has them.

        Raises:
            DSPexError: `finetune_failed`; `invalid_argument` for a model that cannot be tuned so.
            LMError: the provider cannot be asked.
        """
        model = tunable_model(self._lms, name, "lm")
        wish = Wish(owner=self._job.id, model=model, file=training_file(rows), options=options)
        if model.startswith(LOCAL):
            check_local(options, "options")
            return await tuned_locally(wish, [dict(row) for row in rows], self._job.answers)
        async with self._endpoint(name) as endpoint:
            # Not the model's own: that may answer while nothing can be tuned.
            account = Account(label=name or DEFAULT, model=f"fine-tuning of {model}")
            patiently = functools.partial(self._job.outages.ask, account)
            return await tuned(endpoint, wish, self._job.answers, self._tell, patiently)

    async def _tell(self, event: ProviderEvent) -> None:
        await self._job.event("provider", level=event.level, message=event.message, data=dict(event.data))
        step, total = event.data.get("step"), event.data.get("total_steps")
        if isinstance(step, int) and isinstance(total, int):
            self._job.progress(phase="training", done=step, total=total)

    @asynccontextmanager
    async def _endpoint(self, name: str | None) -> AsyncGenerator[TuningEndpoint]:
        config, key = self._lms.config_of(name), self._lms.key_of(name)
        if key is None and config.api_base is None:
            key = os.environ.get(OPENAI_KEY)
            if not key:
                raise error(
                    "lm_not_configured", f"fine-tuning {config.model} needs a key, and none is configured"
                )
        async with aiohttp.ClientSession() as session:
            yield TuningEndpoint(
                config.api_base or OPENAI,
                key,
                config.model,
                session,
                timeout_s=config.timeout_s or 60.0,
                retries=config.num_retries,
            )


class DSPysProvider(Provider):
    """What `lm.finetune` of DSPy's optimizers comes to, in threads of its own.

    Args:
        provider: Has the models made.
        job: For whom.
        name: Of the LM that has this.
    """

    def __init__(self, provider: TuningProvider, job: Job, name: str | None) -> None:
        super().__init__()
        self.finetunable = True
        self._provider = provider
        self._job = job
        self._name = name

    def __deepcopy__(self, memo: dict[int, Any]) -> DSPysProvider:
        return self  # copies of a program's models are tuned in the same place

    def finetune(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        job: TrainingJob,
        model: str,
        train_data: list[dict[str, Any]],
        train_data_format: TrainDataFormat | None,
        train_kwargs: dict[str, Any] | None = None,
    ) -> str:
        """As DSPy calls it: the name of the model that was made."""
        if train_data_format != TrainDataFormat.CHAT:
            raise refusal("adapter", "one that makes conversations of examples", str(train_data_format))
        rows = [conversation_of(row, f"examples[{at}]") for at, row in enumerate(train_data)]
        ended = self._job.wait(lambda: self._provider.tune(self._name, rows, train_kwargs or {}))
        assert ended.model is not None
        return ended.model


def with_provider(lms: LanguageModels, job: Job, name: str | None) -> CountingLM:
    """The LM of that name, such that DSPy's optimizers can have it fine-tuned in this job.

    Raises:
        DSPexError: `invalid_argument` for a model that cannot be tuned so; as `LanguageModels.get`.
    """
    tunable_model(lms, name, "lm")
    lm: CountingLM = lms.get(name).copy()
    lm.provider = DSPysProvider(TuningProvider(lms, job), job, name)
    return lm


def tunable_model(lms: LanguageModels, name: str | None, path: str) -> str:
    """What the provider calls the model of an LM that can be fine-tuned.

    Raises:
        DSPexError: `invalid_argument` for one that cannot; as `LanguageModels.config_of`.
    """
    config = lms.config_of(name, path)
    provider, _, model = config.model.partition("/")
    if provider != "openai" or config.model_type != "chat":
        expected = "openai/NAME, of a provider with OpenAI's API of fine-tuning, or openai/local:NAME"
        raise refusal(path, expected, config.model)
    return model.partition("@")[0]
