"""What may be handed to the language model with each request: a program's options, a call's config.

Records hold the config of a program, so nothing in it may say on whose account requests go.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from dspex_protocol.errors import invalid_argument

from ..failures import holds_key
from ..refusals import refusal
from .credentials import names_account_or_address

_OF_THE_CLIENT: Final = frozenset(
    (
        *("model", "engine", "async_engine", "provider", "callbacks", "cache"),
        *("lm", "signature", "demos"),
    )
)
"""What DSPy's client and its predictors take beside the parameters of a request."""

_OWN_NAMES: Final = frozenset(("response_format", "tools", "functions", "tool_choice"))
"""Schemas and functions: the names inside are those of a program's own fields."""

_RANGES: Final[Mapping[str, tuple[type, float, float]]] = {
    "temperature": (float, 0, 100),
    "top_p": (float, 0, 1),
    "max_tokens": (int, 1, 2**31),
    "n": (int, 1, 128),
    "rollout_id": (int, -(2**63), 2**63),
    "seed": (int, -(2**63), 2**63),
}
_MAX_DEPTH: Final = 8


def check_config(config: object, path: str = "config") -> dict[str, Any]:
    """Check what is to be handed to the language model with each request.

    Args:
        config: A map such as `{temperature, max_tokens, n}`; names that DSPy does not know
            go to the provider as they are.
        path: Where it stands in the call, for messages.

    Raises:
        CallerError: `invalid_argument` for a value out of range or not plain, and for what
            says on whose account requests go, or where, at whatever depth.
    """
    if not isinstance(config, dict):
        raise invalid_argument(path, "a map", config)
    for key, value in config.items():
        where = f"{path}.{key}"
        if not isinstance(key, str) or not key.isidentifier() or key.startswith("_"):
            raise invalid_argument(path, "names of parameters as keys", key)
        if key in _OF_THE_CLIENT or names_account_or_address(key):
            raise _belongs_to_the_lm(where)
        if key in _RANGES and value is not None:
            _check_range(key, value, where)
        _check_plain(value, where, 0, own_names=key in _OWN_NAMES)
    return dict(config)


def _belongs_to_the_lm(path: str) -> Exception:
    return refusal(path, "a parameter of the request; this one belongs to the language model", "it")


def _check_range(key: str, value: object, path: str) -> None:
    kind, low, high = _RANGES[key]
    allowed = (int,) if kind is int else (int, float)
    if type(value) not in allowed or not isinstance(value, int | float) or not low <= value <= high:
        raise invalid_argument(
            path, f"{'an integer' if kind is int else 'a number'} from {low} to {high}", value
        )


def _check_plain(value: object, path: str, depth: int, *, own_names: bool) -> None:
    """Only what JSON has: it ends in a request's body."""
    if depth > _MAX_DEPTH:
        raise refusal(path, f"at most {_MAX_DEPTH} levels", "one more")
    if isinstance(value, dict):
        for key, member in value.items():
            if not isinstance(key, str):
                raise invalid_argument(path, "string keys", key)
            if not own_names and names_account_or_address(key):
                raise _belongs_to_the_lm(f"{path}.{key}")
            _check_plain(member, f"{path}.{key}", depth + 1, own_names=own_names)
    elif isinstance(value, list):
        for n, member in enumerate(value):
            _check_plain(member, f"{path}[{n}]", depth + 1, own_names=own_names)
    elif isinstance(value, str):
        if holds_key(value):
            raise refusal(path, "a text that does not look like a credential", "one")
    elif value is not None and type(value) not in (bool, int) and not _is_finite(value):
        raise invalid_argument(path, "nil, a boolean, a finite number, a string, an array or a map", value)


def _is_finite(value: object) -> bool:
    return type(value) is float and math.isfinite(value)
