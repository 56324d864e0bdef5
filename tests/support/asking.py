"""Operations of language models, asked as a worker is asked: no socket and no server between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from dspex_bridge.host_functions import HostFunctions, Returned
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.operations import OPERATIONS, read_parameters
from dspex_bridge.worker.calls import RunningCall
from dspex_protocol import DSPexError, LMConfig
from tests.support.fakes import read_frame

HostAnswer = Callable[[str, Mapping[str, object]], object]

MADE: list[LanguageModels] = []
"""What is to be closed after the test."""


class Asked:
    """A worker's language models, and a host whose one function is `answer`."""

    def __init__(self, answer: HostAnswer | None = None, **configs: LMConfig) -> None:
        self.args: dict[str, Any] = {}

        async def call_host(name: str, args: Mapping[str, object]) -> object:
            assert answer is not None
            self.args = dict(args)
            return answer(name, args)

        async def stream_host(name: str, args: Mapping[str, object]) -> AsyncGenerator[object]:
            yield Returned(await call_host(name, args))

        self.functions = HostFunctions(call_host, asyncio.get_running_loop(), stream_host)
        self.functions.configure(["answer"])
        self.lms = LanguageModels(self.functions)
        MADE.append(self.lms)
        self.lms.configure({"default": LMConfig(model="sim/x"), **configs}, {})
        self.items: list[Any] = []
        self.call = RunningCall(1, {}, lambda frame: None)

    async def ask(self, method: str, *, credit: int = 0, **payload: object) -> Any:
        """What an operation answers; items are kept."""
        self.call = RunningCall(1, {"credit": credit}, lambda frame: self.items.append(read_frame(frame)))
        operation = OPERATIONS[method]
        parameters = read_parameters(operation, payload)
        worker = SimpleNamespace(lms=self.lms, functions=self.functions)
        result = operation.run(worker, self.call, parameters)
        return result if operation.inline else await result


async def refusal(asked: Asked, method: str, **payload: Any) -> DSPexError:
    """How a call is refused."""
    with pytest.raises(DSPexError) as refused:
        await asked.ask(method, **payload)
    return refused.value


def over_http(address: str, **more: Any) -> LMConfig:
    """The offline model as a provider's."""
    return LMConfig(model="openai/sim-x", api_base=address, **more)
