"""`dspex sim-lm`: the offline model behind an OpenAI-compatible HTTP server on 127.0.0.1.

For tests and load that are to go through DSPy's real client. When it listens it prints
one line of JSON on stdout, `{"port": …, "api_base": …}`. It ends at SIGTERM or SIGINT,
and with `--until-eof` when its stdin ends, so that it never outlives whoever started it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from typing import cast

from aiohttp import web

from .app import build_app
from .faults import KINDS, read_faults
from .model import Latency, SimModel, SimOptions
from .tuning import Tunings

__all__ = ("build_app", "run_server")


def run_server(arguments: list[str]) -> int:
    """Serve until told to end.

    Returns:
        The process's exit code.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        faults = read_faults(given.faults)
    except ValueError as reason:
        parser.error(f"--faults: {reason}")
    app = build_app(SimModel(_options(given)), faults, Tunings(given.tuning_s))
    return asyncio.run(_serve(app, given.port, given.until_eof))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dspex sim-lm", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=0, help="answers depend on seed and request only")
    parser.add_argument("--latency-ms", default="0", help="a number, or P50,P99 of a log-normal distribution")
    parser.add_argument("--tokens-per-s", type=float, help="pace after the first token (default: at once)")
    parser.add_argument("--token-chars", type=int, default=4, help="characters of a streamed piece")
    parser.add_argument("--error-rate", type=float, default=0.0, help="share of requests answered with 503")
    parser.add_argument("--rate-limit-per-s", type=float, help="beyond it requests are answered with 429")
    parser.add_argument(
        "--faults",
        default="",
        help="what goes wrong with the first chat requests, in turn, as 429:1.5,cut,ok:"
        " a status from 400 to 599 with the seconds of Retry-After (429:date:2 says so as a date),"
        f" or {', '.join(KINDS)}",
    )
    parser.add_argument("--tuning-s", type=float, default=1.0, help="how long a fine-tuning job takes")
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


async def _serve(app: web.Application, port: int, until_eof: bool) -> int:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if until_eof:
        _watch_stdin(loop, ended)
    runner = web.AppRunner(app, access_log=None)
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
