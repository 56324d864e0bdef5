"""A provider of language models that quotes the whole request, with its credentials, when it refuses it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Indiscreet(BaseHTTPRequestHandler):
    """Refuses every request."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        quoted = f"Incorrect API key provided in {dict(self.headers.items())} {body}"
        answer = json.dumps(
            {"error": {"message": quoted, "type": "invalid_request_error", "code": quoted}}
        ).encode()
        self.send_response(401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object, **__: object) -> None:
        """Nothing: stderr is what is looked at."""


@contextlib.contextmanager
def indiscreet_provider() -> Generator[str]:
    """Its address, such as `127.0.0.1:1234`, while it runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Indiscreet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
