"""Exceptions of DSPy, of providers and of programs to the codes of the protocol.

Messages tell what happened and to which model. They never hold what a provider, a model
or a prompt said, because such texts quote one another; only DSPy's own complaints about
settings are passed on. What is passed on goes through `redact`.
"""

from __future__ import annotations

import asyncio
import math
import re
import threading
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pydantic
from dspy.utils import exceptions as dspy_errors

from dspex_protocol.errors import DSPexError, error

from .signatures.annotations import refused_by

MAX_MESSAGE_CHARACTERS: Final = 300
MAX_FRAMES: Final = 5
MAX_SCANNED_CHARACTERS: Final = 64 * 1024
_MAX_CAUSES: Final = 16

# The first class that fits names the code, so the narrow ones stand before the wide ones.
_LM_ERRORS: Final[tuple[tuple[type[dspy_errors.LMError], str, str], ...]] = (
    (dspy_errors.LMRateLimitError, "lm_rate_limited", "the provider limits the rate of requests"),
    (dspy_errors.LMAuthError, "lm_auth", "the provider refused the credentials"),
    (dspy_errors.LMBillingError, "lm_error", "the provider refused the request over billing or quota"),
    (
        dspy_errors.ContextWindowExceededError,
        "lm_context_window",
        "the prompt is longer than the context window",
    ),
    (
        dspy_errors.LMUnsupportedModelError,
        "lm_invalid_request",
        "the provider has no such model for this account",
    ),
    (dspy_errors.LMInvalidRequestError, "lm_invalid_request", "the provider refused the request"),
    (dspy_errors.LMTimeoutError, "lm_timeout", "the provider did not answer in time"),
    (dspy_errors.LMServerError, "lm_unavailable", "the provider failed"),
    (dspy_errors.LMTransportError, "lm_unavailable", "the provider could not be reached"),
    (dspy_errors.LMLockTimeoutError, "lm_unavailable", "another process is renewing the same credentials"),
    (dspy_errors.LMConfigurationError, "lm_not_configured", "the language model is not configured"),
    (
        dspy_errors.LMUnsupportedFeatureError,
        "lm_invalid_request",
        "the model lacks a feature that was asked for",
    ),
    (dspy_errors.LMError, "lm_error", "the request to the language model failed"),
)
_OF_SETTINGS: Final = (dspy_errors.LMConfigurationError, dspy_errors.LMUnsupportedFeatureError)
"""Raised by DSPy itself before anything is sent, so their text quotes no prompt."""

_PROVIDER_PACKAGES: Final = frozenset(
    ("litellm", "openai", "anthropic", "httpx", "httpcore", "aiohttp", "dspy")
)
_PROVIDER_ERRORS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("AuthenticationError", "PermissionDeniedError", "AuthError"), "lm_auth"),
    **dict.fromkeys(("RateLimitError", "RouterRateLimitError"), "lm_rate_limited"),
    **dict.fromkeys(("ContextWindowExceededError", "ContextLengthError"), "lm_context_window"),
    **dict.fromkeys(("Timeout", "APITimeoutError", "TimeoutException", "ServerTimeoutError"), "lm_timeout"),
    **dict.fromkeys(("ServiceUnavailableError", "InternalServerError", "BadGatewayError"), "lm_unavailable"),
    **dict.fromkeys(("APIConnectionError", "TransportError", "ServerError", "ClientError"), "lm_unavailable"),
    **dict.fromkeys(("BadRequestError", "NotFoundError", "UnprocessableEntityError"), "lm_invalid_request"),
    **dict.fromkeys(("InvalidRequestError", "ContentPolicyViolationError"), "lm_invalid_request"),
    **dict.fromkeys(("UnsupportedParamsError", "UnsupportedFeatureError"), "lm_invalid_request"),
    **dict.fromkeys(("NotConfiguredError", "ConfigurationError"), "lm_not_configured"),
    **dict.fromkeys(("OpenAIError", "APIError", "BudgetExceededError", "LM15Error"), "lm_error"),
}
"""By class name, so that no provider's package is imported to ask. `TimeoutError` of the
vendored client is left out: its name is Python's own, and it always comes as a ServerError
or inside an `LMTimeoutError`."""

_OWN_WORDS: Final = frozenset(("value_error", "assertion_error"))
"""Rows of pydantic whose words are those of somebody's validator: some of DSPy's quote the value."""

_FIELD: Final = re.compile(r"Failed to parse field (\w+)[ :]")
_KEYS: Final = r"""(?<![A-Za-z0-9])(?:sk|rk|pk|gsk|xai|hf|ghp|gho|glpat|pplx|r8|nvapi)[-_][A-Za-z0-9_-]{12,}
      | AIza[A-Za-z0-9_-]{20,} | (?:AKIA|ASIA)[A-Z0-9]{12,} | eyJ[A-Za-z0-9_-]{16,}[A-Za-z0-9_.-]*
      | (?<=://)[^/\s:@]+:[^/\s@]+(?=@)"""
_KEY: Final = re.compile(_KEYS, re.VERBOSE)
_SECRETS: Final = re.compile(
    rf"{_KEYS} | (?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{{8,}}",
    re.VERBOSE,
)
_ASSIGNED: Final = re.compile(
    r"""((?i:api[-_ ]?key|token|secret|password|authorization)["']?\s*[:=]\s*["']?)[^\s"',}\[]{4,}"""
)
_HIDDEN: Final = "[redacted]"
_MIN_SECRET_CHARACTERS: Final = 4

_lock = threading.Lock()
_registered: tuple[str, ...] = ()


class NodeFailed(Exception):
    """A node of a pipeline has failed; what it failed of is the cause.

    Attributes:
        node: Its name.
    """

    def __init__(self, node: str) -> None:
        super().__init__(f"the node {node} failed")
        self.node = node


def register_secret(value: str) -> None:
    """Never let this value into a message. Values of fewer than 4 characters are ignored."""
    global _registered  # noqa: PLW0603
    if len(value) < _MIN_SECRET_CHARACTERS:
        return
    with _lock:
        # Longest first, so that a secret within another leaves no rest of it.
        _registered = tuple(sorted({*_registered, value}, key=len, reverse=True))


def holds_key(text: str) -> bool:
    """Whether a registered secret stands in a text, or what can hardly be anything but a key."""
    return any(secret in text for secret in _registered) or _KEY.search(text) is not None


def redact(text: str) -> str:
    """The text without registered secrets and without what looks like a key."""
    text = text[:MAX_SCANNED_CHARACTERS]
    for secret in _registered:
        text = text.replace(secret, _HIDDEN)
    return _ASSIGNED.sub(rf"\1{_HIDDEN}", _SECRETS.sub(_HIDDEN, text))


def told_failure(failure: DSPexError) -> dict[str, object]:
    """An error as part of a result; secrets are to be taken out before, by `redact_failure`."""
    return {
        "code": failure.code,
        "message": failure.message,
        "retryable": failure.retryable,
        "maybe_executed": failure.maybe_executed,
        "retry_after_ms": failure.retry_after_ms,
        "details": failure.details,
    }


def redact_failure(failure: DSPexError) -> None:
    """Take secrets out of an error that is about to leave this process.

    Some hold words from elsewhere: a host function's own, or what a caller took for a name. Not
    `redact`, which is for texts that nobody knows: it hides what follows `token:`, and our own
    errors tell there what was expected.
    """
    failure.message = _without_keys(failure.message)
    failure.details = {name: _without_keys(value) for name, value in failure.details.items()}


def without_keys(text: str) -> str:
    """A text of a prompt or an answer without registered secrets and without keys."""
    cleaned: str = _without_keys(text)
    return cleaned


def _without_keys(value: Any) -> Any:
    if isinstance(value, str):
        for secret in _registered:
            value = value.replace(secret, _HIDDEN)
        return _KEY.sub(_HIDDEN, value)
    if isinstance(value, list):
        return [_without_keys(member) for member in value]
    if isinstance(value, dict):
        return {key: _without_keys(member) for key, member in value.items()}
    return value


def to_failure(exc: BaseException) -> DSPexError:
    """The error to send for an exception. Never raises.

    An error with a code of ours anywhere among the causes wins, so a host function's
    failure stays itself when DSPy wraps it as a failure of the language model.
    """
    nodes = [cause.node for cause in _causes(exc) if isinstance(cause, NodeFailed)]
    return _in_node(".".join(nodes), _to_failure(exc)) if nodes else _to_failure(exc)


def _in_node(node: str, failure: DSPexError) -> DSPexError:
    return error(
        failure.code,
        f"node {node}: {failure.message}",
        details={**failure.details, "node": node},
        retryable=failure.retryable,
        maybe_executed=failure.maybe_executed,
        retry_after_ms=failure.retry_after_ms,
    )


def _to_failure(exc: BaseException) -> DSPexError:
    for cause in _causes(exc):
        if isinstance(cause, DSPexError):
            return cause
    if isinstance(exc, asyncio.CancelledError):
        return error("cancelled", "the call was cancelled")
    for cause in _causes(exc):
        known = _known(cause)
        if known is not None:
            return known
    return _program_failed(next((one for one in _causes(exc) if not isinstance(one, NodeFailed)), exc))


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """An exception, what it was raised from, and what a group of one holds."""
    current: BaseException | None = exc
    for _ in range(_MAX_CAUSES):
        if current is None:
            return
        yield current
        if isinstance(current, BaseExceptionGroup):
            members: tuple[BaseException, ...] = current.exceptions
            current = members[0] if len(members) == 1 else current.__cause__
        else:
            current = current.__cause__


def _known(exc: BaseException) -> DSPexError | None:
    if isinstance(exc, dspy_errors.AdapterParseError):
        return _prediction_failed(exc)
    if isinstance(exc, dspy_errors.LMError):
        return _lm_error(exc)
    if isinstance(exc, ValueError) and _text_of(exc).startswith("No LM is loaded"):
        return error("lm_not_configured", "the program needs a language model, and none is named `default`")
    if isinstance(exc, RuntimeError) and _text_of(exc).startswith("Max hops reached"):
        # Its own text goes on with what the code said.
        details = {"limit": "max_iters"}
        return error("program_failed", "the code that the model wrote failed each time", details=details)
    return _provider_error(exc)


def _prediction_failed(exc: dspy_errors.AdapterParseError) -> DSPexError:
    signature: Any = exc.signature
    expected: list[str] = list(signature.output_fields)
    details: dict[str, object] = {"adapter": exc.adapter_name}
    field = _unfitting_field(exc)
    if field is not None:
        details["field"] = field
        rule = _rule_broken(exc)
        if rule is None:
            what = "has the wrong type"
        else:
            details["expected"] = rule
            what = f"does not fit: expected {rule}"
        return error("prediction_failed", f"the model's value for {field} {what}", details=details)
    parsed: Any = exc.parsed_result
    present = set(parsed) if isinstance(parsed, Mapping) else set[str]()
    details["missing"] = [name for name in expected if name not in present]
    names = ", ".join(name for name in expected if name not in present)
    return error("prediction_failed", f"the model's answer lacks: {names or 'its format'}", details=details)


def _unfitting_field(exc: dspy_errors.AdapterParseError) -> str | None:
    """The output whose value could not be read, where that is what went wrong."""
    signature: Any = exc.signature
    fields: dict[str, Any] = signature.output_fields
    text = str(exc)
    found = _FIELD.search(text)
    if found is not None and found[1] in fields:
        return found[1]
    if "Failed to parse field " in text:
        for name, info in fields.items():  # one adapter tells the whole description in its place
            if f"Failed to parse field {info} " in text:
                return name
    return None


def _rule_broken(exc: dspy_errors.AdapterParseError) -> str | None:
    """What pydantic expected, in words that hold nothing of the value."""
    current: BaseException | None = exc
    for _ in range(_MAX_CAUSES):
        if current is None or isinstance(current, pydantic.ValidationError):
            break
        current = current.__cause__ or current.__context__
    if not isinstance(current, pydantic.ValidationError):
        return None
    if any(row["type"] in _OWN_WORDS for row in current.errors(include_url=False, include_input=False)):
        return None
    return str(refused_by(current, "").details["expected"])


def _lm_error(exc: dspy_errors.LMError) -> DSPexError:
    code, what = next((code, what) for class_, code, what in _LM_ERRORS if class_ in type(exc).__mro__)
    details = _details(exc, ("model", "provider", "provider_code", "status", "request_id"))
    details["reason"] = exc.code
    message = what
    if isinstance(exc.model, str):
        message += f" (model {exc.model})"
    if isinstance(exc, _OF_SETTINGS) and exc.message:
        message += f": {exc.message}"
    return error(code, _short(message), details=details, retry_after_ms=_milliseconds(exc.retry_after))


def _provider_error(exc: BaseException) -> DSPexError | None:
    for class_ in type(exc).__mro__:
        if class_.__module__.partition(".")[0] in _PROVIDER_PACKAGES and class_.__name__ in _PROVIDER_ERRORS:
            code = _PROVIDER_ERRORS[class_.__name__]
            details = _details(exc, ("model", "status_code", "llm_provider", "request_id"))
            details["class"] = type(exc).__name__
            headers = getattr(getattr(exc, "response", None), "headers", None)
            after = (
                headers.get("retry-after")
                if isinstance(headers, Mapping)
                else getattr(exc, "retry_after", None)
            )
            message = f"the request to the language model failed ({type(exc).__name__})"
            return error(code, message, details=details, retry_after_ms=_milliseconds(after))
    return None


def _details(exc: BaseException, names: tuple[str, ...]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in names:
        value = getattr(exc, name, None)
        if isinstance(value, str):
            found[name] = redact(value)[:128]
        elif type(value) is int:
            found[name] = value
    return found


def _milliseconds(seconds: object) -> int | None:
    try:
        value = float(seconds)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return None
    return math.ceil(value * 1000) if 0 <= value <= 86_400 else None


def _program_failed(exc: BaseException) -> DSPexError:
    name = type(exc).__name__
    text = _text_of(exc)
    message = _short(f"the program raised {name}: {text}" if text else f"the program raised {name}")
    return error("program_failed", message, details={"class": name, "where": _where(exc)})


def _where(exc: BaseException) -> list[str]:
    """The innermost frames as `file:line function`: places in code, never values."""
    frames = traceback.extract_tb(exc.__traceback__)[-MAX_FRAMES:]
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


def _text_of(exc: BaseException) -> str:
    if isinstance(exc, pydantic.ValidationError):
        # Its own text quotes the values.
        rows = exc.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(f"{'.'.join(map(str, row['loc']))}: {row['msg']}" for row in rows[:8])
    try:
        return str(exc)
    except Exception:  # a program's exception may be broken itself
        return ""


def _short(message: str) -> str:
    # Redacted first: a cut could leave half a key.
    safe = redact(message)
    return safe if len(safe) <= MAX_MESSAGE_CHARACTERS else safe[: MAX_MESSAGE_CHARACTERS - 1] + "…"
