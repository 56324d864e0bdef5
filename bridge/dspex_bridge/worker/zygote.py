"""The zygote: DSPy imported once, then a fork for each worker.

It must have one thread when it forks (a lock that another thread holds would stay locked
in the child for ever), so it imports, looks before each fork, and never calls a language
model itself. It opens nothing that two processes must not share: no socket but its
control, no file, no event loop. What a child must not share with its siblings is the state
of random sources; those are seeded anew. A worker is forked twice, so that it becomes the
supervisor's own child: see docs/architecture.md.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from typing import Final

from dspex_protocol import CALL, FAIL, NIL, NOTE, REPLY, Meta, decode_envelope, encode, encode_failure, error
from dspex_protocol.frame import HEADER_BYTES

MAX_DATAGRAM_BYTES: Final = 8192
_PR_SET_PDEATHSIG: Final = 1


def run_zygote(parent_pid: int) -> None:
    """Serve fork requests on fd 0 until the supervisor closes it.

    Args:
        parent_pid: The supervisor's pid; this process dies with it.
    """
    adopt(parent_pid)
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    began = time.monotonic()
    try:
        _import_all()
    except Exception:
        _say(control, NOTE, "zygote.unfit", {"reason": traceback.format_exc(limit=-2)[-2000:]})
        raise
    if reason := _why_unfit():
        _say(control, NOTE, "zygote.unfit", {"reason": reason})
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


def _why_unfit() -> str | None:
    """Why this process must not be forked now, or None."""
    # Not os.register_at_fork(before=...): Python prints what such a hook raises, and forks.
    count = len(os.listdir("/proc/self/task"))
    if count == 1:
        return None
    names = ", ".join(thread.name for thread in threading.enumerate())
    return f"it has {count} threads (Python knows of {names}); a fork needs one that has only one"


def _serve_one(control: socket.socket) -> bool:
    """Serve one request; False when there will be no other."""
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
        if reason := _why_unfit():
            _say(control, NOTE, "zygote.unfit", {"reason": reason})
            return False
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
    # What waits in a buffer would be written once by each child.
    sys.stdout.flush()
    sys.stderr.flush()
    read_end, write_end = os.pipe()
    middle = os.fork()
    if middle == 0:
        passing = os.getpid()
        try:
            worker = os.fork()
        except OSError:
            os._exit(1)
        if worker != 0:
            with suppress(OSError):  # the zygote has been killed; this process must not go on as one
                os.write(write_end, worker.to_bytes(4, "big"))
            os._exit(0)
        os.close(read_end)
        os.close(write_end)
        control.close()
        _become_worker(wire, stderr, parent_pid, passing)
    os.close(write_end)
    pid = int.from_bytes(os.read(read_end, 4), "big")
    os.close(read_end)
    os.waitpid(middle, 0)
    if pid == 0:
        raise OSError(0, "the second fork failed")
    return pid


def _become_worker(wire: int, stderr: int, parent_pid: int, passing: int) -> None:
    """Never returns."""
    status = 1
    try:
        os.dup2(stderr, 2)
        os.close(stderr)
        adopt(parent_pid, passing)
        reseed()
        from .serve import serve
        from .wire import take_wire

        serve(take_wire(wire))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def reseed() -> None:
    """Give this process random numbers of its own.

    `random` does so itself at a fork, and `secrets`, `uuid.uuid4` and new generators of
    numpy ask the system. That leaves numpy's global state, where something imported it.
    """
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def adopt(parent_pid: int, passing: int = 0) -> None:
    """Tie this process to the supervisor: it dies when the supervisor does.

    The kernel sends the signal when the *present* parent ends, so it is set only once the
    supervisor is the parent, and the parent is looked at again afterwards: it may have
    died in between. Whoever is another's child then has no supervisor and ends.

    Args:
        parent_pid: The supervisor's pid.
        passing: The pid of a parent that is about to leave this process to the supervisor.
    """
    os.setpgid(0, 0)  # killed as a group, with the children that it starts
    while os.getppid() == passing:
        time.sleep(0.0001)
    if os.getppid() != parent_pid:
        os._exit(1)
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
