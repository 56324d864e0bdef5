"""What the commands' exit codes mean, in one place; docs/cli.md repeats it for users."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Final

OK: Final = 0
CALL_FAILED: Final = 1
"""The server answered with an error; for `doctor`: this machine cannot run DSPex."""
BAD_ARGUMENTS: Final = 2
NO_SERVER: Final = 3
"""There is no server or no worker to answer."""
INTERRUPTED: Final = 130
"""Ctrl-C, as shells have it: 128 and the signal's number."""
NOBODY_READS: Final = 141
"""The reader of stdout is gone (`dspex schema | head`), likewise."""

Command = Callable[[list[str]], int]


def exits_with_code(command: Command) -> Command:
    """Make every way out of a command an exit code: argparse's, Ctrl-C, a closed stdout."""

    @functools.wraps(command)
    def run(arguments: list[str]) -> int:
        try:
            code = command(arguments)
            sys.stdout.flush()
        except SystemExit as end:  # argparse, after --help or with its message on stderr
            return end.code if isinstance(end.code, int) else BAD_ARGUMENTS
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:
            _silence_stdout()
            return NOBODY_READS
        return code

    return run


def _silence_stdout() -> None:
    """Keep the interpreter's last flush from failing again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
