"""Code that tries to get out of the sandbox: none gets a thing, and none outlives its call."""

from __future__ import annotations

import contextlib
import os
import socket
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dspy
import pytest
from tests.support.escapes import EXHAUSTING, QUIET
from tests.support.servers import count
from tests.support.survivors import alive_after, is_alive

from dspex_bridge.code import sandboxed
from dspex_bridge.code.interpreters import Interpreters
from dspex_bridge.code.sandbox import Lacking, Sandbox, find_sandbox
from dspex_bridge.code.sandboxed import check_sub_agent
from dspex_protocol import DSPexError

SECRET: Final = "sk-escape-4f1c8d22b7"
EVERY: Final = count("escapes", 6)
"""Every so many of those that exhaust something; with 1 all of them, which takes minutes."""

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What the code must not reach."""

    file: Path
    folder: Path
    listener: socket.socket

    def fill(self, code: str) -> str:
        return code.format(
            file=self.file, folder=self.folder, port=self.listener.getsockname()[1], pid=os.getpid()
        )

    def attempt(self, code: str) -> str:
        """Code that tells how it failed, so that the interpreter serves the next piece too."""
        body = textwrap.indent(self.fill(code), "    ")
        return f"try:\n{body}\nexcept BaseException as reason:\n    print(type(reason).__name__, reason)"

    def was_reached(self) -> list[str]:
        """How, from the outside."""
        found = [f"written: {path.name}" for path in self.folder.iterdir()]
        with contextlib.suppress(TimeoutError, BlockingIOError):
            self.listener.accept()[0].close()
            found.append("connected")
        return found


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    folder = tmp_path_factory.mktemp("outside")
    file = tmp_path_factory.mktemp("secret") / "file"
    file.write_text(SECRET)
    os.environ["DSPEX_TEST_SECRET"] = SECRET
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        yield Outside(file=file, folder=folder, listener=listener)
    del os.environ["DSPEX_TEST_SECRET"]


@pytest.fixture(scope="module")
def interpreters() -> Iterator[Interpreters]:
    made = Interpreters()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for each piece, and those that hang are not waited for."""
    monkeypatch.setattr(sandboxed, "EXECUTION_S", 5.0)


class Cell:
    """An interpreter, and another one when code has ended it."""

    def __init__(self, interpreters: Interpreters) -> None:
        self._lease = interpreters.lease()
        self._interpreter: Any = None
        self.pids: set[int] = set()

    def run(self, code: str) -> str:
        """What the code's author gets to see of it."""
        if self._interpreter is not None and self._interpreter._session_ended:
            self._interpreter.shutdown()
            self._interpreter = None
        if self._interpreter is None:
            self._interpreter = self._lease()
        try:
            return repr(self._interpreter.execute(code))
        except (SyntaxError, dspy.primitives.code_interpreter.CodeInterpreterError, DSPexError) as reason:
            return f"{type(reason).__name__}: {reason}"
        finally:
            if self._interpreter.deno_process is not None:
                self.pids.add(self._interpreter.deno_process.pid)

    def close(self) -> None:
        self._lease.close()
        if self._interpreter is not None:
            self._interpreter.shutdown()


@pytest.fixture(scope="module")
def cell(interpreters: Interpreters) -> Iterator[Cell]:
    made = Cell(interpreters)
    yield made
    made.close()
    assert made.pids
    assert [] == alive_after(5.0, sorted(made.pids))


@pytest.mark.parametrize("name", QUIET)
def test_code_reaches_nothing(name: str, cell: Cell, outside: Outside) -> None:
    """No file, no variable, no connection, no process: neither in what it prints nor outside."""
    given = cell.run(outside.attempt(QUIET[name]))
    assert SECRET not in given
    assert [] == outside.was_reached()


def test_the_same_code_reaches_things_without_a_sandbox(outside: Outside) -> None:
    """So these pieces try what they say, and the test above would see it."""
    unsafe = dspy.LocalInterpreter()
    reached: set[str] = set()
    for name in ("open", "environ", "popen", "pathlib", "subprocess", "socket", "write", "ctypes"):
        with contextlib.suppress(dspy.primitives.code_interpreter.CodeInterpreterError):
            given = repr(unsafe.execute(outside.fill(QUIET[name])))
            if SECRET in given or outside.was_reached():
                reached.add(name)
        (outside.folder / "made").unlink(missing_ok=True)
    unsafe.shutdown()
    assert {"open", "environ", "popen", "pathlib", "subprocess", "socket", "write", "ctypes"} == reached


@pytest.mark.parametrize("name", list(EXHAUSTING)[::EVERY])
def test_code_that_takes_too_much_is_stopped(name: str, interpreters: Interpreters) -> None:
    """By the limit of its memory, time or output; or it gets an exception and goes on."""
    hungry = Cell(interpreters)
    given = hungry.run(EXHAUSTING[name])
    hungry.close()
    assert "Error" in given
    assert [] == alive_after(5.0, sorted(hungry.pids))


def test_an_endless_loop_ends_with_its_call(interpreters: Interpreters) -> None:
    """Whoever ends the call kills the process, and the thread that waits for it goes on."""
    lease = interpreters.lease()
    interpreter = lease()
    interpreter.start()
    pid = interpreter.deno_process.pid
    ended: list[BaseException] = []

    def run() -> None:
        try:
            interpreter.execute("while True: pass")
        except DSPexError as reason:
            ended.append(reason)

    thread = threading.Thread(target=run)
    thread.start()
    while not interpreter._process._reading.locked():  # else there is nothing to end yet
        time.sleep(0.01)
    assert is_alive(pid)
    lease.close()
    thread.join(30)
    interpreter.shutdown()
    assert ["program_failed"] == [reason.code for reason in ended if isinstance(reason, DSPexError)]
    assert [] == alive_after(5.0, [pid])
    with pytest.raises(DSPexError) as over:
        lease()
    assert "cancelled" == over.value.code


def test_without_bubblewrap_deno_still_holds(outside: Outside) -> None:
    """The inner wall by itself, as where namespaces are not permitted."""
    found = find_sandbox()
    assert isinstance(found, Sandbox)
    alone = Interpreters(find=lambda: _without_bubblewrap(found))
    cell = Cell(alone)
    for name in ("open", "Deno.readTextFile", "Deno.env.get", "Deno.writeTextFile", "fetch", "Deno.Command"):
        assert SECRET not in cell.run(outside.attempt(QUIET[name]))
        assert [] == outside.was_reached()
    cell.close()
    alone.close()


def _without_bubblewrap(found: Sandbox) -> Sandbox | Lacking:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dspex_bridge.code.sandbox.find_bubblewrap", lambda: None)
        alone = find_sandbox()
    assert isinstance(alone, Sandbox)
    assert ("bubblewrap", "deno") == (found.kind, alone.kind)
    return alone


@pytest.mark.parametrize(
    "asked",
    [
        {"kind": "Predict", "signature": "question -> answer: antigravity.fly"},
        {"kind": "Predict", "signature": "question: this -> answer"},
        {"kind": "Predict", "signature": {"__dspy_sig__": True, "signature": "q -> a: this.s"}},
        {"kind": "Predict", "signature": {"question": "this"}},
        {"kind": "ChainOfThought", "signature": "q -> a", "kwargs": {"rationale_field_type": "this.s"}},
        {"kind": "Predict", "signature": "q -> a", "kwargs": {"callbacks": ["x"]}},
        {"kind": "Predict", "signature": "q -> a", "kwargs": {"api_base": "http://127.0.0.1"}},
    ],
)
def test_a_sub_agent_cannot_reach_into_the_worker(asked: dict[str, Any]) -> None:
    """DSPy would import what a signature names; such a one is refused before DSPy sees it."""
    with pytest.raises(dspy.primitives.code_interpreter.CodeInterpreterError):
        check_sub_agent(asked)


def test_a_sub_agent_as_dspy_documents_it_is_allowed() -> None:
    """With types of signatures, instructions, a temperature, and tools."""
    signature = {
        "__dspy_sig__": True,
        "signature": "text, k: int -> labels: list[str]",
        "instructions": "Do.",
    }
    check_sub_agent({"kind": "Predict", "signature": signature, "kwargs": {"temperature": 0.5}})
    check_sub_agent({"kind": "ReActV2", "signature": "q -> a", "kwargs": {"tools": [{"__dspy_tool__": "t"}]}})
