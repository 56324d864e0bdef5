"""Models trained by DSPy's local provider, on this machine, where its packages are installed."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Mapping
from typing import Any, Final

from dspy.clients.lm_local import LocalProvider
from dspy.clients.provider import TrainingJob
from dspy.clients.utils_finetune import TrainDataFormat

from dspex_protocol.errors import error

from ..jobs.answers import Answer
from ..refusals import refusal
from .endpoint import ProviderJob
from .tuning import Asking, Wish

LOCAL: Final = "local:"
"""How DSPy names its models, after `openai/`."""
PACKAGES: Final = ("torch", "transformers", "accelerate", "trl", "peft", "datasets")
_OURS: Final = ("output_dir",)
"""Where models are written is for the host to say, by DSPY_FINETUNEDIR in the server's environment."""


def check_local(options: Mapping[str, object], path: str) -> None:
    """Refuse what cannot begin.

    Raises:
        DSPexError: `lm_not_configured` naming the packages that are missing; `invalid_argument`.
    """
    for name in _OURS:
        if name in options:
            raise refusal(
                f"{path}.{name}", "no place for the model: DSPY_FINETUNEDIR is for the host", "a path"
            )
    lacking = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if lacking:
        raise error(
            "lm_not_configured",
            f"local models are trained with packages that are not installed where the server runs:"
            f" {', '.join(lacking)} (pip install {' '.join(PACKAGES)})",
        )


async def tuned_locally(wish: Wish, rows: list[dict[str, Any]], answers: Asking) -> ProviderJob:
    """Train in a thread of this process: what has ended is not done again, the rest is."""

    async def train() -> Answer:
        job, options = TrainingJob(), dict(wish.options)
        made = await asyncio.to_thread(
            LocalProvider.finetune, job, wish.model, rows, TrainDataFormat.CHAT, options
        )
        return Answer(value=str(made).removeprefix("openai/"))

    model = str(await answers.ask("finetune", wish.key, train))
    return ProviderJob(id=wish.key.hex()[:16], status="succeeded", file="", model=model)
