"""What a client offers in hello reaches every worker, however early that was started."""

from __future__ import annotations

from tests.support.servers import PREDICT, serving


async def test_a_worker_greeted_before_the_client_learns_its_models() -> None:
    """Started from nothing, workers are greeted before hello comes and ready long after it."""
    async with serving("--zygote", "false", "--workers", "1") as client:
        assert {"answer"} == set(await client.predict(PREDICT, {"question": "Why?"}))
