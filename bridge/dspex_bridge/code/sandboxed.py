"""DSPy's interpreter on a process of our sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from typing import Any, Final, NoReturn

import dspy
from dspy.primitives.code_interpreter import CodeInterpreterError
from dspy.primitives.facade import CALL_TOOL, CONSTRUCT_TOOL, SANDBOX_LM_KWARGS, SIGNATURE_MARKER

from dspex_protocol.errors import DSPexError, error

from ..signatures.signatures import normalize
from .process import MAX_LINE_BYTES, LineTooLongError, SandboxProcess
from .sandbox import MEMORY_MB

EXECUTION_S: Final = 60.0
"""That code may compute between two words to its host. Waiting for tools and models is not counted."""

_SUB_AGENT_OPTIONS: Final = SANDBOX_LM_KWARGS | {"tools", "max_iters", "max_llm_calls", "max_output_chars"}


class SandboxedInterpreter(dspy.PythonInterpreter):
    """One session; its process is used for nothing else, before or after.

    Args:
        starting: A process that is about to be there, or is.
    """

    def __init__(self, starting: Future[SandboxProcess]) -> None:
        super().__init__(deno_command=["sandbox"])  # DSPy starts nothing here
        self._starting = starting
        self._process: SandboxProcess | None = None
        self.deno_process: Any = None

    def _spawn_process(self) -> None:
        try:
            self._process = self._starting.result()
        except CancelledError:
            raise error("cancelled", "the call in which this happens has ended") from None
        except (OSError, EOFError, ValueError) as reason:
            told = (
                f"an interpreter could not be started ({type(reason).__name__}); `dspex code check` says why"
            )
            raise error("program_failed", told, details={"limit": "start"}, retryable=True) from None
        self.deno_process = self._process.popen

    def _write_message(self, message: str, context: str) -> None:
        try:
            super()._write_message(message, context)
        except ValueError as reason:  # the call is over, and the pipe closed
            self._raise_terminal_error(context, reason)

    def _read_response_line(self, context: str) -> str:
        assert self._process is not None
        try:
            return self._process.read_line(EXECUTION_S).strip()
        except TimeoutError:
            self._stop("time", f"it computed for more than {EXECUTION_S:.0f} s")
        except LineTooLongError:
            self._stop("output", f"it gave more than {MAX_LINE_BYTES} bytes at once")
        except EOFError:
            self._stop("process", f"its process ended, as it does when it needs more than {MEMORY_MB} MiB")

    def _stop(self, limit: str, what: str) -> NoReturn:
        self.end()
        raise error(
            "program_failed", f"the code that the model wrote was stopped: {what}", details={"limit": limit}
        )

    def _raise_terminal_error(self, message: str, cause: Exception | None = None) -> NoReturn:
        # DSPy's text may quote what the process wrote, and DSPy would wait for it to end by itself.
        self.end()
        raise CodeInterpreterError("the interpreter's process ended, or broke its protocol") from cause

    def invoke_tool(self, tool_name: str, kwargs: dict[str, Any]) -> Any:
        """Call a function of the host for the code.

        Raises:
            CodeInterpreterError: for a sub-agent that reaches out of the sandbox.
        """
        if tool_name == CONSTRUCT_TOOL:
            check_sub_agent(kwargs)
        elif tool_name == CALL_TOOL:
            _check_sub_agent_call(kwargs)
        return super().invoke_tool(tool_name, kwargs)

    def shutdown(self) -> None:
        """End the session. Its process is killed, since it might not want to end."""
        self.end()
        if self._process is not None:
            self._process.close()
        self.deno_process = None
        self._owner_thread = None

    def end(self) -> None:
        """Kill the process, from any thread; who reads from it finds that it has ended."""
        self._session_ended = True
        if not self._starting.cancel():
            self._starting.add_done_callback(_close_started)


def _close_started(starting: Future[SandboxProcess]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        starting.result().close()


def check_sub_agent(asked: Mapping[str, Any]) -> None:
    """Let code build only what cannot run anything here.

    DSPy builds it in the worker, and imports there what a signature names as a type. So the signature
    must be one that our own parser takes, and of options there are those that choose nothing of Python's.

    Raises:
        CodeInterpreterError: which the code gets as an exception.
    """
    signature = asked.get("signature")
    if isinstance(signature, dict) and signature.get(SIGNATURE_MARKER):
        signature = signature.get("signature")
    if not isinstance(signature, str):
        raise CodeInterpreterError("the signature of a sub-agent is a string")
    try:
        normalize(signature)
    except DSPexError as refusal:
        raise CodeInterpreterError(refusal.message) from None
    options = asked.get("kwargs") or {}
    unknown = sorted(set(options) - _SUB_AGENT_OPTIONS)
    if unknown:
        raise CodeInterpreterError(f"a sub-agent has no options {unknown}")


def _check_sub_agent_call(asked: Mapping[str, Any]) -> None:
    if "signature" in (asked.get("inputs") or {}):
        raise CodeInterpreterError("a sub-agent keeps the signature that it was built with")
