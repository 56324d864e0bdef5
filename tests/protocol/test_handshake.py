"""The handshake: what a hello may say, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest

from dspex_protocol import DSPexError, LMConfig, Welcome, decode_value, encode_value, read_hello

from .notation import read_value, vectors

LEAST = {"protocol": "dspex", "versions": [1]}


def test_the_least_hello() -> None:
    """Protocol and versions are enough; everything else has its default."""
    hello = read_hello(LEAST)
    assert ("unknown", 16_777_216, [], {}, {}) == (
        hello.client,
        hello.max_frame_bytes,
        hello.functions,
        hello.lms,
        hello.secrets,
    )


def test_the_vectors_of_hello() -> None:
    """The golden hellos are read."""
    (full,) = [vector for vector in vectors("body") if vector["id"] == "call.hello.full"]
    hello = read_hello(read_value(full["frame"]["payload"]))
    assert LMConfig(model="sim/echo") == hello.lms["default"]
    assert ["exact_match", "lookup"] == hello.functions


def test_secrets_are_not_shown() -> None:
    """A hello that lands in a log does not tell its secrets."""
    assert "hush" not in repr(read_hello(LEAST | {"secrets": {"key": "hush"}}))


@pytest.mark.parametrize(
    ("change", "code", "at"),
    [
        ({"protocol": "http"}, "invalid_argument", "protocol"),
        ({"versions": []}, "invalid_argument", "versions"),
        ({"versions": 1}, "invalid_argument", "versions"),
        ({"max_frame_bytes": 4095}, "invalid_argument", "max_frame_bytes"),
        ({"functions": [""]}, "invalid_argument", "functions[0]"),
        ({"functions": ["f"] * 1025}, "invalid_argument", "functions"),
        ({"notes": ["all"]}, "invalid_argument", "notes[0]"),
        ({"lms": {"a": {}}}, "invalid_argument", "lms.a.model"),
        ({"lms": {"a": {"model": "m", "temperature": 3}}}, "invalid_argument", "lms.a.temperature"),
        ({"lms": {"a": {"model": "m", "api_key": "k"}}}, "invalid_argument", "lms.a.api_key"),
        ({"secrets": {"a": 1}}, "invalid_argument", "secrets.a"),
        ({"verions": [1]}, "invalid_argument", "verions"),
        ({"versions": [2]}, "handshake_failed", None),
        ({"require": ["telepathy"]}, "handshake_failed", None),
    ],
    ids=repr,
)
def test_refusals(change: dict[str, object], code: str, at: str | None) -> None:
    """Each wrong field is named; what cannot be agreed on is a failed handshake."""
    with pytest.raises(DSPexError) as refusal:
        read_hello(LEAST | change)
    assert (code, at) == (refusal.value.code, refusal.value.details.get("field"))


def test_no_common_version_names_the_servers() -> None:
    """The client learns what it would have to speak."""
    with pytest.raises(DSPexError) as refusal:
        read_hello(LEAST | {"versions": [2, 3]})
    assert {"versions": [1]} == refusal.value.details


def test_a_literal_key_is_not_repeated() -> None:
    """The error does not carry the key that should not have been there."""
    with pytest.raises(DSPexError) as refusal:
        read_hello(LEAST | {"lms": {"a": {"model": "m", "api_key": "sk-hush"}}})
    assert "sk-hush" not in f"{refusal.value} {refusal.value.details}"


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"secrets": "sk-hush"}, "secrets"),
        ({"secrets": {"a": ["sk-hush"]}}, "secrets.a"),
        ({"lms": {"a": "sk-hush"}}, "lms.a"),
        ({"lms": {"a": {"model": "m", "options": "sk-hush"}}}, "lms.a.options"),
        ({"lms": {"a": {"model": "m", "max_tokens": "sk-hush"}}}, "lms.a.max_tokens"),
    ],
)
def test_a_key_in_the_wrong_place_is_not_repeated(change: dict[str, object], at: str) -> None:
    """The error names the place, and not what stands there, though other errors do where it is short."""
    with pytest.raises(DSPexError) as refusal:
        read_hello(LEAST | change)
    assert ("invalid_argument", at) == (refusal.value.code, refusal.value.details["field"])
    assert "hush" not in f"{refusal.value} {refusal.value.details}"


def test_welcome_has_the_fields_of_the_text() -> None:
    """The reply has the fields of docs/protocol.md section 4, as the golden one has."""
    (golden,) = [vector for vector in vectors("body") if vector["id"] == "call.welcome"]
    welcome = Welcome(
        server="dspex/0.1.0", instance="5f2b9c", max_frame_bytes=16_777_216, max_queue=4096, workers=2
    )
    assert read_value(golden["frame"]["payload"]) == decode_value(encode_value(dataclasses.asdict(welcome)))
