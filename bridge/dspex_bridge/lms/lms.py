"""Language models by name: what the host configured, built when first used.

`sim/…` is an offline model and `host/NAME` asks the host function NAME. Models behind OpenAI's
chat completions are asked by our own engine, and everything else by DSPy's own client. Keys are
looked up here and handed to the client; nothing else of this package ever holds one.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from dspy.clients.model_metadata import model_info
from dspy.lm15 import AccessPolicy, OpenAIChatCompat, ProviderDefinition, register_provider

from dspex_protocol.errors import describe_value, error, invalid_argument
from dspex_protocol.handshake import LMConfig
from dspex_protocol.records import read

from ..engine import ChatEndpoint, ChatLM, Connections, Remaining, RetryPolicy, find_dialect
from ..failures import register_secret
from ..host_functions import HostFunctions
from ..sim import SimModel, SimOptions, SimSource
from .accounts import Account, account_of
from .answering import AnsweringLM, CountingLM
from .credentials import secrets_in
from .embedding import Endpoint, EndpointVectors, HostVectors, LiteLLMVectors, SimVectors, VectorSource
from .host_source import HostSource
from .journal import Journal, JournaledVectors

DEFAULT: Final = "default"
"""The LM of calls that name none."""

_JITTER: Final = random.SystemRandom()
"""Not the random source of all, which some optimizers seed, and must find as they left it; nor one of our
own, which all workers would have as the zygote left it."""

_OPENAI: Final = "https://api.openai.com/v1"
_EMBEDDING_TIMEOUT_S: Final = 60.0  # for a batch, where the host says nothing

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
        remaining_s: What is left of the time of the call at hand; bounds repeated requests.
        journal: What answers in their place, within a job.
    """

    def __init__(
        self,
        functions: HostFunctions,
        remaining_s: Remaining = lambda: None,
        journal: Journal | None = None,
    ) -> None:
        self._journal = journal
        self._functions = functions
        self._remaining_s = remaining_s
        self._connections = Connections()
        self._configs: dict[str, LMConfig] = {}
        self._secrets: dict[str, str] = {}
        self._offered: frozenset[str] = frozenset()
        self._built: dict[str, CountingLM] = {}
        self._embedders: dict[str, VectorSource] = {}

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
        for name in [name for name in self._built if _variant(name, self._configs) != _variant(name, lms)]:
            del self._built[name]
        self._embedders.clear()
        for secret in secrets.values():
            register_secret(secret)
        for config in lms.values():
            for secret in secrets_in([config.model, config.api_base, config.options]):
                register_secret(secret)
        self._configs, self._secrets, self._offered = dict(lms), dict(secrets), offered

    def get(self, name: str | None, path: str = "lm") -> CountingLM:
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
            config = self._config(wanted, path)
            if config.model_type == "embedding":
                raise invalid_argument(path, f"a language model that writes; {wanted} makes vectors", wanted)
            built = self._build(wanted, config)
            built.account = account_of(wanted, config)
            built.journal = self._journal
            self._built[wanted] = built
        return built

    def embedder(self, name: str | None, path: str = "lm") -> tuple[VectorSource, Account]:
        """What makes vectors under that name, or the default one; and to whom they are put down.

        Raises:
            DSPexError: as `get`.
        """
        wanted = DEFAULT if name is None else name
        source = self._embedders.get(wanted)
        config = self._config(wanted, path)
        if source is None:
            source = self._build_embedder(wanted, config)
            if self._journal is not None:
                source = JournaledVectors(source, account_of(wanted, config), self._journal)
            self._embedders[wanted] = source
        return source, account_of(wanted, config)

    def has(self, name: str) -> bool:
        """Whether a model of that name is configured, or one of which it is a variant."""
        return _variant(name, self._configs) is not None

    def take_over(self, other: LanguageModels) -> None:
        """Be configured as others are now."""
        self.configure(other._configs, other._secrets)

    def journaled(self, journal: Journal) -> LanguageModels:
        """The same models, answered by a journal; what is configured later they do not see."""
        copied = LanguageModels(self._functions, self._remaining_s, journal)
        copied.take_over(self)
        return copied

    def config_of(self, name: str | None, path: str = "lm") -> LMConfig:
        """How the LM of that name, or the default one, is configured.

        Raises:
            DSPexError: `unknown_lm`, or `lm_not_configured` where there is none at all.
        """
        return self._config(DEFAULT if name is None else name, path)

    def key_of(self, name: str | None) -> str | None:
        """The key of the LM of that name, or the default one; None where it has none.

        Raises:
            DSPexError: `unknown_lm`; `lm_not_configured` when the key is missing.
        """
        wanted = DEFAULT if name is None else name
        return self._key(wanted, self._config(wanted, "lm"))

    @property
    def configs(self) -> Mapping[str, LMConfig]:
        """All that are configured, by name."""
        return self._configs

    def _config(self, name: str, path: str) -> LMConfig:
        config = _variant(name, self._configs)
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

    def _build(self, name: str, config: LMConfig) -> CountingLM:
        provider, _, model = config.model.partition("/")
        if provider == "sim":
            return self._build_sim(name, config)
        if provider == "host":
            return self._build_host(name, config, model)
        return self._build_client(name, config)

    def _build_sim(self, name: str, config: LMConfig) -> CountingLM:
        _refuse_address(name, config)
        options = read(SimOptions, config.options, f"lms.{name}.options")
        source = SimSource(SimModel(options), config.timeout_s)
        return AnsweringLM(config.model, source, **_common(config))

    def _build_host(self, name: str, config: LMConfig, function: str) -> CountingLM:
        _refuse_address(name, config)
        if config.options:
            raise invalid_argument(f"lms.{name}.options", "no options for a host function", config.options)
        self._functions.require(function, f"lms.{name}.model", "host/")
        source = HostSource(function, self._functions, config.timeout_s)
        return AnsweringLM(config.model, source, **_common(config))

    def _build_client(self, name: str, config: LMConfig) -> CountingLM:
        _refuse_client_options(name, config)
        key = self._key(name, config)
        address = {"api_base": config.api_base, "api_key": key, "timeout": config.timeout_s}
        given: dict[str, Any] = {option: value for option, value in address.items() if value is not None}
        given |= config.options
        try:
            dspys = CountingLM(
                _routed(config, has_key=key is not None), cache=False, **_common(config), **given
            )
            return self._build_chat(config, key, dspys) or dspys
        except (TypeError, ValueError) as reason:
            raise invalid_argument(
                f"lms.{name}", f"a model that DSPy can use ({reason})", config.model
            ) from None

    def _build_embedder(self, name: str, config: LMConfig) -> VectorSource:
        provider, _, model = config.model.partition("/")
        if provider == "sim":
            _refuse_address(name, config)
            options = read(SimOptions, config.options, f"lms.{name}.options")
            return SimVectors(config.model, SimSource(SimModel(options), config.timeout_s))
        if provider == "host":
            _refuse_address(name, config)
            self._functions.require(model, f"lms.{name}.model", "host/")
            return HostVectors(config.model, model, self._functions, config.timeout_s)
        _refuse_client_options(name, config)
        key = self._key(name, config)
        if provider == "openai":
            return EndpointVectors(_endpoint(name, config, key))
        address = {"api_base": config.api_base, "api_key": key, "timeout": config.timeout_s}
        given = {option: value for option, value in address.items() if value is not None}
        return LiteLLMVectors(config.model, **given, **config.options)

    def _build_chat(self, config: LMConfig, key: str | None, dspys: CountingLM) -> CountingLM | None:
        """An LM with our own engine, where it applies."""
        dialect = find_dialect(config, key, keyless=dspys.model != config.model)
        if dialect is None:
            return None
        endpoint = ChatEndpoint(
            dialect,
            config.model.partition("/")[2],
            self._connections,
            RetryPolicy(config.num_retries, _JITTER.random),
            config.timeout_s,
            self._remaining_s,
        )
        common = {name: value for name, value in _common(config).items() if name != "num_retries"}
        return ChatLM(config.model, endpoint, dspys, **common, **config.options)

    async def aclose(self) -> None:
        """Close the connections of the running event loop, and of the one for programs in threads."""
        await self._connections.aclose()

    def _key(self, name: str, config: LMConfig) -> str | None:
        if config.api_key_env is not None and config.api_key_secret is not None:
            raise invalid_argument(f"lms.{name}", "api_key_env or api_key_secret, not both", "both")
        if config.api_key_secret is not None:
            return _found(name, "secret", config.api_key_secret, self._secrets)
        if config.api_key_env is not None:
            return _found(name, "environment variable", config.api_key_env, os.environ)
        return None


def _variant(name: str, configs: Mapping[str, LMConfig]) -> LMConfig | None:
    """What a name stands for: a configured LM, or as `NAME@MODEL` another model of the same provider.

    So a program that has been fine-tuned can name its model wherever the one that it was made of is
    configured. Models that are offline or the host's have no provider that could have made another.
    """
    config = configs.get(name)
    if config is not None:
        return config
    base, at, model = name.partition("@")
    config = configs.get(base)
    provider = "" if config is None else config.model.partition("/")[0]
    if config is None or not at or not model or provider in ("sim", "host"):
        return None
    return replace(config, model=f"{provider}/{model}")


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


def _refuse_client_options(name: str, config: LMConfig) -> None:
    for option in config.options:
        if option in _REFUSED_OPTIONS:
            raise invalid_argument(f"lms.{name}.options", "options of the provider only", option)


def _endpoint(name: str, config: LMConfig, key: str | None) -> Endpoint:
    """Where an `openai/NAME` model has its vectors made: at OpenAI's, or at the address given."""
    if key is None and config.api_base is None:
        key = _found(name, "environment variable", "OPENAI_API_KEY", os.environ)
    return Endpoint(
        url=f"{(config.api_base or _OPENAI).rstrip('/')}/embeddings",
        model=config.model.partition("/")[2],
        provider="openai",
        key=key,
        timeout_s=config.timeout_s or _EMBEDDING_TIMEOUT_S,
        retries=config.num_retries,
        options=config.options,
    )


def _refuse_address(name: str, config: LMConfig) -> None:
    for option in ("api_base", "api_key_env", "api_key_secret"):
        if getattr(config, option) is not None:
            raise invalid_argument(
                f"lms.{name}.{option}", f"nothing: {config.model} has no provider", "a value"
            )
    if config.model_type not in ("chat", "embedding"):
        raise invalid_argument(
            f"lms.{name}.model_type", f"chat or embedding: {config.model} has no other", config.model_type
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
