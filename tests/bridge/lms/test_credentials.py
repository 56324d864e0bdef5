"""What counts as a credential, and where none may stand: configs, errors, logs."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from dspex_bridge.failures import holds_key, register_secret
from dspex_bridge.lms.credentials import names_account_or_address, secrets_in
from dspex_bridge.lms.request_config import check_config
from dspex_bridge.worker import redacted_logs
from dspex_bridge.worker.calls import CallTable, RunningCall
from dspex_protocol import DSPexError, error

SECRET = "of-the-tests-of-credentials"
register_secret(SECRET)


@pytest.mark.parametrize(
    "name",
    [
        *("api_key", "apiKey", "X-Api-Key", "azure_openai_api_key", "anthropic_api_key", "client_secret"),
        *("Authorization", "hf_token", "id_token", "password", "private_key", "vertex_credentials"),
        *("aws_region_name", "azure_ad_token", "headers", "extra_headers", "cookie", "connection_string"),
        *("base_url", "api_base", "azure_endpoint", "proxies", "organization", "model_list", "extra_body"),
    ],
)
def test_accounts_and_addresses_are_known_by_their_names(name: str) -> None:
    """However a provider writes them."""
    assert names_account_or_address(name)


@pytest.mark.parametrize(
    "name",
    [
        *("temperature", "max_tokens", "max_completion_tokens", "top_p", "n", "stop", "seed", "user"),
        *("logit_bias", "response_format", "tools", "tool_choice", "reasoning_effort", "prompt_cache_key"),
        *("thinking", "budget_tokens", "metadata", "safety_settings", "stream_options", "service_tier"),
    ],
)
def test_parameters_of_a_request_are_none(name: str) -> None:
    """Else nobody could set them."""
    assert not names_account_or_address(name)
    assert {name: None} == check_config({name: None})


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"extra": {"api_key": "x"}}, "config.extra.api_key"),
        ({"extra": [{"deep": {"X-Api-Key": "x"}}]}, "config.extra[0].deep.X-Api-Key"),
        ({"metadata": {"a": SECRET}}, "config.metadata.a"),
        ({"stop": ["a", "sk-0123456789abcdef"]}, "config.stop[1]"),
        ({"metadata": {"at": "http://user:word@host/"}}, "config.metadata.at"),
        ({"response_format": {"description": f"x {SECRET}"}}, "config.response_format.description"),
    ],
)
def test_a_config_holds_none_at_any_depth(config: dict[str, Any], field: str) -> None:
    """It is stored with its program."""
    with pytest.raises(DSPexError) as refused:
        check_config(config)
    assert field == refused.value.details["field"]
    assert SECRET not in refused.value.message


def test_a_schema_may_have_fields_of_such_names() -> None:
    """They are a program's own, and say nothing of an account."""
    schema = {"type": "object", "properties": {"password": {"type": "string", "description": "a token: any"}}}
    config: dict[str, Any] = {
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
        "tools": [{"type": "function", "function": {"name": "log_in", "parameters": schema}}],
    }
    assert config == check_config(config)


@pytest.mark.parametrize(
    "text", ["risk-assessment-of-tools", "basic information", "token: any", "http://host/a:b@c"]
)
def test_ordinary_words_are_no_keys(text: str) -> None:
    """A refusal would be a nuisance."""
    assert not holds_key(text)


def test_the_secrets_among_settings_are_found() -> None:
    """As texts that no message may quote, and not the harmless ones beside them."""
    settings = {
        "mode": "fast",
        "api_base": "http://me:word@host/v1",
        "extra_headers": {"Authorization": "Bearer one"},
        "vertex_credentials": '{"type": "service_account", "private_key": "two"}',
        "deep": [{"password": "three"}],
    }
    found = set(secrets_in(settings))
    assert {"me", "word", "Bearer one", "one", "two", "three"} <= found
    assert found.isdisjoint({"fast", "service_account", "http://me:word@host/v1"})


# What leaves the worker


def test_an_error_leaves_without_secrets() -> None:
    """Whoever made it. What our own errors say after a word such as `token:` stays."""
    frames: list[bytes] = []
    failure = error(
        "invalid_argument",
        f"token: expected a number, got {SECRET}",
        details={"field": "token", "got": SECRET, "deep": [{"key": "sk-0123456789abcdef"}]},
    )
    CallTable(frames.append).fail(RunningCall(1, {}, frames.append), failure)
    assert SECRET.encode() not in frames[0]
    assert b"sk-0123456789abcdef" not in frames[0]
    assert b"token: expected a number" in frames[0]


def test_nothing_is_logged_with_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither in the text, nor in its arguments, nor in the traceback of an exception."""
    make = logging.getLogRecordFactory()
    logger = logging.getLogger("test_credentials")
    handler = logging.StreamHandler()
    logger.addHandler(handler)
    try:
        redacted_logs.install()
        logger.warning("with %s and %d", SECRET, 3)
        logger.warning(f"in {SECRET}")  # noqa: G004
        try:
            raise ValueError(f"about {SECRET}")
        except ValueError:
            logger.exception("failed")
    finally:
        logging.setLogRecordFactory(make)
        logger.removeHandler(handler)
    text = capsys.readouterr().err
    assert SECRET not in text
    assert "with [redacted] and 3" in text
    assert "ValueError: about [redacted]" in text
