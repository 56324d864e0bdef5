"""`dspex sim-lm`: the offline model behind an OpenAI-compatible HTTP server on 127.0.0.1.

For tests and load that are to go through DSPy's real client. When it listens it prints
one line of JSON on stdout, `{"port": …, "api_base": …}`. It ends at SIGTERM or SIGINT,
and with `--until-eof` when its stdin ends, so that it never outlives whoever started it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import sys
import threading
from typing import Any, Final, cast

from aiohttp import web

from .model import Latency, SimAnswer, SimCall, SimModel, SimOptions, SimRateLimited, SimTool, SimUnavailable
from .typenames import Schema
from .vectors import DIMENSIONS, MAX_DIMENSIONS, tokens_of, vector

_MAX_BODY_BYTES: Final = 16 * 1024 * 1024


def run_server(arguments: list[str]) -> int:
    """Serve until told to end.

    Returns:
        The process's exit code.
    """
    given = _parser().parse_args(arguments)
    return asyncio.run(_serve(SimModel(_options(given)), given.port, given.until_eof))


def build_app(model: SimModel) -> web.Application:
    """The HTTP application around one model."""
    server = _Server(model)
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.router.add_post("/v1/chat/completions", server.complete)
    app.router.add_post("/v1/embeddings", server.embed)
    app.router.add_get("/v1/models", server.models)
    return app


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dspex sim-lm", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=0, help="answers depend on seed and request only")
    parser.add_argument("--latency-ms", default="0", help="a number, or P50,P99 of a log-normal distribution")
    parser.add_argument("--tokens-per-s", type=float, help="pace after the first token (default: at once)")
    parser.add_argument("--token-chars", type=int, default=4, help="characters of a streamed piece")
    parser.add_argument("--error-rate", type=float, default=0.0, help="share of requests answered with 503")
    parser.add_argument("--rate-limit-per-s", type=float, help="beyond it requests are answered with 429")
    parser.add_argument("--until-eof", action="store_true", help="end when stdin ends")
    return parser


def _options(given: argparse.Namespace) -> SimOptions:
    p50, comma, p99 = str(given.latency_ms).partition(",")
    return SimOptions(
        seed=given.seed,
        latency_ms=Latency(p50=float(p50), p99=float(p99)) if comma else float(p50),
        tokens_per_s=given.tokens_per_s,
        token_chars=given.token_chars,
        error_rate=given.error_rate,
        rate_limit_per_s=given.rate_limit_per_s,
    )


async def _serve(model: SimModel, port: int, until_eof: bool) -> int:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if until_eof:
        _watch_stdin(loop, ended)
    runner = web.AppRunner(build_app(model), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, shutdown_timeout=0.5)
    await site.start()
    bound = cast("tuple[str, int]", runner.addresses[0])[1]
    print(json.dumps({"port": bound, "api_base": f"http://127.0.0.1:{bound}/v1"}), flush=True)
    await ended.wait()
    await runner.cleanup()
    return 0


def _watch_stdin(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """A thread, since a regular file or /dev/null on stdin cannot be polled."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 65_536):
            pass
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, daemon=True, name="stdin").start()


class _Server:
    def __init__(self, model: SimModel) -> None:
        self._model = model
        self._served = 0

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        try:
            body = await _read_object(request)
            messages = [_message(entry) for entry in _list(body, "messages")]
            temperature = body.get("temperature")
            answer = self._model.answer(
                messages,
                float(temperature) if isinstance(temperature, int | float) else None,
                _response_schema(body),
                _tools(body),
            )
        except _BadRequest as fault:
            return _failure(400, "invalid_request_error", str(fault))
        except SimRateLimited as refusal:
            return _rate_limited(refusal)
        except SimUnavailable as refusal:
            return _failure(503, "server_error", str(refusal))
        self._served += 1
        name = str(body.get("model", "sim"))
        if body.get("stream"):
            return await self._stream(request, body, name, answer)
        await asyncio.sleep(answer.total_s)
        choice = {"index": 0, "message": _written(answer), "finish_reason": _finish_reason(answer)}
        return web.json_response(
            self._envelope("chat.completion", name, [choice]) | {"usage": _usage(answer)}
        )

    async def embed(self, request: web.Request) -> web.Response:
        """POST /v1/embeddings: unit vectors, the same for the same text."""
        try:
            body = await _read_object(request)
            given = body.get("input")
            texts = [given] if isinstance(given, str) else [str(text) for text in _list(body, "input")]
            dimensions = body.get("dimensions", DIMENSIONS)
            if type(dimensions) is not int or not 1 <= dimensions <= MAX_DIMENSIONS:
                raise _BadRequest(f"sim: dimensions must be an integer from 1 to {MAX_DIMENSIONS}")
            self._model.weather()
        except _BadRequest as fault:
            return _failure(400, "invalid_request_error", str(fault))
        except SimRateLimited as refusal:
            return _rate_limited(refusal)
        except SimUnavailable as refusal:
            return _failure(503, "server_error", str(refusal))
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
        self, request: web.Request, body: dict[str, Any], name: str, answer: SimAnswer
    ) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        )
        await response.prepare(request)
        await asyncio.sleep(answer.first_token_s)
        for piece in self._model.pieces(answer):
            await asyncio.sleep(answer.token_s)
            choice = {"index": 0, "delta": {"role": "assistant", "content": piece}, "finish_reason": None}
            await self._event(response, name, [choice])
        if answer.call is not None:
            delta = {"role": "assistant", "tool_calls": [{"index": 0, **_wanted(answer.call)}]}
            await self._event(response, name, [{"index": 0, "delta": delta, "finish_reason": None}])
        end = {"index": 0, "delta": {}, "finish_reason": _finish_reason(answer)}
        await self._event(response, name, [end])
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
        chunk = self._envelope("chat.completion.chunk", name, choices) | (more or {})
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())

    def _envelope(self, kind: str, name: str, choices: list[Any]) -> dict[str, object]:
        return {"id": f"sim-{self._served}", "object": kind, "created": 0, "model": name, "choices": choices}


class _BadRequest(Exception):
    """What the client sent cannot be answered."""


async def _read_object(request: web.Request) -> dict[str, Any]:
    try:
        body: object = await request.json()
    except ValueError:
        raise _BadRequest("sim: the body is not JSON") from None
    if not isinstance(body, dict):
        raise _BadRequest("sim: the body must be a JSON object")
    return cast("dict[str, Any]", body)


def _list(body: dict[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if not isinstance(value, list) or not value:
        raise _BadRequest(f"sim: {name} must be a list with at least one entry")
    return value  # pyright: ignore[reportUnknownVariableType]


def _message(entry: Any) -> tuple[str, str]:
    if not isinstance(entry, dict):
        raise _BadRequest("sim: a message must be an object with role and content")
    message = cast("dict[str, Any]", entry)
    content = message.get("content")
    if isinstance(content, list):
        parts: list[Any] = content
        content = "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    return str(message.get("role", "user")), str(content or "")


def _response_schema(body: dict[str, Any]) -> Schema | None:
    response_format = body.get("response_format")
    if not isinstance(response_format, dict):
        return None
    described = cast("dict[str, Any]", response_format).get("json_schema")
    schema = cast("dict[str, Any]", described).get("schema") if isinstance(described, dict) else None
    return cast(Schema, schema) if isinstance(schema, dict) else None


def _tools(body: dict[str, Any]) -> list[SimTool]:
    given: Any = body.get("tools") or []
    choice: Any = body.get("tool_choice")
    if choice == "none" or not isinstance(given, list):
        return []
    wanted = choice.get("function", {}).get("name") if isinstance(choice, dict) else None  # pyright: ignore[reportUnknownMemberType]
    functions = [entry["function"] for entry in given if isinstance(entry, dict) and "function" in entry]  # pyright: ignore[reportUnknownVariableType]
    return [
        SimTool(str(function["name"]), cast(Schema, function.get("parameters") or {}))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        for function in functions  # pyright: ignore[reportUnknownVariableType]
        if wanted in (None, function["name"])
    ]


def _wanted(call: SimCall) -> dict[str, object]:
    function = {"name": call.name, "arguments": json.dumps(call.args)}
    return {"id": call.id, "type": "function", "function": function}


def _written(answer: SimAnswer) -> dict[str, object]:
    if answer.call is None:
        return {"role": "assistant", "content": answer.text}
    return {"role": "assistant", "content": None, "tool_calls": [_wanted(answer.call)]}


def _finish_reason(answer: SimAnswer) -> str:
    return "stop" if answer.call is None else "tool_calls"


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
    return _failure(429, "rate_limit_exceeded", str(refusal), headers)


def _failure(status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {"error": {"message": message, "type": kind, "code": kind}}
    return web.json_response(body, status=status, headers=headers)
