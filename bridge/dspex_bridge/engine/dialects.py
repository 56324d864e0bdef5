"""Which language models our engine asks, and how their servers want to be spoken to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from dspy.clients.backend_selection import CLIENT_KEYS
from dspy.lm15 import LM15Error, LMRouter, OpenAIChatLM, RouterConfig

from dspex_protocol.handshake import LMConfig

_DOORS: Final[Mapping[str, str]] = {
    "openai": "openai-chat",
    "hosted_vllm": "vllm",
    "ollama": "ollama",
    "ollama_chat": "ollama",
}
"""DSPy's own names for servers of this kind, by what stands before the model's name."""


def find_dialect(config: LMConfig, key: str | None, *, keyless: bool) -> OpenAIChatLM | None:
    """The dialect of a model that is ours to ask; None for those that DSPy's own client asks.

    Args:
        config: As the host gave it.
        key: The key itself, if one is configured.
        keyless: Its server wants no key when none is configured.
    """
    provider, _, model = config.model.partition("/")
    door = _DOORS.get(provider)
    if door is None or config.engine == "dspy" or config.model_type != "chat" or not model:
        return None
    if CLIENT_KEYS & config.options.keys() or (config.api_base is None and _has_gateway(provider)):
        return None
    key = "none" if key is None and keyless else key
    router = LMRouter(
        RouterConfig(
            api_keys=None if key is None else {door: key},
            base_urls=None if config.api_base is None else {door: config.api_base},
            transport=_NoTransport(),
        )
    )
    try:
        dialect: Any = router.lm(f"{door}:{model}")
    except LM15Error:
        return None  # DSPy's own client tells at the call what is missing
    return dialect if type(dialect) is OpenAIChatLM else None


def _has_gateway(provider: str) -> bool:
    """Whether the environment names another address, which DSPy leaves to LiteLLM."""
    prefix = provider.upper()
    return any(os.environ.get(f"{prefix}_{name}") for name in ("API_BASE", "BASE_URL"))


class _NoTransport:
    """In the place of DSPy's HTTP client, which is not used."""

    def stream(self, request: object) -> Any:
        raise NotImplementedError
