"""Forty credentials, each of a text that stands nowhere else, and every way for one to get into a program.

Whoever looks for them looks for `MARK`.
"""

from __future__ import annotations

import json
from typing import Any, Final

MARK: Final = "cAnArY"


def canary(name: str) -> str:
    """A credential."""
    return f"{MARK}-{name}-0123456789abcdef"


SERVICE_ACCOUNT: Final = json.dumps(
    {
        "type": "service_account",
        "private_key": canary("vertex-private-key"),
        "private_key_id": canary("vertex-id"),
    }
)

OPTIONS: Final[dict[str, Any]] = {
    "aws_access_key_id": canary("aws-id"),
    "aws_secret_access_key": canary("aws-secret"),
    "aws_session_token": canary("aws-session"),
    "aws_bearer_token_bedrock": canary("aws-bearer"),
    "aws_web_identity_token": canary("aws-web"),
    "azure_ad_token": canary("azure-ad"),
    "azure_password": canary("azure-password"),
    "azure_username": canary("azure-user"),
    "client_secret": canary("client-secret"),
    "vertex_credentials": SERVICE_ACCOUNT,
    "vertex_ai_credentials": canary("vertex-text"),
    "watsonx_token": canary("watsonx"),
    "watsonx_apikey": canary("watsonx-key"),
    "databricks_token": canary("databricks"),
    "huggingface_token": canary("huggingface"),
    "organization_token": canary("organization"),
    "token": canary("token"),
    "password": canary("password"),
    "access_token": canary("access"),
    "refresh_token": canary("refresh"),
    "id_token": canary("id"),
    "subscription_key": canary("subscription"),
    "x-api-key": canary("x-api-key"),
    "credentials": {"nested": {"private_key": canary("nested")}},
    "cookies": {"session": canary("cookie")},
    "proxy": f"http://{canary('proxy-user')}:{canary('proxy-password')}@127.0.0.1:9",
    "model_list": [{"litellm_params": {"api_key": canary("model-list")}}],
    "extra_headers": {"Authorization": f"Bearer {canary('header')}", "X-Api-Key": canary("header-key")},
    "headers": {"authorization": f"Basic {canary('basic')}"},
    "default_headers": {"api-key": canary("default-header")},
}
"""Of language models, by the names that providers give them."""

ENVIRONMENT: Final = {"CANARY_API_KEY": canary("environment")}
SECRETS: Final = {"kept": canary("secret")}


def language_models(address: str) -> dict[str, dict[str, Any]]:
    """Models that have them, all at one address.

    Args:
        address: Such as `127.0.0.1:1234`, of whatever answers there.
    """
    base = f"http://{address}/v1"
    user = f"http://{canary('user')}:{canary('user-password')}@{address}/v1"
    models: dict[str, dict[str, Any]] = {
        "default": {"model": "sim/test", "options": {"seed": 7}},
        "by-secret": {"model": "openai/gpt-4o-mini", "api_base": base, "api_key_secret": "kept"},
        "by-environment": {"model": "openai/gpt-4o-mini", "api_base": base, "api_key_env": "CANARY_API_KEY"},
        "by-address": {"model": "openai/gpt-4o-mini", "api_base": user, "api_key_secret": "kept"},
        "anthropic": {"model": "anthropic/claude-x", "api_base": base, "api_key_secret": "kept"},
        "own-name": {"model": "openai/own", "api_base": base, "api_key_secret": "kept"},
        # What people do by mistake: the key where the name of one belongs.
        "key-for-a-variable": {
            "model": "openai/x",
            "api_base": base,
            "api_key_env": "sk-" + canary("as-variable"),
        },
        "key-for-a-secret": {
            "model": "openai/x",
            "api_base": base,
            "api_key_secret": "sk-" + canary("as-secret"),
        },
    }
    for name, value in OPTIONS.items():
        models[f"option-{name}"] = {
            "model": "openai/gpt-4o-mini",
            "api_base": base,
            "api_key_secret": "kept",
            "options": {name: value},
        }
    return models


CONFIGS: Final[list[dict[str, Any]]] = [
    *({name.replace("-", "_"): value} for name, value in OPTIONS.items()),
    {"api_key": canary("config-key")},
    {"extra": {"deep": [{"api_key": canary("config-nested")}]}},
    {"extra_body": {"api_key": canary("config-body")}},
    {"base_url": f"http://{canary('config-user')}:x@127.0.0.1:9"},
    {"stop": ["sk-" + canary("config-text")]},
    {"metadata": {"secret": canary("config-metadata")}},
    {"metadata": {"note": canary("secret")}},  # the text of a secret of hello
]
"""Of programs and of calls: none may be taken."""

LM_STATE: Final[dict[str, Any]] = {
    "_dspy_lm_class": f"evil.{canary('class')}",
    "model": f"openai/{canary('model')}",
    "api_key": canary("state-key"),
    "api_base": f"http://{canary('state-user')}:x@127.0.0.1:9",
    "launch_kwargs": {"token": canary("launch")},
    **{name: value for name, value in OPTIONS.items() if name != "headers"},
}
"""What DSPy's own dump of a language model may hold."""


def count() -> int:
    """How many different credentials there are."""
    text = json.dumps([OPTIONS, ENVIRONMENT, SECRETS, language_models("x"), CONFIGS, LM_STATE])
    return len({part.split("-0123456789abcdef")[0] for part in text.split(f"{MARK}-")[1:]})
