"""The zygote: DSPy imported once, then a fork for each worker.

It must have one thread when it forks (a lock that another thread holds would stay locked
in the child for ever), so it imports, checks, and never calls a language model itself.
A worker is forked twice, so that it becomes the supervisor's own child: see
docs/architecture.md.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from typing import Final

from dspex_protocol import CALL, FAIL, NIL, NOTE, REPLY, Meta, decode_envelope, encode, encode_failure, error
from dspex_protocol.frame import HEADER_BYTES

MAX_DATAGRAM_BYTES: Final = 8192
_PR_SET_PDEATHSIG: Final = 1
# How long a new worker waits to become the supervisor's child. It takes microseconds.
ADOPTION_TIMEOUT_S: Final = 5.0


def run_zygote(parent_pid: int) -> None:
    """Serve fork requests on fd 0 until the supervisor closes it.

    Args:
        parent_pid: The supervisor's pid; this process dies with it.
    """
    adopt(parent_pid)
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    began = time.monotonic()
    try:
        _import_all()
    except Exception:
        _say(control, NOTE, "zygote.unfit", {"reason": traceback.format_exc(limit=-2)[-2000:]})
        raise
    threads = os.listdir("/proc/self/task")
    if len(threads) != 1:
        _say(control, NOTE, "zygote.unfit", {"reason": f"it has {len(threads)} threads after its imports"})
        return
    gc.collect()
    gc.freeze()
    import_ms = round((time.monotonic() - began) * 1000)
    _say(control, NOTE, "zygote.ready", {"import_ms": import_ms, "pid": os.getpid()})
    with suppress(BrokenPipeError):  # the supervisor went while a worker was forked for it
        while _serve_one(control):
            pass


def _import_all() -> None:
    """Import what every worker needs, down to what DSPy would import at its first call."""
    from . import preload

    preload.run()


def _serve_one(control: socket.socket) -> bool:
    data, descriptors, _, _ = socket.recv_fds(control, MAX_DATAGRAM_BYTES, 2)
    if not data:
        return False
    request = decode_envelope(data)
    parent_pid = request.meta.get("parent_pid")
    if request.kind != CALL or len(descriptors) != 2 or not isinstance(parent_pid, int):
        for descriptor in descriptors:
            os.close(descriptor)
        return True
    wire, stderr = descriptors
    try:
        pid = _fork_worker(control, wire, stderr, parent_pid)
        _say(control, REPLY, None, {"pid": pid}, request.id)
    except BrokenPipeError:
        raise
    except OSError as reason:
        failure = error("unavailable", f"the zygote could not fork: {reason.strerror}")
        control.send(encode(FAIL, request.id, None, {}, encode_failure(failure))[HEADER_BYTES:])
    finally:
        os.close(wire)
        os.close(stderr)
    return True


def _fork_worker(control: socket.socket, wire: int, stderr: int, parent_pid: int) -> int:
    """Fork twice; return the worker's pid once it is an orphan, adopted by the supervisor."""
    if len(os.listdir("/proc/self/task")) != 1:
        raise OSError(0, "the zygote has more than one thread")
    read_end, write_end = os.pipe()
    middle = os.fork()
    if middle == 0:
        try:
            worker = os.fork()
        except OSError:
            os._exit(1)
        if worker != 0:
            os.write(write_end, worker.to_bytes(4, "big"))
            os._exit(0)
        os.close(read_end)
        os.close(write_end)
        control.close()
        _become_worker(wire, stderr, parent_pid)
    os.close(write_end)
    pid = int.from_bytes(os.read(read_end, 4), "big")
    os.close(read_end)
    os.waitpid(middle, 0)
    if pid == 0:
        raise OSError(0, "the second fork failed")
    return pid


def _become_worker(wire: int, stderr: int, parent_pid: int) -> None:
    """Never returns."""
    status = 1
    try:
        os.dup2(stderr, 2)
        os.close(stderr)
        adopt(parent_pid)
        from .serve import serve
        from .wire import take_wire

        serve(take_wire(wire))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def adopt(parent_pid: int) -> None:
    """Tie this process to the supervisor: it dies when the supervisor does.

    The kernel sends the signal when the *present* parent ends, so it is set only once the
    supervisor is the parent, and the parent is looked at again afterwards: it may have
    died in between.

    Args:
        parent_pid: The supervisor's pid.
    """
    os.setpgid(0, 0)  # killed as a group, with the children that it starts
    until = time.monotonic() + ADOPTION_TIMEOUT_S
    while os.getppid() != parent_pid:
        if time.monotonic() > until:
            os._exit(1)
        time.sleep(0.0001)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent_pid:
            os._exit(1)
        _prefer_for_oom()


def _prefer_for_oom() -> None:
    # When memory runs out the kernel should take a worker, not the supervisor or its host.
    with open("/proc/self/oom_score_adj", "w") as score:
        score.write("500")


def _say(control: socket.socket, kind: int, method: str | None, meta: Meta, call_id: int = 0) -> None:
    control.send(encode(kind, call_id, method, meta, NIL)[HEADER_BYTES:])
