"""DSPy's own interpreter, as DSPy starts it."""

from __future__ import annotations

import dspy

from dspex_bridge.code.sandbox import FILES, deno_command, find_deno, prepared_folder, runner


class PlainInterpreter(dspy.PythonInterpreter):  # type: ignore[misc]
    """As it is, but for the module that no registry has."""

    def __init__(self) -> None:
        deno, folder = find_deno(), prepared_folder()
        assert deno is not None
        assert folder is not None
        command = deno_command(deno, folder, FILES, runner())
        super().__init__(deno_command=["env", f"DENO_DIR={folder}", *command])
