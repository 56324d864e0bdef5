"""What is known of the configured language models: all that a host may show to people, so no secret.

What a host put into `options` is told by name; of the values only numbers, booleans and a few
words of known meaning, since anybody may have put a key under any name.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from dspy.clients.backend_selection import select_backend
from dspy.clients.capabilities import capabilities
from dspy.clients.model_metadata import model_info

from dspex_protocol.errors import DSPexError
from dspex_protocol.handshake import LMConfig

from ..failures import holds_key, redact, redact_failure
from .accounts import TOKENS_PER_PRICE
from .answering import AnsweringLM, CountingLM
from .credentials import names_account_or_address
from .lms import LanguageModels

_TELLING_WORDS: Final = frozenset(("reasoning_effort", "service_tier", "verbosity", "encoding_format"))
_PARAMETERS: Final = ("temperature", "max_tokens", "num_retries", "timeout_s")
_LIMITS: Final = {"max_input_tokens": "tokens_in", "max_output_tokens": "tokens_out"}


def describe_lms(lms: LanguageModels) -> list[dict[str, object]]:
    """A row for each, by name; none of them is asked anything."""
    return [_row(lms, name, config) for name, config in sorted(lms.configs.items())]


def _row(lms: LanguageModels, name: str, config: LMConfig) -> dict[str, object]:
    provider, _, model = config.model.partition("/")
    kind = provider if provider in ("sim", "host") else "provider"
    built, problem = _built(lms, name, config)
    return {
        "name": name,
        "model": redact(config.model) if holds_key(config.model) else config.model,
        "kind": kind,
        "model_type": config.model_type,
        "by": _way(config, built),
        "address": _address(config.api_base),
        "key": _key(config),
        "usable": problem is None,
        "problem": problem,
        "parameters": _parameters(config),
        "prices": _prices(config, provider, model),
        "limits": _limits(provider, model) if kind == "provider" else {},
        "capabilities": _capabilities(built),
    }


def _built(
    lms: LanguageModels, name: str, config: LMConfig
) -> tuple[CountingLM | None, dict[str, object] | None]:
    """The LM itself, and why it could not be had."""
    try:
        if config.model_type == "embedding":
            lms.embedder(name)
            return None, None
        return lms.get(name), None
    except DSPexError as refusal:
        redact_failure(refusal)
        return None, {"code": refusal.code, "message": refusal.message}


def _way(config: LMConfig, built: CountingLM | None) -> str | None:
    """Who makes its requests: the worker itself, the host, DSPy's own client, LiteLLM."""
    if built is None:
        return None
    if isinstance(built, AnsweringLM):
        return "host" if config.model.startswith("host/") else "worker"
    if not isinstance(built.engine, str):
        return "engine"
    return "dspy" if select_backend(built).native else "litellm"


def _address(api_base: str | None) -> str | None:
    """Scheme, host and port: what else there is may be on somebody's account."""
    if api_base is None:
        return None
    try:
        parts = urlsplit(api_base)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


def _key(config: LMConfig) -> str | None:
    """Where its key comes from, by name; some write the key itself where its name belongs."""
    if config.api_key_secret is not None:
        return redact(f"secret {config.api_key_secret}")
    return None if config.api_key_env is None else redact(f"environment {config.api_key_env}")


def _parameters(config: LMConfig) -> dict[str, object]:
    own = {name: getattr(config, name) for name in _PARAMETERS}
    given = {name: value for name, value in own.items() if value is not None}
    return {**given, **{name: _shown(name, value) for name, value in config.options.items()}}


def _shown(name: str, value: object) -> object:
    if names_account_or_address(name):
        return None
    if isinstance(value, bool | int | float) or (isinstance(value, str) and name in _TELLING_WORDS):
        return value
    return None


def _prices(config: LMConfig, provider: str, model: str) -> dict[str, object] | None:
    """Dollars of a million tokens, and whose word that is."""
    if config.usd_per_million_in is not None or config.usd_per_million_out is not None:
        return {
            "in": config.usd_per_million_in or 0.0,
            "out": config.usd_per_million_out or 0.0,
            "by": "host",
        }
    known = _known(provider, model)
    prices = [known.get(f"{side}_cost_per_token") for side in ("input", "output")]
    if not all(isinstance(price, int | float) for price in prices):
        return None
    million = [round(float(price or 0) * TOKENS_PER_PRICE, 9) for price in prices]
    return {"in": million[0], "out": million[1], "by": "dspy"}


def _limits(provider: str, model: str) -> dict[str, object]:
    known = _known(provider, model)
    return {name: known[key] for key, name in _LIMITS.items() if isinstance(known.get(key), int)}


@functools.lru_cache(maxsize=256)
def _known(provider: str, model: str) -> Mapping[str, Any]:
    # Asked once: for a name that is not there, DSPy searches through all of its list.
    return {} if provider in ("sim", "host") else model_info(provider, model) or {}


def _capabilities(built: CountingLM | None) -> dict[str, bool] | None:
    """As DSPy knows them; nil where it would have to load LiteLLM to know."""
    if built is None or isinstance(built, AnsweringLM):
        return None
    if isinstance(built.engine, str) and not select_backend(built).native:
        return None
    can = capabilities(built)
    return {
        "function_calling": can.function_calling,
        "reasoning": can.reasoning,
        "response_schema": can.response_schema,
    }
