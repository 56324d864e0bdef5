"""`system.hello`: what each side says of itself before anything else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from .errors import DSPexError, error, invalid_argument
from .limits import (
    DEFAULT_DEADLINE_MS,
    MAX_FRAME_BYTES,
    MAX_FUNCTIONS,
    MAX_NAME_BYTES,
    MIN_MAX_FRAME_BYTES,
    PROTOCOL,
    VERSION,
)
from .records import Doc, Length, Range, read

CAPABILITIES = ("callbacks", "programs", "streams")
"""What a server of this version can do, for `require` in `hello`."""

Name = Annotated[str, Length(1, MAX_NAME_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LMConfig:
    """A language model as the host describes it; docs/protocol.md section 7.3."""

    model: Annotated[str, Length(1, 256), Doc("provider/name; sim/… offline; host/NAME for a host function")]
    api_base: Annotated[str, Doc("address of the provider")] | None = None
    api_key_env: (
        Annotated[str, Doc("name of the server's environment variable that holds the key")] | None
    ) = None
    api_key_secret: Annotated[str, Doc("name in hello's secrets that holds the key")] | None = None
    model_type: Annotated[
        Literal["chat", "text", "responses", "embedding"], Doc("embedding: it makes vectors only")
    ] = "chat"
    temperature: Annotated[float, Range(0, 2)] | None = None
    max_tokens: Annotated[int, Range(1)] | None = None
    num_retries: Annotated[int, Range(0, 10)] = 0
    timeout_s: Annotated[float, Range(0.001)] | None = None
    usd_per_million_in: Annotated[float, Range(0), Doc("price of a million tokens of prompts")] | None = None
    usd_per_million_out: Annotated[float, Range(0), Doc("price of a million tokens of answers")] | None = None
    engine: Annotated[
        Literal["auto", "dspy"], Doc("dspy: its own HTTP client also where ours would be used")
    ] = "auto"
    options: Annotated[dict[str, object], Doc("handed to the provider as they are")] = field(
        default_factory=dict[str, object]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What a client says of itself."""

    protocol: str
    versions: Annotated[list[int], Length(1, 64)]
    client: Annotated[str, Length(0, 256)] = "unknown"
    max_frame_bytes: Annotated[int, Range(MIN_MAX_FRAME_BYTES, 2**32 - 1)] = MAX_FRAME_BYTES
    functions: Annotated[list[Name], Length(0, MAX_FUNCTIONS)] = field(default_factory=list[str])
    lms: dict[str, LMConfig] = field(default_factory=dict[str, LMConfig])
    secrets: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    notes: list[Literal["log", "event"]] = field(default_factory=list[Literal["log", "event"]])
    require: list[str] = field(default_factory=list[str])
    tenant: (
        Annotated[Name, Doc("for calls that name none; a connection without is a tenant of its own")] | None
    ) = None
    tenants: Annotated[
        dict[str, Annotated[int, Range(1, 100)]],
        Length(0, MAX_FUNCTIONS),
        Doc("weights by tenant: of places that are short, one gets so many times the share of weight 1"),
    ] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The reply to `hello`."""

    server: str
    instance: str
    max_frame_bytes: int
    max_queue: int
    workers: int
    protocol: str = PROTOCOL
    version: int = VERSION
    capabilities: list[str] = field(default_factory=lambda: list(CAPABILITIES))
    default_deadline_ms: int = DEFAULT_DEADLINE_MS


def read_hello(payload: object) -> Hello:
    """Check a client's `hello`.

    Raises:
        DSPexError: `invalid_argument`, or `handshake_failed` when there is no common
            version or a required capability is missing.
    """
    try:
        hello = read(Hello, _without_literal_keys(payload))
    except DSPexError as refused:
        raise _without_value(refused) from None
    if hello.protocol != PROTOCOL:
        raise invalid_argument("protocol", repr(PROTOCOL), hello.protocol)
    if VERSION not in hello.versions:
        raise error(
            "handshake_failed",
            f"no common version: the client speaks {hello.versions}, the server {VERSION}",
            details={"versions": [VERSION]},
        )
    missing = sorted(set(hello.require) - set(CAPABILITIES))
    if missing:
        raise error(
            "handshake_failed",
            f"the client needs {', '.join(missing)}; this server has {', '.join(CAPABILITIES)}",
            details={"missing": missing, "capabilities": list(CAPABILITIES)},
        )
    return hello


def _without_value(refused: DSPexError) -> DSPexError:
    """The same refusal, without what stood where a credential may: errors quote short strings."""
    field, got = str(refused.details.get("field")), str(refused.details.get("got"))
    if not (field.startswith(("secrets", "lms")) and got.startswith("string ")):
        return refused
    expected = refused.details.get("expected")
    return error(
        refused.code,
        f"{field}: expected {expected}, got a string",
        details={"field": field, "expected": expected, "got": "a string"},
    )


def _without_literal_keys(payload: object) -> object:
    """Refuse `api_key` by name, before the general check calls it an unknown field."""
    lms = payload.get("lms") if isinstance(payload, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    for name, lm in lms.items() if isinstance(lms, dict) else ():  # pyright: ignore[reportUnknownVariableType]
        if isinstance(lm, dict) and "api_key" in lm:
            raise error(
                "invalid_argument",
                f"lms.{name}.api_key: keys are given by reference; use api_key_env or api_key_secret",
                details={
                    "field": f"lms.{name}.api_key",
                    "expected": "api_key_env or api_key_secret",
                    "got": "a literal key",
                },
            )
    return payload  # pyright: ignore[reportUnknownVariableType]
