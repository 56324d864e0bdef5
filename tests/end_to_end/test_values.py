"""Values through a real server: by echo and as the input of a program, they come back as they were."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from tests.support.servers import serving
from tests.support.wire_values import VALUES

from dspex_pool import media
from dspex_pool.client import Client
from dspex_protocol import DSPexError, Tagged, decode_value, encode_value

pytestmark = pytest.mark.slow

MIRROR: Final = {"module": "Mirror", "signature": "value: any -> same: any"}
PNG: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


@pytest.fixture(scope="module")
def running() -> Generator[tuple[asyncio.Runner, Client]]:
    """A loop, and a client on it of a server with the module that mirrors."""
    with asyncio.Runner() as runner:
        server = serving("--workers", "1", environment={"DSPEX_PLUGINS": "plugin_mirror"}, limit_s=120)
        client = runner.run(server.__aenter__())
        yield runner, client
        runner.run(server.__aexit__(None, None, None))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=VALUES)
def test_what_a_host_sends_comes_back(running: tuple[asyncio.Runner, Client], value: object) -> None:
    """From a worker that does not look at it, and out of a program."""
    runner, client = running
    sent = decode_value(encode_value(value))
    assert sent == runner.run(client.call("system.echo", value))
    assert sent == runner.run(client.predict(MIRROR, {"value": value}))["same"]


def test_a_picture_goes_to_the_model_as_it_is(running: tuple[asyncio.Runner, Client]) -> None:
    """And two pictures are two questions; the trace tells which it was."""
    runner, client = running
    spec = {"module": "Predict", "signature": "photo: image, question -> answer"}

    def ask(data: bytes) -> Any:
        inputs = {"photo": media.image(data), "question": "?"}
        return runner.run(client.prediction(spec, inputs, trace=True))

    one, other = ask(PNG), ask(PNG + b"more")
    assert one.fields["answer"] == ask(PNG).fields["answer"] != other.fields["answer"]
    assert "data:image/png;base64," == one.trace[0]["inputs"]["photo"].value["url"][:22]


def test_a_wrong_picture_is_refused_by_its_field(running: tuple[asyncio.Runner, Client]) -> None:
    """Before anything is asked."""
    runner, client = running
    spec = {"module": "Predict", "signature": "photo: image -> answer"}
    for value, field in (
        (media.image(b"%PDF-1.7"), "inputs.photo.bytes"),
        (media.image(PNG, "image/gif"), "inputs.photo.media_type"),
        (Tagged("image", {"path": "/etc/passwd"}), "inputs.photo.path"),
    ):
        with pytest.raises(DSPexError) as refused:
            runner.run(client.predict(spec, {"photo": value}))
        assert ("invalid_argument", field) == (refused.value.code, refused.value.details["field"])
