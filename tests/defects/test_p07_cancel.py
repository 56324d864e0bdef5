"""P7, cancel stops the work: a worker that answers cancels and works on is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.servers import has_ready, info, serving, wait_for

from dspex_protocol import DSPexError

from .planting import planted

WORKS_ON = """
    from dspex_bridge.worker.calls import CallTable
    CallTable.cancel = lambda self, call_id: None
"""


async def rung_and_deaths(environment: dict[str, str]) -> tuple[object, int]:
    """How far a cancel had to go, and how many workers it cost, for a call that only sleeps."""
    async with serving("--grace-s", "0.2", environment=environment) as client:
        await wait_for(client, has_ready(2))
        stream = client.stream_call("misbehave.sleep_in_thread", {"seconds": 30})
        await anext(aiter(stream))
        stream.cancel()
        with pytest.raises(DSPexError) as failure:
            await stream.result()
        await wait_for(
            client, lambda now: has_ready(2)(now) and not any(one["calls"] for one in now["workers"])
        )
        return failure.value.details["rung"], (await info(client))["worker_deaths"]


@pytest.mark.slow
async def test_a_worker_that_works_on_is_found(tmp_path: Path) -> None:
    """The caller is answered in time all the same; the place is only free after a kill."""
    assert ("asked", 0) == await rung_and_deaths({})
    assert ("left", 1) == await rung_and_deaths(planted(tmp_path, "zygote", WORKS_ON))
