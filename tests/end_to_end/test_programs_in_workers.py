"""Stored programs find the workers that have them, and workers have as many as they may."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.support.servers import serving, wait_for, workers

from dspex_pool.client import Client

pytestmark = pytest.mark.slow


async def store(client: Client, count: int) -> None:
    """Programs `program-0` and on, each with an output field of its own."""
    for number in range(count):
        spec = {"module": "Predict", "signature": f"question -> answer_{number}"}
        await client.call("program.create", {"spec": spec}, program=f"program-{number}")


async def fields(client: Client, number: int) -> set[str]:
    """The fields of one prediction."""
    return set(await client.predict(f"program-{number}", {"question": "?"}))


async def test_each_program_is_built_once() -> None:
    """While nothing else is to do: its calls find the worker that has it."""
    async with serving("--workers", "2") as client:
        await wait_for(client, lambda now: now["ready_workers"] == 2)
        await store(client, 4)
        for number in random.Random(4).choices(range(4), k=40):
            assert {f"answer_{number}"} == await fields(client, number)
        assert 4 == sum(worker["programs"] for worker in await workers(client))


@pytest.mark.parametrize("count", [1, 2])
async def test_predictions_are_right_with_more_programs_than_a_worker_has(count: int) -> None:
    """Forgotten and built again under many calls at once, in any order; none is taken for another."""
    flags = ("--workers", str(count), "--programs-per-worker", "2")
    async with serving(*flags) as client:
        await wait_for(client, lambda now: now["ready_workers"] == count)
        await store(client, 7)
        numbers = random.Random(7).choices(range(7), k=150)
        found = await asyncio.gather(*(fields(client, number) for number in numbers))
        assert [{f"answer_{number}"} for number in numbers] == found
        for number in range(7):
            assert {f"answer_{number}"} == await fields(client, number)
        # What was in use stayed beyond the bound; a worker's next call paid that back.
        assert min(worker["programs"] for worker in await workers(client)) <= 2
