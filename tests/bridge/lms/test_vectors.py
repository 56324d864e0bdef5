"""Vectors of texts: from the offline model, an endpoint, the host or LiteLLM, and what is none."""

from __future__ import annotations

import struct

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.support.asking import Asked, over_http, refusal

from dspex_bridge.lms.embedding import BATCH
from dspex_bridge.operations import OPERATIONS
from dspex_protocol import LMConfig, Tensor


async def test_vectors_are_the_same_from_the_offline_model_and_its_endpoint(served: str) -> None:
    """One row for each text, of 32-bit floats, in order; also of more texts than go into a request."""
    asked = Asked(far=over_http(served))
    texts = [f"text {n % 7}" for n in range(BATCH + 3)]
    near, far = [await asked.ask("lm.embed", texts=texts, lm=lm) for lm in ("default", "far")]
    assert isinstance(near["vectors"], Tensor)
    assert (near["vectors"].dtype, near["vectors"].shape) == ("f4", (BATCH + 3, 64))
    assert near["vectors"] == far["vectors"]
    row = 4 * 64
    assert near["vectors"].data[:row] == near["vectors"].data[7 * row : 8 * row]
    assert near["vectors"].data[:row] != near["vectors"].data[row : 2 * row]
    assert near["usage"]["tokens_in"] == far["usage"]["tokens_in"] > 0


async def test_the_length_of_vectors_is_a_setting_of_the_call(served: str) -> None:
    """Both ways."""
    asked = Asked(far=over_http(served))
    for lm in ("default", "far"):
        made = await asked.ask("lm.embed", texts=["x"], lm=lm, config={"dimensions": 3})
        assert made["vectors"].shape == (1, 3)


@pytest.mark.parametrize(
    "given",
    [
        [[1.0, 2.0], [3.0, 4.0]],
        {"vectors": [[1, 2], [3, 4]], "tokens_in": 5},
        Tensor("f8", (2, 2), struct.pack("<4d", 1, 2, 3, 4)),
    ],
)
async def test_a_host_function_makes_vectors(given: object) -> None:
    """As arrays, or as a tensor."""
    asked = Asked(lambda name, args: given, default=LMConfig(model="host/answer"))
    made = await asked.ask("lm.embed", texts=["a", "b"])
    assert made["vectors"] == Tensor("f4", (2, 2), struct.pack("<4f", 1, 2, 3, 4))
    assert asked.args == {"model": "host/answer", "texts": ["a", "b"], "config": {}}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("text", "function_failed"),
        ({"vectors": 1}, "function_failed"),
        ([[1.0]], "lm_error"),
        ([[1.0], [1.0, 2.0]], "lm_error"),
        (Tensor("f4", (2,), bytes(8)), "function_failed"),
    ],
)
async def test_what_is_no_vectors_is_an_error(given: object, code: str) -> None:
    """And never a result that does not fit its texts."""
    asked = Asked(lambda name, args: given, default=LMConfig(model="host/answer"))
    assert (await refusal(asked, "lm.embed", texts=["a", "b"])).code == code


async def test_an_endpoints_refusals_are_the_errors_of_predictions() -> None:
    """By status, with the provider's word on when to come back, and none of its other words."""
    statuses = iter((401, 429, 500, 400, 404))

    async def refuse(request: web.Request) -> web.Response:
        return web.json_response(
            {"error": {"message": "secret-of-the-provider"}},
            status=next(statuses),
            headers={"Retry-After": "7"},
        )

    app = web.Application()
    app.router.add_post("/v1/embeddings", refuse)
    codes = []
    async with TestServer(app) as server:
        asked = Asked(default=over_http(str(server.make_url("/v1"))))
        for _ in range(5):
            operation = OPERATIONS["lm.test"]
            asked.lms.configure(
                {"default": over_http(str(server.make_url("/v1")), model_type="embedding")}, {}
            )
            told = await asked.ask("lm.test")
            assert operation.method == "lm.test"
            assert not told["ok"]
            assert "secret-of-the-provider" not in str(told)
            codes.append(told["error"]["code"])
            if told["error"]["code"] == "lm_rate_limited":
                assert told["error"]["retry_after_ms"] == 7000
    assert codes == [
        "lm_auth",
        "lm_rate_limited",
        "lm_unavailable",
        "lm_invalid_request",
        "lm_invalid_request",
    ]


async def test_an_endpoint_is_asked_again_as_often_as_the_host_says() -> None:
    """What fails for a while only is tried again; what a key does not open is not."""
    seen: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(1)
        if len(seen) < 3:
            return web.json_response({}, status=503, headers={"Retry-After": "0"})
        return web.json_response({"data": [{"index": 0, "embedding": [1.0]}]})

    app = web.Application()
    app.router.add_post("/v1/embeddings", answer)
    async with TestServer(app) as server:
        asked = Asked(default=over_http(str(server.make_url("/v1")), num_retries=2))
        made = await asked.ask("lm.embed", texts=["x"])
    assert len(seen) == 3
    assert made["vectors"].shape == (1, 1)


async def test_what_makes_vectors_only_writes_nothing() -> None:
    """The host has said so; a prediction is refused before anything is sent."""
    asked = Asked(default=LMConfig(model="sim/x", model_type="embedding"))
    assert (await refusal(asked, "lm.generate", prompt="x")).details["field"] == "lm"
    assert (await asked.ask("lm.embed", texts=["x"]))["vectors"].shape == (1, 64)


@pytest.mark.slow
async def test_other_providers_make_vectors_by_litellm(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is installed; the same rows as from the endpoint itself."""
    pytest.importorskip("litellm")
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    other = LMConfig(model="hosted_vllm/sim-x", api_base=served, model_type="embedding")
    asked = Asked(far=over_http(served), other=other)
    made = [await asked.ask("lm.embed", texts=["a", "b"], lm=lm) for lm in ("far", "other")]
    assert made[0]["vectors"] == made[1]["vectors"]
