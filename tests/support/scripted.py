"""A provider of language models that answers from a script, in OpenAI's form, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Generator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TypeAlias

MODEL: Final = "openai/gpt-4o-mini"
"""One that DSPy knows to call functions and to take schemas."""

Said: TypeAlias = "str | list[tuple[str, dict[str, object]]]"
"""A text, or calls of functions with their arguments."""


class Provider:
    """What was asked, and what is to be answered.

    Attributes:
        requests: The bodies, in order.
        base: Its address, such as `http://127.0.0.1:1234/v1`.
    """

    def __init__(self, script: Sequence[Said]) -> None:
        self._script = list(script)
        self.requests: list[dict[str, Any]] = []
        self.base = ""

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The bodies, without what differs from one run to the next."""
        return [json.loads(json.dumps(body)) for body in self.requests]

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """The next answer of the script; the last one again when it is over."""
        said = self._script[min(len(self.requests), len(self._script) - 1)]
        self.requests.append(body)
        number = len(self.requests)
        message: dict[str, Any] = {"role": "assistant", "content": said if isinstance(said, str) else None}
        if not isinstance(said, str):
            message["tool_calls"] = [
                {
                    "id": f"call_{number}_{n}",
                    "type": "function",
                    "function": {"name": name, "arguments": json.dumps(args)},
                }
                for n, (name, args) in enumerate(said)
            ]
        reason = "stop" if isinstance(said, str) else "tool_calls"
        return {
            "id": f"answer-{number}",
            "object": "chat.completion",
            "created": 0,
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }


@contextlib.contextmanager
def scripted_provider(*script: Said) -> Generator[Provider]:
    """It runs while this does."""
    provider = Provider(script)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
            answer = json.dumps(provider.answer(body)).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object, **__: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    provider.base = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
