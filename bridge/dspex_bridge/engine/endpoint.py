"""An endpoint that speaks chat completions: requests to it, in bounded time and memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from dspy.clients.engines.base import validate_request
from dspy.clients.engines.stream_guard import error_from_event
from dspy.lm15 import (
    ConfigurationError,
    LM15Error,
    OpenAIChatLM,
    ProviderError,
    Request,
    Response,
    TransportError,
)
from dspy.lm15 import TimeoutError as LMTimeout

from dspex_protocol.errors import DSPexError, error

from .connections import CONNECT_S, Connections
from .events import EventReader, ServerEvent, merged
from .replies import read_answer, refusal
from .retrying import RetryPolicy, UntrustedServer

DEFAULT_TIMEOUT_S: Final = 600.0
"""As DSPy's own client has it: a model may think for minutes."""

MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
MAX_STREAM_BYTES: Final = 64 * 1024 * 1024
MAX_STREAM_S: Final = 3600.0
MAX_REFUSAL_BYTES: Final = 256 * 1024
_AFTER_DONE_S: Final = 1.0
_PAST_DEADLINE_S: Final = 1.0

Remaining = Callable[[], float | None]
"""What is left of the time of the call at hand, in seconds, if that is known."""


class ChatEndpoint:
    """Where one language model is asked.

    Args:
        dialect: How its server is spoken to.
        model: Its name there.
        connections: Those of the process.
        retries: Which failed requests are repeated.
        timeout_s: For a whole answer; in a stream for each next event.
        remaining_s: What is left of the call's time.
    """

    def __init__(
        self,
        dialect: OpenAIChatLM,
        model: str,
        connections: Connections,
        retries: RetryPolicy,
        timeout_s: float | None = None,
        remaining_s: Remaining = lambda: None,
    ) -> None:
        self.dialect = dialect
        self.model = model
        self.connections = connections
        self._retries = retries
        self._timeout_s = DEFAULT_TIMEOUT_S if timeout_s is None else timeout_s
        self._remaining_s = remaining_s
        self._proxy = _proxy_for(dialect.base_url)

    def of(self, model: str) -> ChatEndpoint:
        """The same endpoint for another of its models."""
        other = copy(self)
        other.model = model
        return other

    async def complete(self, request: Request) -> Response:
        """Answer one request; cancelling this cancels it.

        Raises:
            LM15Error: DSPy's, after the repetitions that the policy allows.
        """
        request, wire = self._build(request, stream=False)
        attempt = 0
        while True:
            try:
                return await self._answer(request, wire)
            except LM15Error as failure:
                await self._pause_or_raise(failure, attempt)
            attempt += 1

    async def stream(self, request: Request) -> AsyncGenerator[Any]:
        """Answer in DSPy's stream events; closing this closes the connection.

        Raises:
            LM15Error: DSPy's; there is no repetition once an event has come.
        """
        request, wire = self._build(request, stream=True)
        attempt = 0
        while True:
            begun = False
            try:
                async with aclosing(self._events(request, wire)) as pieces:
                    async for event in merged(pieces, request.model):
                        begun = True
                        yield event
                    return
            except LM15Error as failure:
                if begun:
                    raise
                await self._pause_or_raise(failure, attempt)
            attempt += 1

    def _build(self, request: Request, *, stream: bool) -> tuple[Request, Any]:
        validate_request(request)
        request = replace(request, model=self.model)
        return request, self.dialect.build_request(request, stream=stream)

    async def _pause_or_raise(self, failure: LM15Error, attempt: int) -> None:
        pause_s = self._retries.pause_s(failure, attempt, self._remaining_s())
        if pause_s is None:
            raise failure
        await asyncio.sleep(pause_s)

    async def _answer(self, request: Request, wire: Any) -> Response:
        with _faults(self.dialect.provider):
            async with self._limit(self._timeout_s), _closing(await self._send(wire)) as response:
                body = await _read(response, MAX_ANSWER_BYTES)
        return read_answer(self.dialect, request, response.status, response.headers, body, _wall_clock)

    async def _events(self, request: Request, wire: Any) -> AsyncGenerator[Any]:
        with _faults(self.dialect.provider):
            async with self._limit(self._timeout_s):
                response = await self._send(wire)
            async with _closing(response):
                if response.status >= 400:
                    raise await self._refused(response)
                async for told in self._told(response):
                    for event in self._parsed(request, told):
                        if event.type == "error":
                            raise error_from_event(event, provider=self.dialect.provider)
                        yield event

    async def _refused(self, response: aiohttp.ClientResponse) -> LM15Error:
        async with self._limit(self._timeout_s):
            body = await _read(response, MAX_REFUSAL_BYTES)
        return refusal(self.dialect, response.status, response.headers, body, _wall_clock)

    def _parsed(self, request: Request, told: ServerEvent) -> list[Any]:
        try:
            return list(self.dialect.parse_stream_events(request, told))  # pyright: ignore[reportArgumentType]
        except LM15Error:
            raise
        except (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError, RecursionError):
            # Its own text would quote the event.
            raise ProviderError(
                "an event of the stream is no piece of a chat completion", provider=self.dialect.provider
            ) from None

    async def _told(self, response: aiohttp.ClientResponse) -> AsyncIterator[ServerEvent]:
        """The events of a stream, up to its last one."""
        reader = EventReader()
        size, ends_s = 0, time.monotonic() + MAX_STREAM_S
        quiet_until_s = time.monotonic() + self._timeout_s
        while True:
            async with self._limit(min(quiet_until_s, ends_s) - time.monotonic()):
                chunk = await response.content.readany()
            size += len(chunk)
            if size > MAX_STREAM_BYTES:
                raise ProviderError(f"the stream is larger than {MAX_STREAM_BYTES} bytes")
            events = reader.feed(chunk) if chunk else reader.finish()
            for event in events:
                # Single bytes are no progress: whoever sends them has the same time for an event.
                quiet_until_s = time.monotonic() + self._timeout_s
                yield event
                if event.data == "[DONE]":
                    await _drain(response)
                    return
            if not chunk:
                return

    async def _send(self, wire: Any) -> aiohttp.ClientResponse:
        """The head of the reply."""
        if self._proxy is not None and not self._proxy.lower().startswith(("http://", "https://")):
            raise ConfigurationError("the proxy that the environment names is not reached by http or https")
        session = self.connections.session()
        for attempt in range(_STALE_ATTEMPTS):
            past: dict[str, bool] = {}
            try:
                return await session.post(
                    wire.url,
                    data=wire.body,
                    headers=wire.headers,
                    proxy=self._proxy,
                    allow_redirects=False,
                    timeout=_TIMEOUTS,
                    trace_request_ctx=past,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError):
                # The server had given up a connection that was idle, as it may at any time.
                if not past.get("reused") or attempt == _STALE_ATTEMPTS - 1:
                    raise
        raise AssertionError

    def _limit(self, seconds: float) -> asyncio.Timeout:
        # At the deadline the call is cancelled from outside. This ends what cannot be: requests of
        # programs in threads.
        remaining_s = self._remaining_s()
        return asyncio.timeout(
            seconds if remaining_s is None else min(seconds, remaining_s + _PAST_DEADLINE_S)
        )


_TIMEOUTS: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=CONNECT_S, sock_read=None)
_STALE_ATTEMPTS: Final = 3
_OTHER_HOST: Final = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


@contextmanager
def _faults(provider: str) -> Generator[None]:
    """What goes wrong with a connection, in DSPy's errors. Texts of aiohttp hold addresses; ours do not."""
    try:
        yield
    except TimeoutError as failure:
        raise (
            failure
            if isinstance(failure, LM15Error)
            else LMTimeout("the provider did not answer in time", provider=provider)
        ) from None
    except aiohttp.InvalidURL:
        raise ConfigurationError("the address of the language model is no URL") from None
    except aiohttp.ClientConnectorCertificateError as failure:
        raise UntrustedServer("the server's certificate is not accepted", provider=provider) from _untrusted(
            failure.certificate_error
        )
    except (aiohttp.ClientError, OSError, EOFError) as failure:
        what = type(failure).__name__
        raise TransportError(f"the connection to the provider failed ({what})", provider=provider) from None


def _untrusted(failure: Exception) -> DSPexError:
    """For the host, who can do something about it."""
    reason = getattr(failure, "verify_message", None) or "it cannot be checked"
    if getattr(failure, "verify_code", None) in _OTHER_HOST:
        reason = "it is for another host"  # OpenSSL's own text has the address
    return error(
        "lm_unavailable",
        f"the certificate of the language model's server is not accepted: {reason};"
        " SSL_CERT_FILE in the server's environment names authorities of your own",
        retryable=False,
    )


def _wall_clock() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 -- dates of other machines have no other measure


@asynccontextmanager
async def _closing(response: aiohttp.ClientResponse) -> AsyncGenerator[aiohttp.ClientResponse]:
    """Gives the connection back to the pool where all was read, and closes it otherwise."""
    try:
        yield response
    finally:
        if response.content.at_eof():
            response.release()
        else:
            response.close()


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """A whole body, but never more than the limit."""
    if response.content_length is not None and response.content_length > limit:
        raise ProviderError(f"the reply is larger than {limit} bytes", status=response.status)
    chunks, size = list[bytes](), 0
    while chunk := await response.content.readany():
        size += len(chunk)
        if size > limit:
            raise ProviderError(f"the reply is larger than {limit} bytes", status=response.status)
        chunks.append(chunk)
    return b"".join(chunks)


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Wait a little for the end of a body whose content has ended: only then can the connection be kept."""
    try:
        async with asyncio.timeout(_AFTER_DONE_S):
            while await response.content.readany():
                pass
    except (TimeoutError, aiohttp.ClientError, OSError):
        return


def _proxy_for(address: str) -> str | None:
    """The proxy that the environment names for an address, as DSPy's own client takes it."""
    parts = urlsplit(address)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or (parts.hostname and proxy_bypass(parts.hostname)):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
