"""Interpreters kept ready, and lent to calls.

A start takes seconds, so that one process is always ready or on its way once code has been run in
this worker. Each is lent once: it is killed when its session ends, and when the call ends, however
that comes about. What one call leaves behind, no other can find.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import dspy

from dspex_protocol.errors import DSPexError, error

from .process import SandboxProcess
from .sandbox import Lacking, Sandbox, find_sandbox
from .sandboxed import SandboxedInterpreter

MAX_CALLS: Final = 4
"""Calls of one worker that have interpreters at once; more wait. A process takes about 160 MB."""

MAX_PER_CALL: Final = 4
"""A call's own, and those of sub-agents that its code builds."""

IDLE_S: Final = 300.0
"""A process that nobody has asked for in so long gives its memory back; the next call waits for a start."""

_LOOK_AGAIN_S: Final = 0.2


class Interpreters:
    """Those of a worker.

    Args:
        unsafe: The host wants code to run without a sandbox where there is none.
        find: What there is on this machine.
    """

    def __init__(self, *, unsafe: bool = False, find: Callable[[], Sandbox | Lacking] = find_sandbox) -> None:
        self._unsafe = unsafe
        self._find = find
        self._found: Sandbox | Lacking | None = None
        self._lock = threading.Lock()
        self._spare: Future[SandboxProcess] | None = None
        self._closed = False
        # Its threads are never shut down: bubblewrap dies with the thread that started it.
        self._starters = ThreadPoolExecutor(2, thread_name_prefix="dspex-code")
        self.places = threading.BoundedSemaphore(MAX_CALLS)

    def lease(self) -> Lease:
        """For one call; close it at the call's end."""
        return Lease(self)

    def sandbox(self) -> Sandbox | None:
        """What code runs in; None where the host wants it to run without.

        Raises:
            CallerError: `not_permitted`, saying what is not there and what to do.
        """
        with self._lock:
            if self._found is None:
                self._found = self._find()
            found = self._found
        if isinstance(found, Sandbox):
            return found
        with self._lock:
            self._found = None  # what is missing may be installed while this worker runs
        if self._unsafe:
            return None
        raise refused(found)

    def take(self, sandbox: Sandbox) -> Future[SandboxProcess]:
        """A process, ready or starting; another one is started in its place."""
        with self._lock:
            taken, self._spare = self._spare, None
        if taken is not None and taken.done() and (taken.exception() or _has_ended(taken.result())):
            _close_started(taken)
            taken = None
        if taken is None:
            taken = self._starters.submit(SandboxProcess, sandbox)
        # Not beside it: two starts at once would each take twice as long.
        taken.add_done_callback(lambda _: self._start_spare(sandbox))
        return taken

    def _start_spare(self, sandbox: Sandbox) -> None:
        with self._lock:
            if self._spare is not None or self._closed:
                return
            self._spare = spare = self._starters.submit(SandboxProcess, sandbox)
        timer = threading.Timer(IDLE_S, self._drop, [spare])
        timer.daemon = True
        spare.add_done_callback(lambda _: timer.start())

    def _drop(self, spare: Future[SandboxProcess]) -> None:
        with self._lock:
            if self._spare is not spare:
                return
            self._spare = None
        _close_started(spare)

    def close(self) -> None:
        """End what is ready, and start nothing more. A worker has no need of it: it ends with them."""
        with self._lock:
            self._closed = True
            spare, self._spare = self._spare, None
        if spare is not None and not spare.cancel():
            spare.add_done_callback(_close_started)
        self._starters.shutdown()


def _close_started(spare: Future[SandboxProcess]) -> None:
    if not spare.cancelled() and spare.exception() is None:
        spare.result().close()


def _has_ended(process: SandboxProcess) -> bool:
    return process.popen.poll() is not None


class Lease:
    """The interpreters of one call: what DSPy takes for a factory of them."""

    def __init__(self, interpreters: Interpreters) -> None:
        self._interpreters = interpreters
        self._lent: list[Any] = []
        self._lock = threading.Lock()
        self._has_place = False
        self._closed = False

    @property
    def execution_instructions(self) -> str:
        """What a model is told of where its code runs, in DSPy's words."""
        kind: Any = dspy.PythonInterpreter if self._interpreters.sandbox() else dspy.LocalInterpreter
        told: str = kind.execution_instructions
        return told

    def __call__(self) -> Any:
        """A fresh interpreter; waits in a thread until this call may have one.

        Raises:
            DSPexError: `not_permitted` without a sandbox; `program_failed` for too many; `cancelled`.
        """
        sandbox = self._interpreters.sandbox()
        self._wait_for_place()
        with self._lock:
            if self._closed:
                raise _over()
            self._lent = [one for one in self._lent if not _ended(one)]
            if len(self._lent) >= MAX_PER_CALL:
                raise error("program_failed", f"a call has at most {MAX_PER_CALL} interpreters at once")
            made: Any = (
                dspy.LocalInterpreter()
                if sandbox is None
                else SandboxedInterpreter(self._interpreters.take(sandbox))
            )
            self._lent.append(made)
        return made

    def _wait_for_place(self) -> None:
        with self._lock:
            if self._has_place:
                return
        while not self._interpreters.places.acquire(timeout=_LOOK_AGAIN_S):
            if self._closed:
                raise _over()
        with self._lock:
            if self._has_place or self._closed:  # another thread of this call was faster, or it is over
                self._interpreters.places.release()
            else:
                self._has_place = True

    def close(self) -> None:
        """End what was lent. A thread that still runs code finds its interpreter gone."""
        with self._lock:
            self._closed = True
            lent, self._lent = self._lent, []
            if self._has_place:
                self._interpreters.places.release()
                self._has_place = False
        for one in lent:
            one.end() if isinstance(one, SandboxedInterpreter) else one.shutdown()


def _ended(interpreter: Any) -> bool:
    ended: bool = getattr(interpreter, "_session_ended", False) or getattr(interpreter, "_ended", False)
    return ended


def refused(lacking: Lacking) -> DSPexError:
    """Why code is not run here."""
    return error(
        "not_permitted",
        f"this program runs code that a model writes, and here is no sandbox for it: {lacking.what};"
        f" {lacking.advice}, or start the server with unsafe_interpreter",
        details={"lacking": lacking.what, "advice": lacking.advice},
    )


def _over() -> DSPexError:
    return error("cancelled", "the call in which this happens has ended")
