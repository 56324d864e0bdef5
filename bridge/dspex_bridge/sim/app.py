"""The HTTP application of `dspex sim-lm`: chat completions, embeddings, and what it was asked."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from .bodies import (
    BadRequest,
    failure,
    list_of,
    message_of,
    read_object,
    response_schema_of,
    tools_of,
)
from .broken import BROKEN_STREAMS, GARBAGE, SHAPELESS, break_stream, never_whole
from .chat import compose
from .faults import OK, Fault
from .model import SimAnswer, SimModel, SimRateLimited, SimUnavailable
from .tuning import Tunings, Unusable
from .tuning_app import add_tuning
from .vectors import DIMENSIONS, MAX_DIMENSIONS, tokens_of, vector

_MAX_BODY_BYTES: Final = 16 * 1024 * 1024


def build_app(
    model: SimModel, faults: Sequence[Fault] = (), tunings: Tunings | None = None
) -> web.Application:
    """The HTTP application around one model.

    Args:
        model: What answers.
        faults: What goes wrong with the first chat requests, in turn.
        tunings: Its fine-tuning jobs; default: they take no time.
    """
    tunings = tunings or Tunings(0.0)
    server = _Server(model, faults, tunings)
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.router.add_post("/v1/chat/completions", server.complete)
    app.router.add_post("/v1/embeddings", server.embed)
    app.router.add_get("/v1/models", server.models)
    app.router.add_get("/sim/stats", server.stats)
    add_tuning(app, tunings)
    return app


class _Server:
    def __init__(self, model: SimModel, faults: Sequence[Fault], tunings: Tunings) -> None:
        self._model = model
        self._tunings = tunings
        self._faults = iter(faults)
        self._served = 0
        self._asked = 0
        self._abandoned = 0
        self._peers = set[object]()

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        self._asked += 1
        self._peers.add(request.transport and request.transport.get_extra_info("peername"))
        fault = next(self._faults, OK)
        try:
            body = await read_object(request)
            messages = [message_of(entry) for entry in list_of(body, "messages")]
            temperature = body.get("temperature")
            if fault.kind == "status":
                return _failed(fault)
            answer = self._model.answer(
                messages,
                float(temperature) if isinstance(temperature, int | float) else None,
                response_schema_of(body),
                tools_of(body),
            )
            learned = self._tunings.known(str(body.get("model", "")), messages)
            if learned is not None:
                answer = self._model.reworded(answer, learned)
        except BadRequest as fault_of_client:
            return failure(400, "invalid_request_error", str(fault_of_client))
        except Unusable as unknown:
            return failure(404, "model_not_found", str(unknown), param=unknown.param)
        except SimRateLimited as refusal:
            return _rate_limited(refusal)
        except SimUnavailable as refusal:
            return failure(503, "server_error", str(refusal))
        self._served += 1
        try:
            if body.get("stream"):
                return await self._stream(request, body, answer, fault)
            return await self._whole(request, body, answer, fault)
        except ConnectionError:
            self._abandoned += 1
            return web.Response()  # nobody reads it

    async def stats(self, request: web.Request) -> web.Response:
        """GET /sim/stats: requests for answers, those whose client left before the end, connections."""
        return web.json_response(
            {"requests": self._asked, "abandoned": self._abandoned, "connections": len(self._peers)}
        )

    async def _whole(
        self, request: web.Request, body: dict[str, Any], answer: SimAnswer, fault: Fault
    ) -> web.StreamResponse:
        await asyncio.sleep(answer.total_s)
        name = str(body.get("model", "sim"))
        if fault.kind == "shape":
            return web.json_response(SHAPELESS)
        choice = compose(body, self._model.pieces(answer), answer.call, fault.kind).choice()
        envelope = self._envelope("chat.completion", name, [choice]) | {"usage": _usage(answer)}
        match fault.kind:
            case "garbage":
                return web.Response(text=GARBAGE, content_type="application/json")
            case "cut" | "stall" | "drip" | "endless":
                return await never_whole(request, fault.kind, json.dumps(envelope).encode())
            case _:
                return web.json_response(envelope)

    async def embed(self, request: web.Request) -> web.Response:
        """POST /v1/embeddings: unit vectors, the same for the same text."""
        try:
            body = await read_object(request)
            given = body.get("input")
            texts = [given] if isinstance(given, str) else [str(text) for text in list_of(body, "input")]
            dimensions = body.get("dimensions", DIMENSIONS)
            if type(dimensions) is not int or not 1 <= dimensions <= MAX_DIMENSIONS:
                raise BadRequest(f"sim: dimensions must be an integer from 1 to {MAX_DIMENSIONS}")
            self._model.weather()
        except BadRequest as fault:
            return failure(400, "invalid_request_error", str(fault))
        except SimRateLimited as refusal:
            return _rate_limited(refusal)
        except SimUnavailable as refusal:
            return failure(503, "server_error", str(refusal))
        seed = self._model.options.seed
        rows = [
            {"object": "embedding", "index": index, "embedding": vector(text, seed, dimensions)}
            for index, text in enumerate(texts)
        ]
        tokens = tokens_of(texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return web.json_response(
            {"object": "list", "data": rows, "model": str(body.get("model", "sim")), "usage": usage}
        )

    async def models(self, request: web.Request) -> web.Response:
        """GET /v1/models."""
        return web.json_response(
            {"object": "list", "data": [{"id": "sim", "object": "model", "created": 0, "owned_by": "dspex"}]}
        )

    async def _stream(
        self, request: web.Request, body: dict[str, Any], answer: SimAnswer, fault: Fault
    ) -> web.StreamResponse:
        name = str(body.get("model", "sim"))
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        )
        await response.prepare(request)
        await asyncio.sleep(answer.first_token_s)
        composed = compose(body, self._model.pieces(answer), answer.call, fault.kind)
        if fault.kind in BROKEN_STREAMS:
            token = self._chunk(name, [next(composed.deltas())])
            await break_stream(request, response, token, fault.kind)
            return response
        for choice in composed.deltas():
            await asyncio.sleep(answer.token_s)
            await self._event(response, name, [choice])
        await self._event(response, name, [composed.end()])
        if (body.get("stream_options") or {}).get("include_usage"):
            await self._event(response, name, [], {"usage": _usage(answer)})
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def _event(
        self,
        response: web.StreamResponse,
        name: str,
        choices: list[object],
        more: dict[str, object] | None = None,
    ) -> None:
        await response.write(self._chunk(name, choices, more))

    def _chunk(self, name: str, choices: list[object], more: dict[str, object] | None = None) -> bytes:
        chunk = self._envelope("chat.completion.chunk", name, choices) | (more or {})
        return f"data: {json.dumps(chunk)}\n\n".encode()

    def _envelope(self, kind: str, name: str, choices: list[Any]) -> dict[str, object]:
        return {"id": f"sim-{self._served}", "object": kind, "created": 0, "model": name, "choices": choices}


def _usage(answer: SimAnswer) -> dict[str, int]:
    return {
        "prompt_tokens": answer.tokens_in,
        "completion_tokens": answer.tokens_out,
        "total_tokens": answer.tokens_in + answer.tokens_out,
    }


def _rate_limited(refusal: SimRateLimited) -> web.Response:
    # Whole seconds, as HTTP has it; the exact time beside it for clients that can.
    headers = {
        "Retry-After": str(math.ceil(refusal.retry_after_s)),
        "retry-after-ms": str(math.ceil(refusal.retry_after_s * 1000)),
    }
    return failure(429, "rate_limit_exceeded", str(refusal), headers)


def _failed(fault: Fault) -> web.Response:
    kind = "rate_limit_exceeded" if fault.status == 429 else "sim_fault"
    headers = fault.headers(datetime.now(UTC))  # noqa: TID251 -- HTTP wants a date
    return failure(fault.status, kind, f"sim: status {fault.status} on purpose", headers)
