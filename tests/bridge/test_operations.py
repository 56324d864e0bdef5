"""The table of operations: parameters checked, modules run with or without an async form."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import dspy
import pytest

from dspex_bridge.lms.usage import RequestTimer, counting
from dspex_bridge.modules.running import run_module
from dspex_bridge.operations import OPERATIONS, find, read_parameters
from dspex_protocol import DSPexError

marker: ContextVar[str] = ContextVar("marker", default="unset")


class Blocking(dspy.Module):  # type: ignore[misc]
    """A module of somebody who never heard of async."""

    def forward(self, question: str) -> dspy.Prediction:
        RequestTimer().stop()
        return dspy.Prediction(
            question=question,
            thread=threading.current_thread().name,
            history=dspy.settings.disable_history,
            marker=marker.get(),
        )


class Modern(dspy.Module):  # type: ignore[misc]
    """A module with an async form."""

    async def aforward(self, question: str) -> dspy.Prediction:
        await asyncio.sleep(0)
        return dspy.Prediction(question=question, thread=threading.current_thread().name)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2, thread_name_prefix="dspex-test") as pool:
        yield pool


async def test_a_module_without_an_async_form_runs_in_a_thread(threads: ThreadPoolExecutor) -> None:
    """With the settings, the usage and the context of its call."""
    marker.set("mine")
    with dspy.context(disable_history=True), counting() as usage:
        prediction = await run_module(Blocking(), {"question": "q"}, threads)
    assert ("q", True, "mine") == (prediction.question, prediction.history, prediction.marker)
    assert prediction.thread.startswith("dspex-test")
    assert 1 == usage.lm_calls


async def test_calls_in_threads_do_not_see_each_other(threads: ThreadPoolExecutor) -> None:
    """Each has a copy of its own context."""

    async def one(name: str) -> tuple[str, int]:
        marker.set(name)
        with counting() as usage:
            prediction = await run_module(Blocking(), {"question": name}, threads)
        return prediction.marker, usage.lm_calls

    names = [f"call-{n}" for n in range(8)]
    assert [(name, 1) for name in names] == await asyncio.gather(*map(one, names))


async def test_a_module_with_an_async_form_stays_on_the_loop(threads: ThreadPoolExecutor) -> None:
    """No thread is spent on it."""
    prediction = await run_module(Modern(), {"question": "q"}, threads)
    assert threading.current_thread().name == prediction.thread


async def test_the_loop_goes_on_while_a_thread_works(threads: ThreadPoolExecutor) -> None:
    """A blocking module holds its own call only."""
    free = threading.Event()

    class Slow(dspy.Module):  # type: ignore[misc]
        def forward(self) -> dspy.Prediction:
            assert free.wait(10)
            return dspy.Prediction(done=True)

    running = asyncio.ensure_future(run_module(Slow(), {}, threads))
    await asyncio.sleep(0)
    free.set()
    assert (await running).done


@pytest.mark.parametrize(
    ("method", "payload", "field"),
    [
        ("program.predict", {}, "inputs"),
        ("program.predict", {"inputs": {}, "adapter": 3}, "adapter"),
        ("program.predict", {"inputs": {}, "adapter": {"name": "json", "option": {}}}, "adapter.option"),
        ("program.predict", {"inputs": {}, "on_violation": {"retry": 9}}, "on_violation.retry"),
        ("program.predict", {"inputs": {}, "on_violation": "warn"}, "on_violation"),
        ("program.predict", {"inputs": {}, "temprature": 1}, "temprature"),
        ("program.predict", {"inputs": []}, "inputs"),
        ("program.build", {}, "spec"),
        ("signature.describe", {"inputs": []}, "inputs"),
        ("lm.list", {"x": 1}, "x"),
        ("system.describe", [], "payload"),
        ("worker.configure", {"lms": {"a": {}}}, "lms.a.model"),
    ],
)
def test_parameters_that_are_wrong_are_refused_by_field(method: str, payload: object, field: str) -> None:
    """Missing, misspelt, or of another type."""
    with pytest.raises(DSPexError) as refusal:
        read_parameters(OPERATIONS[method], payload)
    assert ("invalid_argument", field) == (refusal.value.code, refusal.value.details["field"])


def test_nil_is_a_map_without_fields() -> None:
    """For methods whose fields all have defaults."""
    assert read_parameters(OPERATIONS["lm.list"], {}) == read_parameters(OPERATIONS["lm.list"], None)


@pytest.mark.parametrize("value", [None, 1, [1], {"a": b"b"}])
def test_echo_takes_any_value(value: object) -> None:
    """As it is."""
    assert value == read_parameters(OPERATIONS["system.echo"], value)


@pytest.mark.parametrize("method", ["no.such", None])
def test_an_unknown_method_lists_the_known(method: str | None) -> None:
    """All of them, in order."""
    with pytest.raises(DSPexError) as refusal:
        find(OPERATIONS, method)
    assert sorted(OPERATIONS) == refusal.value.details["known"]
