"""Language models behind TLS and proxies, as a worker of its own finds them named in its environment."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from aiohttp.test_utils import TestServer
from tests.support.authorities import OPENSSL, Authority, authority
from tests.support.hops import Hop, worker_process
from tests.support.http_proxy import http_proxy

from dspex_bridge.sim import SimModel, SimOptions
from dspex_bridge.sim.server import build_app

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="no openssl here, which makes the certificates")

KEY: Final = "sk-a-key-of-this-test-only"
ENGINES: Final = [None, "dspy"]
NAMES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
DIRECT: Final = dict.fromkeys((*NAMES, *map(str.upper, NAMES)), "")
"""What this machine has of proxies is not in force. The names in lower case go before the others."""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that no system knows."""
    return authority(tmp_path_factory.mktemp("authority"))


@asynccontextmanager
async def model(shown: ssl.SSLContext | None = None) -> AsyncGenerator[str]:
    """The offline model; gives its `api_base`."""
    server = TestServer(build_app(SimModel(SimOptions())), scheme="http" if shown is None else "https")
    await server.start_server(ssl=shown)
    try:
        yield str(server.make_url("/v1"))
    finally:
        await server.close()


@asynccontextmanager
async def worker(
    base: str, environment: Mapping[str, str], engine: str | None = None, **more: Any
) -> AsyncGenerator[Hop]:
    """One with that model."""
    lm = {"model": "openai/own", "api_base": base, "api_key_secret": "k", "engine": engine, **more}
    asked = {name: value for name, value in lm.items() if value is not None}
    async with worker_process(
        {"default": asked}, environment={**DIRECT, **environment}, secrets={"k": KEY}
    ) as (hop, _):
        yield hop


async def ask(hop: Hop) -> str:
    """A text of the model's."""
    answer = await hop.call("lm.generate", {"prompt": "hi"})
    return str(answer["completions"][0])


@pytest.mark.parametrize("engine", ENGINES)
async def test_an_authority_is_named_in_the_environment(ours: Authority, engine: str | None) -> None:
    """By SSL_CERT_FILE, as for DSPy's own client."""
    trusting = {"SSL_CERT_FILE": str(ours.certificate)}
    async with model(ours.server("IP:127.0.0.1")) as base, worker(base, trusting, engine) as hop:
        assert (await ask(hop)).startswith("sim: ")
        spec = {"module": "Predict", "signature": "question -> answer"}
        call = await hop.start("program.predict", {"spec": spec, "inputs": {"question": "?"}}, credit=100)
        await hop.end(call)
        assert [item for item in hop.items(call) if item["type"] == "token"]


@pytest.mark.parametrize(
    ("host", "trusted", "reason"),
    [("IP:127.0.0.1", False, "issuer"), ("DNS:elsewhere.test", True, "another host")],
)
async def test_a_certificate_that_is_not_accepted_is_told_once(
    ours: Authority, host: str, trusted: bool, reason: str
) -> None:
    """With the reason and what to do, without the address, and without a repetition."""
    handshakes = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    class Unwanted(asyncio.StreamReaderProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            raise AssertionError("the handshake went on")

    loop = asyncio.get_running_loop()
    shown = ours.server(host)

    def sni(*_: object) -> None:
        nonlocal handshakes
        handshakes += 1

    shown.sni_callback = sni
    server = await loop.create_server(
        lambda: Unwanted(asyncio.StreamReader(), count), "127.0.0.1", 0, ssl=shown
    )
    port = server.sockets[0].getsockname()[1]
    environment = {"SSL_CERT_FILE": str(ours.certificate)} if trusted else {}
    async with worker(f"https://127.0.0.1:{port}/v1", environment, num_retries=3) as hop:
        failure = await hop.failure("lm.generate", {"prompt": "hi"})
    server.close()
    await server.wait_closed()
    assert ("lm_unavailable", False) == (failure.code, failure.retryable)
    assert reason in failure.message
    assert "SSL_CERT_FILE" in failure.message
    assert "127.0.0.1" not in failure.message
    assert 1 == handshakes


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_tunnel_shows_a_proxy_nothing(ours: Authority, engine: str | None) -> None:
    """The one of HTTPS is asked to connect, with its own password, and sees no key.

    And nothing else is asked of it, such as DSPy's list of models.
    """
    async with model(ours.server("IP:127.0.0.1")) as base, http_proxy() as proxy:
        named = {"https_proxy": f"http://me:p%40ss@{proxy.address}", "SSL_CERT_FILE": str(ours.certificate)}
        async with worker(base, named, engine) as hop:
            assert (await ask(hop)).startswith("sim: ")
    (told,) = proxy.requests
    assert told.startswith("CONNECT 127.0.0.1:")
    assert base64.b64encode(b"me:p@ss").decode() in told
    assert KEY.encode() not in proxy.tunnelled + "".join(proxy.requests).encode()


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_plain_request_goes_to_the_proxy_whole(engine: str | None) -> None:
    """And NO_PROXY names what is reached without it."""
    async with model() as base, http_proxy() as proxy:
        named = {"http_proxy": f"http://me:pass@{proxy.address}"}
        async with worker(base, named, engine) as hop:
            assert (await ask(hop)).startswith("sim: ")
        assert proxy.requests[0].startswith(f"POST {base}/chat/completions HTTP/1.1")
        assert "Proxy-Authorization" in proxy.requests[0].title()
        proxy.requests.clear()
        async with worker(base, {**named, "no_proxy": "127.0.0.1"}, engine) as hop:
            assert (await ask(hop)).startswith("sim: ")
        assert [] == proxy.requests


async def test_a_proxy_that_cannot_be_used_is_a_typed_error() -> None:
    """One that is not there, and one that is no HTTP proxy; its password is in no text."""
    for address, code in (
        ("http://me:pass@127.0.0.1:9", "lm_unavailable"),
        ("socks5://me:pass@h", "lm_not_configured"),
    ):
        async with worker("http://127.0.0.1:8/v1", {"http_proxy": address}) as hop:
            failure = await hop.failure("lm.generate", {"prompt": "hi"})
        assert code == failure.code
        assert "pass" not in failure.message
