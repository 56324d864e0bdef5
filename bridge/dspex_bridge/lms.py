"""Language models by name: what the host configured, built when first used.

`sim/…` is an offline model, `host/NAME` asks the host function NAME, and everything else
is DSPy's own client. Keys are looked up here and handed to the client; nothing else of
this package ever holds one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import dspy
from dspy.clients.model_metadata import model_info
from dspy.lm15 import AccessPolicy, OpenAIChatCompat, ProviderDefinition, register_provider

from dspex_protocol.errors import DSPexError, describe_value, error, invalid_argument
from dspex_protocol.handshake import LMConfig
from dspex_protocol.records import read

from .answering import Answer, AnsweringLM, CountingLM, Question
from .credentials import secrets_in
from .failures import register_secret
from .host_functions import HostFunctions
from .sim import SimModel, SimOptions, SimSource

DEFAULT: Final = "default"
"""The LM of calls that name none."""

# What configures DSPy's client rather than the provider: `options` must not reach it.
_REFUSED_OPTIONS: Final = frozenset(
    (
        *("api_key", "api_base", "base_url", "timeout", "num_retries", "cache", "prompt_cache", "callbacks"),
        *("engine", "async_engine", "model", "model_type", "provider", "finetuning_model"),
        *("launch_kwargs", "train_kwargs"),
    )
)


class LanguageModels:
    """The LMs of one worker.

    Args:
        functions: Those of the host, which may be language models.
    """

    def __init__(self, functions: HostFunctions) -> None:
        self._functions = functions
        self._configs: dict[str, LMConfig] = {}
        self._secrets: dict[str, str] = {}
        self._offered: frozenset[str] = frozenset()
        self._built: dict[str, dspy.LM] = {}

    def __repr__(self) -> str:
        return f"LanguageModels({', '.join(sorted(self._configs)) or 'none'})"

    def configure(self, lms: dict[str, LMConfig], secrets: dict[str, str]) -> None:
        """Replace all that was configured; nothing is checked or built before it is used.

        LMs whose configuration stays the same keep their connections. The host's functions are
        configured before.
        """
        offered = self._functions.names
        if secrets != self._secrets or offered != self._offered:
            self._built.clear()
        for name in [name for name in self._built if self._configs[name] != lms.get(name)]:
            del self._built[name]
        for secret in secrets.values():
            register_secret(secret)
        for config in lms.values():
            for secret in secrets_in([config.model, config.api_base, config.options]):
                register_secret(secret)
        self._configs, self._secrets, self._offered = dict(lms), dict(secrets), offered

    def get(self, name: str | None, path: str = "lm") -> dspy.LM:
        """The LM of that name, or the default one.

        Args:
            name: As configured; None for `default`.
            path: Where the name stands in the request, for messages.

        Raises:
            DSPexError: `unknown_lm`, `lm_not_configured` (none at all, or its key is
                missing), `unknown_function`, or `invalid_argument` in its configuration.
        """
        wanted = DEFAULT if name is None else name
        built = self._built.get(wanted)
        if built is None:
            built = self._built[wanted] = self._build(wanted, self._config(wanted, path))
        return built

    def describe(self) -> list[dict[str, object]]:
        """Name and model of each, for `lm.list`."""
        return [{"name": name, "model": config.model} for name, config in sorted(self._configs.items())]

    def _config(self, name: str, path: str) -> LMConfig:
        config = self._configs.get(name)
        if config is not None:
            return config
        if not self._configs:
            raise error(
                "lm_not_configured",
                "no language model is configured: name one under lms in hello,"
                " or start the server with --lm or DSPEX_LM",
            )
        names = ", ".join(sorted(self._configs))
        raise error(
            "unknown_lm",
            f"{path}: there is no language model {name!r}; configured are: {names}",
            details={"field": path, "expected": f"one of: {names}", "got": describe_value(name)},
        )

    def _build(self, name: str, config: LMConfig) -> dspy.LM:
        provider, _, model = config.model.partition("/")
        if provider == "sim":
            return self._build_sim(name, config)
        if provider == "host":
            return self._build_host(name, config, model)
        return self._build_client(name, config)

    def _build_sim(self, name: str, config: LMConfig) -> dspy.LM:
        _refuse_address(name, config)
        options = read(SimOptions, config.options, f"lms.{name}.options")
        source = SimSource(SimModel(options), config.timeout_s)
        return AnsweringLM(config.model, source, **_common(config))

    def _build_host(self, name: str, config: LMConfig, function: str) -> dspy.LM:
        _refuse_address(name, config)
        if config.options:
            raise invalid_argument(f"lms.{name}.options", "no options for a host function", config.options)
        self._functions.require(function, f"lms.{name}.model", "host/")
        source = HostSource(function, self._functions, config.timeout_s)
        return AnsweringLM(config.model, source, **_common(config))

    def _build_client(self, name: str, config: LMConfig) -> dspy.LM:
        for option in config.options:
            if option in _REFUSED_OPTIONS:
                raise invalid_argument(f"lms.{name}.options", "options of the provider only", option)
        key = self._key(name, config)
        address = {"api_base": config.api_base, "api_key": key, "timeout": config.timeout_s}
        given: dict[str, Any] = {option: value for option, value in address.items() if value is not None}
        given |= config.options
        try:
            return CountingLM(
                _routed(config, has_key=key is not None), cache=False, **_common(config), **given
            )
        except (TypeError, ValueError) as reason:
            raise invalid_argument(
                f"lms.{name}", f"a model that DSPy can use ({reason})", config.model
            ) from None

    def _key(self, name: str, config: LMConfig) -> str | None:
        if config.api_key_env is not None and config.api_key_secret is not None:
            raise invalid_argument(f"lms.{name}", "api_key_env or api_key_secret, not both", "both")
        if config.api_key_secret is not None:
            return _found(name, "secret", config.api_key_secret, self._secrets)
        if config.api_key_env is not None:
            return _found(name, "environment variable", config.api_key_env, os.environ)
        return None


def _found(name: str, what: str, key_name: str, keys: Mapping[str, str]) -> str:
    key = keys.get(key_name)
    if not key:
        raise error(
            "lm_not_configured", f"language model {name!r} takes its key from the {what} {key_name}, not set"
        )
    register_secret(key)  # so that no error can quote it
    return key


def _common(config: LMConfig) -> dict[str, Any]:
    return {
        "model_type": config.model_type,
        "temperature": config.temperature,
        "max_tokens": config.max_tokens,
        "num_retries": config.num_retries,
    }


def _refuse_address(name: str, config: LMConfig) -> None:
    for option in ("api_base", "api_key_env", "api_key_secret"):
        if getattr(config, option) is not None:
            raise invalid_argument(
                f"lms.{name}.{option}", f"nothing: {config.model} has no provider", "a value"
            )
    if config.model_type != "chat":
        raise invalid_argument(
            f"lms.{name}.model_type", f"chat: {config.model} has no other", config.model_type
        )


def _routed(config: LMConfig, *, has_key: bool) -> str:
    """The model name to give to DSPy.

    A name that DSPy's price list does not know costs a search through all of it, twice a
    request (more than 1 ms). A self-hosted model is in no list, so its address becomes a
    provider of its own that refers to none.
    """
    provider, _, model = config.model.partition("/")
    if (
        provider != "openai"
        or config.api_base is None
        or config.model_type != "chat"
        or model_info("openai", model)
    ):
        return config.model
    digest = hashlib.blake2b(f"{config.api_base} {has_key}".encode(), digest_size=4).hexdigest()
    access = AccessPolicy(provider=f"openai-{digest}", base_url=config.api_base, env_keys=())
    register_provider(
        # Without a key configured the server wants none, but the client insists on one.
        ProviderDefinition.chat(
            access, compat=OpenAIChatCompat.preset("openai"), placeholder_key=None if has_key else "none"
        ),
        metadata_namespaces=(),
    )
    return f"{access.provider}/{model}"


@dataclass(frozen=True, slots=True)
class _HostAnswer:
    """What a host function may answer besides a string."""

    text: str
    tokens_in: int | None = None
    tokens_out: int | None = None


class HostSource:
    """A host function as a language model."""

    def __init__(self, function: str, functions: HostFunctions, timeout_s: float | None) -> None:
        self._function = function
        self._functions = functions
        self._timeout_s = timeout_s

    async def aask(self, question: Question) -> Answer:
        """Ask the host; cancelling this cancels the function."""
        args: dict[str, object] = {
            "model": question.model,
            "messages": [{"role": role, "content": content} for role, content in question.messages],
            "config": dict(question.config),
        }
        return self._read(await self._functions.acall(self._function, args, self._timeout_s))

    def ask(self, question: Question) -> Answer:
        """Ask the host from another thread than the loop's."""
        return self._functions.wait(self._function, lambda: self.aask(question))

    def stream(self, question: Question) -> Iterator[str | Answer]:
        """The whole answer as one piece: functions return once."""
        answer = self.ask(question)
        yield answer.text
        yield answer

    async def astream(self, question: Question) -> AsyncIterator[str | Answer]:
        """The whole answer as one piece: functions return once."""
        answer = await self.aask(question)
        yield answer.text
        yield answer

    def _read(self, answer: object) -> Answer:
        if isinstance(answer, str):
            return Answer(answer)
        if isinstance(answer, dict):
            try:
                read_answer = read(_HostAnswer, answer, "answer")  # pyright: ignore[reportUnknownArgumentType]
                return Answer(read_answer.text, read_answer.tokens_in, read_answer.tokens_out)
            except DSPexError as refusal:
                raise self._misfit(str(refusal)) from None
        raise self._misfit(f"expected a string or a map with text, got {describe_value(answer)}")

    def _misfit(self, reason: str) -> Exception:
        return error(
            "function_failed", f"the host function {self._function} gave no language model's answer: {reason}"
        )
