"""What comes of a call made from Python: an outcome, a stream of items, a prediction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast

from dspex_protocol import Meta, Tagged, error
from dspex_protocol.states import CallState

STREAM_CREDIT: Final = 32
"""Items that may be under way; half of them are granted anew at a time."""


class Canceller(Protocol):
    """What a stream asks of the client that opened it."""

    def cancel(self, call_id: int) -> None:
        """Stop a call."""
        ...

    def credit(self, call_id: int, count: int) -> None:
        """Let a stream go on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A result with what the server told about it."""

    value: object
    meta: Meta


@dataclass(slots=True)
class Pending:
    """A call that is open."""

    answer: asyncio.Future[Outcome]
    items: asyncio.Queue[object] | None
    state: CallState = CallState.OPEN
    next_seq: int = 0


@dataclass(slots=True)
class Stream:
    """The items of a running call; iterate over it, then await `result`.

    Attributes:
        id: The call's id.
    """

    id: int
    _caller: Canceller
    _pending: Pending
    _taken: int = field(default=0)

    def __aiter__(self) -> AsyncIterator[object]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[object]:
        items = self._pending.items
        assert items is not None
        while (item := await items.get()) is not END:
            self._taken += 1
            if self._taken % (STREAM_CREDIT // 2) == 0:
                self._caller.credit(self.id, STREAM_CREDIT // 2)
            yield item

    async def result(self) -> Outcome:
        """The call's outcome.

        Raises:
            DSPexError: what the FAIL said.
        """
        return await self._pending.answer

    def cancel(self) -> None:
        """Stop the call; `result` then raises `cancelled`."""
        self._caller.cancel(self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A whole prediction.

    Attributes:
        fields: Value by output field.
        completions: The fields of each, where more than one was asked for.
        usage: Tokens by model.
        trace: `{predictor, inputs, outputs}` of each step, where `trace` was asked for.
        requests: To language models, where `history` was asked for.
        meta: What the reply told besides, such as `worker` and `lm_ms`.
    """

    fields: dict[str, object]
    completions: list[dict[str, object]]
    usage: dict[str, object]
    trace: list[dict[str, Any]]
    requests: list[dict[str, Any]]
    meta: Meta


END: Final = object()
"""Put after the last item of a stream."""


def prediction_call(
    program: str | Mapping[str, object] | None, inputs: Mapping[str, object], options: dict[str, Any]
) -> tuple[dict[str, object], Meta]:
    """The payload and meta of `program.predict`."""
    payload: dict[str, object] = {"inputs": dict(inputs)}
    meta: Meta = {}
    for name, value in options.items():
        if name in ("lm", "config", "adapter", "on_violation", "trace", "events", "history", "retriever"):
            payload[name] = value
        else:
            meta[name] = value
    if isinstance(program, str):
        meta["program"] = program
    elif program is not None:  # a session has its program
        payload["spec"] = dict(program)
    return payload, meta


def prediction_of(outcome: Outcome) -> Prediction:
    """A prediction as it came over the wire."""
    parts = _parts_of(outcome.value)
    return Prediction(
        fields=parts["fields"],
        completions=parts.get("completions") or [],
        usage=parts.get("usage") or {},
        trace=parts.get("trace") or [],
        requests=parts.get("requests") or [],
        meta=outcome.meta,
    )


def fields_of(prediction: object) -> dict[str, object]:
    """Only the fields of one."""
    return cast("dict[str, object]", _parts_of(prediction)["fields"])


def _parts_of(prediction: object) -> dict[str, Any]:
    if not isinstance(prediction, Tagged) or prediction.tag != "prediction":
        raise error("internal", "what came is no prediction")
    return cast("dict[str, Any]", prediction.value)
