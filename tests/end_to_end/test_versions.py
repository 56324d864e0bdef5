"""Programs that change while they are used."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from tests.support.servers import count, has_ready, serving, wait_for

from dspex_pool.client import Client

pytestmark = pytest.mark.slow

CALLERS = 64
SPEC = {"module": "Predict", "signature": "question -> answer"}


def told(instructions: str) -> dict[str, object]:
    return {"state": {"self": {"instructions": instructions}}}


class Asking:
    """Callers that ask one program all the time, and what each of them was told.

    The program's model is a host function that answers with the number in the instructions it was
    given, so that an answer says which version has really run.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.acknowledged = 1
        self.torn: list[str] = []
        self.stale: list[str] = []
        self.answers = 0
        self.is_over = False

    async def run(self) -> None:
        await asyncio.gather(*(self._ask() for _ in range(CALLERS)))

    async def _ask(self) -> None:
        while not self.is_over:
            least = self.acknowledged
            outcome = await self.client.outcome(
                "program.predict", {"inputs": {"question": "which?"}}, program="p"
            )
            ran = int(cast("Any", outcome.value).value["fields"]["answer"])
            self.answers += 1
            if ran != outcome.meta["version"]:
                self.torn.append(f"version {outcome.meta['version']} answered as {ran}")
            if ran < least:
                self.stale.append(f"version {ran} after {least} was acknowledged")


def which(model: str, messages: list[dict[str, str]], config: object) -> str:
    """What a model would say that is told its version."""
    system = messages[0]["content"]
    number = system.rpartition("version ")[2].split()[0].strip(".")
    return f"[[ ## answer ## ]]\n{number}\n\n[[ ## completed ## ]]"


async def test_every_call_runs_on_the_version_that_it_says() -> None:
    """And on none that is older than what had been acknowledged when it came."""
    async with serving(
        functions={"which": which}, lms={"default": {"model": "host/which"}}, limit_s=120
    ) as client:
        await wait_for(client, has_ready(2))
        await client.call("program.create", {"spec": SPEC, **told("You are version 1 .")}, program="p")
        asking = Asking(client)
        load = asyncio.ensure_future(asking.run())
        for version in range(2, count("updates", 30) + 2):
            made = cast(
                "dict[str, object]",
                await client.call("program.update", told(f"You are version {version} ."), program="p"),
            )
            assert version == made["version"]
            asking.acknowledged = version
            await asyncio.sleep(0.02)
        asking.is_over = True
        await load
    assert ([], []) == (asking.torn, asking.stale)
    assert asking.answers > CALLERS
