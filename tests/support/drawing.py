"""A real zygote whose workers draw from every source of ids, write the draws down and end.

`python -m tests.support.drawing COUNT [careless]` prints one line for each child, a JSON
object of source and draw. Only the worker loop is replaced: how a worker is forked, adopted
and made ready is the zygote's own doing. A careless zygote does not reseed, which is what
a test must find.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from typing import Final

from dspex_pool.processes import become_subreaper
from dspex_pool.spawning import CHILD_ENVIRONMENT
from dspex_protocol import CALL, NIL, NOTE, REPLY, decode_envelope, encode
from dspex_protocol.frame import HEADER_BYTES

MAX_DATAGRAM_BYTES: Final = 8192
_SOURCES: Final[Mapping[str, Callable[[], object]]] = {
    "pid": os.getpid,
    "random": random.random,
    "uuid4": uuid.uuid4,
    "secrets": secrets.token_hex,
}


def draw_all() -> dict[str, str]:
    """One draw from each source that this process has."""
    draws = {name: str(source()) for name, source in _SOURCES.items()}
    if numpy_random := sys.modules.get("numpy.random"):
        draws["numpy"] = str(numpy_random.random())
        draws["numpy_generator"] = str(numpy_random.default_rng().random())
    return draws


def run_drawing_zygote(parent_pid: int, *, careless: bool) -> None:
    """A zygote that has used every source before it forks, numpy's too where there is numpy."""
    from dspex_bridge.worker import serve, zygote

    try:
        import numpy as np

        np.random.seed(1)  # noqa: NPY002 -- the state that a fork would copy
    except ImportError:
        pass
    draw_all()

    def draw(descriptor: int) -> None:
        os.write(2, json.dumps(draw_all()).encode() + b"\n")

    if careless:
        zygote.reseed = lambda: None
    serve.serve = draw
    zygote.run_zygote(parent_pid)


class Parent:
    """What the supervisor is to a zygote, reduced to asking for workers and reaping them."""

    def __init__(self, manner: list[str]) -> None:
        become_subreaper()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(60)
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        command = [sys.executable, "-m", __spec__.name, "zygote", str(os.getpid()), *manner]
        with theirs:
            self._zygote = subprocess.Popen(
                command, stdin=theirs.fileno(), env=os.environ | CHILD_ENVIRONMENT
            )
        ready = decode_envelope(self._control.recv(MAX_DATAGRAM_BYTES))
        assert (NOTE, "zygote.ready") == (ready.kind, ready.method), ready

    def fork(self, number: int) -> None:
        """Ask for one child and wait for its pid."""
        ours, theirs = socket.socketpair()
        request = encode(CALL, number, "zygote.fork", {"parent_pid": os.getpid()}, NIL)[HEADER_BYTES:]
        with ours, theirs:
            socket.send_fds(self._control, [request], [theirs.fileno(), self._write_end])
            reply = decode_envelope(self._control.recv(MAX_DATAGRAM_BYTES))
        assert (REPLY, number) == (reply.kind, reply.id), reply

    def copy_draws(self, out: int) -> None:
        """Pass on what has been drawn; reap who is done."""
        try:
            os.write(out, os.read(self._read_end, 65_536))
            os.waitpid(-1, os.WNOHANG)
            os.waitpid(-1, os.WNOHANG)
        except BlockingIOError:
            pass

    def close(self, out: int) -> None:
        """Wait for the last draws."""
        self._control.close()
        self._zygote.wait(60)
        os.close(self._write_end)
        os.set_blocking(self._read_end, True)
        while draws := os.read(self._read_end, 65_536):
            os.write(out, draws)


def main(arguments: list[str]) -> None:
    """The parent, or its zygote."""
    if arguments[0] == "zygote":
        run_drawing_zygote(int(arguments[1]), careless="careless" in arguments)
        return
    parent = Parent(arguments[1:])
    for number in range(1, int(arguments[0]) + 1):
        parent.fork(number)
        parent.copy_draws(1)
    parent.close(1)


if __name__ == "__main__":
    main(sys.argv[1:])
