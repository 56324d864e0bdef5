"""DSPy's own interpreter, as DSPy starts it; its processes serve one session after the other.

A process takes three seconds of CPU to start, which is most of what a session costs. What a session
leaves behind is swept: names, tools and modules made up by it. Files and what else it did stay, so
tests of that need processes of their own.
"""

from __future__ import annotations

import subprocess
from typing import ClassVar, Final

import dspy

from dspex_bridge.code.sandbox import FILES, deno_command, find_deno, prepared_folder, runner

_REMEMBER: Final = "import builtins\nbuiltins.names_at_first = set(globals()) - {'SUBMIT'}"
_SWEEP: Final = """
import builtins, sys
[globals().pop(name) for name in set(globals()) - builtins.names_at_first]
[sys.modules.pop(name) for name in set(sys.modules) - {"__main__"} if sys.modules[name].__spec__ is None]
"""


class PlainInterpreter(dspy.PythonInterpreter):  # type: ignore[misc]
    """As it is, but for the module that no registry has, and where its process comes from."""

    _idle: ClassVar[list[subprocess.Popen[str]]] = []
    deno_process: subprocess.Popen[str] | None
    _session_ended: bool

    def __init__(self) -> None:
        deno, folder = find_deno(), prepared_folder()
        assert deno is not None
        assert folder is not None
        command = deno_command(deno, folder, FILES, runner())
        super().__init__(deno_command=["env", f"DENO_DIR={folder}", *command])

    def _spawn_process(self) -> None:
        if self._idle:
            self.deno_process = self._idle.pop()
            return
        super()._spawn_process()
        self._send_request("execute", {"code": _REMEMBER}, "at the start")

    def shutdown(self) -> None:
        """End the session; its process serves another one, unless it came to an end."""
        process = self.deno_process
        if process is None or self._session_ended or process.poll() is not None:
            super().shutdown()
            return
        self._send_request("execute", {"code": _SWEEP}, "at the end")
        self.deno_process, self._session_ended = None, True
        self._idle.append(process)

    @classmethod
    def end_all(cls) -> None:
        """End the processes that serve nobody."""
        while cls._idle:
            with cls._idle.pop() as process:
                process.terminate()
