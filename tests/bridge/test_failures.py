"""Exceptions to codes: which, with what details, and never a secret or a prompt."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import dspy
import pydantic
import pytest

from dspex_bridge.failures import MAX_MESSAGE_CHARACTERS, redact, register_secret, to_failure
from dspex_protocol import DSPexError, encode_failure, error

SIGNATURE: Any = dspy.Signature  # calling it makes a class
PROMPT = "the patient's name is Jane"


@pytest.mark.parametrize(
    ("raised", "code", "retryable"),
    [
        (dspy.LMRateLimitError(PROMPT), "lm_rate_limited", True),
        (dspy.LMAuthError(PROMPT), "lm_auth", False),
        (dspy.LMBillingError(PROMPT), "lm_error", False),
        (dspy.ContextWindowExceededError(message=PROMPT), "lm_context_window", False),
        (dspy.LMUnsupportedModelError(PROMPT), "lm_invalid_request", False),
        (dspy.LMInvalidRequestError(PROMPT), "lm_invalid_request", False),
        (dspy.LMTimeoutError(PROMPT), "lm_timeout", True),
        (dspy.LMServerError(PROMPT), "lm_unavailable", True),
        (dspy.LMTransportError(PROMPT), "lm_unavailable", True),
        (dspy.LMLockTimeoutError(PROMPT), "lm_unavailable", True),
        (dspy.LMUnexpectedError(PROMPT), "lm_error", False),
        (dspy.LMNotConfiguredError("set the key"), "lm_not_configured", False),
        (dspy.LMUnsupportedFeatureError("no tools"), "lm_invalid_request", False),
        (asyncio.CancelledError(), "cancelled", False),
        (MemoryError(), "program_failed", False),
        (RecursionError("too deep"), "program_failed", False),
        (KeyError("x"), "program_failed", False),
        (SystemExit(1), "program_failed", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_each_exception_has_its_code(raised: BaseException, code: str, retryable: bool) -> None:
    """And what a provider said stays out, since it quotes the prompt."""
    failure = to_failure(raised)
    assert (code, retryable) == (failure.code, failure.retryable)
    assert PROMPT.encode() not in encode_failure(failure)


def test_every_error_of_dspy_has_a_code_of_its_own() -> None:
    """A class that a new DSPy adds must not fall through to `program_failed`."""
    pending: list[type[dspy.LMError]] = [dspy.LMError]
    while pending:
        class_ = pending.pop()
        pending.extend(class_.__subclasses__())
        assert to_failure(class_()).code.startswith("lm_"), class_


def test_a_rate_limit_says_when_to_come_back() -> None:
    """In milliseconds, with model and status."""
    raised = dspy.LMRateLimitError(
        "slow down", model="openai/x", status=429, request_id="r1", retry_after=1.5
    )
    failure = to_failure(raised)
    assert 1500 == failure.retry_after_ms
    expected = {"model": "openai/x", "status": 429, "request_id": "r1", "reason": "rate_limit"}
    assert expected == failure.details


def test_no_language_model_is_told_as_such() -> None:
    """DSPy raises a ValueError for it."""
    with pytest.raises(ValueError) as raised:
        dspy.Predict("q -> a")(q="x")
    assert "lm_not_configured" == to_failure(raised.value).code


def test_an_unfitting_answer_names_fields_but_quotes_nothing() -> None:
    """The adapter and which fields are missing; the model's text stays in the worker."""
    parsed: Any = {"a": PROMPT}
    raised = dspy.AdapterParseError("JSONAdapter", SIGNATURE("q -> a, b"), PROMPT, parsed_result=parsed)
    failure = to_failure(raised)
    assert "prediction_failed" == failure.code
    assert {"adapter": "JSONAdapter", "missing": ["b"]} == failure.details
    assert PROMPT.encode() not in encode_failure(failure)


def test_a_value_of_the_wrong_type_names_its_field() -> None:
    """As DSPy's own adapter raises it."""
    with pytest.raises(dspy.AdapterParseError) as raised:
        dspy.ChatAdapter().parse(SIGNATURE("q -> a: int"), f"[[ ## a ## ]]\n{PROMPT}\n")
    failure = to_failure(raised.value)
    expected = "a valid integer, unable to parse string as an integer"
    assert {"adapter": "ChatAdapter", "field": "a", "expected": expected} == failure.details
    assert PROMPT.encode() not in encode_failure(failure)


@pytest.mark.parametrize("adapter", [dspy.ChatAdapter(), dspy.JSONAdapter(), dspy.XMLAdapter()])
@pytest.mark.parametrize("kind", [dspy.ToolCalls, dspy.Image, dspy.Audio, dspy.Code, dspy.History])
def test_a_validator_of_dspy_that_quotes_the_value_is_not_quoted(adapter: Any, kind: Any) -> None:
    """Its words are its own, and may be the model's."""
    answers = {
        "ChatAdapter": f"[[ ## a ## ]]\n{PROMPT}\n",
        "JSONAdapter": json.dumps({"a": {"b": PROMPT}}),
        "XMLAdapter": f"<a>{PROMPT}</a>",
    }
    make: Any = dspy.Signature  # its metaclass takes fields, of which checkers do not know
    signature = make({"q": (str, dspy.InputField()), "a": (kind, dspy.OutputField())}, "Answer.")
    try:
        adapter.parse(signature, answers[type(adapter).__name__])
    except dspy.AdapterParseError as raised:
        assert PROMPT.encode() not in encode_failure(to_failure(raised))


def test_an_error_of_ours_passes_through_its_wrappers() -> None:
    """A host function that failed inside an LM stays `function_failed`."""
    ours = error("function_failed", "the host function raised")
    wrapped = dspy.LMUnexpectedError("engine failed")
    wrapped.__cause__ = RuntimeError("call")
    wrapped.__cause__.__cause__ = ours
    for raised in (ours, wrapped, ExceptionGroup("several", [wrapped])):
        assert ours is to_failure(raised)


def test_a_cause_from_the_provider_is_found() -> None:
    """A tool or module that wraps what the LM raised does not hide it."""
    wrapped = RuntimeError("forward failed")
    wrapped.__cause__ = dspy.LMTimeoutError("slow")
    assert "lm_timeout" == to_failure(wrapped).code


@pytest.mark.parametrize(
    ("package", "name", "code"),
    [
        ("litellm.exceptions", "RateLimitError", "lm_rate_limited"),
        ("openai", "AuthenticationError", "lm_auth"),
        ("openai", "APITimeoutError", "lm_timeout"),
        ("litellm.exceptions", "ContextWindowExceededError", "lm_context_window"),
        ("httpx", "TransportError", "lm_unavailable"),
        ("somebody.else", "RateLimitError", "program_failed"),
    ],
)
def test_provider_errors_are_known_by_name(package: str, name: str, code: str) -> None:
    """Without their packages being imported; a subclass counts as its parent."""
    parent = type(name, (Exception,), {"__module__": package})
    child = type("Special", (parent,), {"__module__": "mine", "retry_after": 2})
    for class_ in (parent, child):
        assert code == to_failure(class_("x")).code
    if "lm_rate_limited" == code:
        assert 2000 == to_failure(child("x")).retry_after_ms


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnop1234",
        "AIzaSyA1234567890abcdefghijkl",
        "Bearer abcdef.ghijkl.mnop",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_abcdefghijklmnopqrst",
    ],
)
def test_what_looks_like_a_key_is_hidden(secret: str) -> None:
    """Wherever it stands, also where the cut would leave half of it."""
    for text in (secret, f"with {secret}.", "x" * (MAX_MESSAGE_CHARACTERS - 40) + " " + secret):
        failure = to_failure(ValueError(text))
        assert secret[8:16].encode() not in encode_failure(failure)
        assert len(failure.message) <= MAX_MESSAGE_CHARACTERS


def test_assignments_and_addresses_lose_their_secrets() -> None:
    """The names stay useful."""
    expected = "api_key='[redacted]' at https://[redacted]@host/"
    assert expected == redact("api_key='hunter22' at https://me:pass@host/")
    assert "hunter22" not in redact('{"password": "hunter22"}')


def test_registered_secrets_are_hidden_whatever_they_look_like() -> None:
    """Also one within another; a value too short to be told from words is left alone."""
    for value in ("plum-tree", "plum-tree-garden", "a"):
        register_secret(value)
    raised = dspy.LMNotConfiguredError("no plum-tree-garden, a plum-tree", model="plum-tree")
    failure = to_failure(raised)
    assert b"plum" not in encode_failure(failure)
    assert b"garden" not in encode_failure(failure)
    assert "a " in failure.message


def test_a_validation_error_tells_rules_without_values() -> None:
    """Pydantic's own text quotes what was given."""
    with pytest.raises(pydantic.ValidationError) as raised:
        pydantic.TypeAdapter(dict[str, int]).validate_python({"k": PROMPT})
    failure = to_failure(raised.value)
    assert "k: Input should be a valid integer" in failure.message
    assert PROMPT.encode() not in encode_failure(failure)


def test_a_broken_exception_still_becomes_a_failure() -> None:
    """One that cannot be printed, one whose causes go in a circle, and one of megabytes."""

    class Unprintable(ValueError):
        def __str__(self) -> str:
            raise RuntimeError

    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    for raised in (Unprintable(), first, ValueError("x" * 5_000_000)):
        failure = to_failure(raised)
        assert isinstance(failure, DSPexError)
        assert "program_failed" == failure.code
        assert len(failure.message) <= MAX_MESSAGE_CHARACTERS
