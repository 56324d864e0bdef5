"""`python -m dspex_pool` and the `dspex` command: which command, and nothing imported for the others."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Final

COMMANDS: Final = {
    "serve": "speak frames on stdin and stdout; what clients start",
    "call": "call one method and print the result",
    "batch": "run a program on every row of a file",
    "dataset": "store rows of files, list, look at and share them out",
    "evaluate": "measure a program on every row of a file or a dataset",
    "optimize": "have one of DSPy's optimizers make a better program",
    "report": "write what came of evaluations, jobs and experiments, for people to read",
    "jobs": "list, look at, follow and cancel what runs for hours",
    "experiment": "list and look at experiments and their runs, and export them to MLflow",
    "top": "show a server's workers, queue, jobs and clients live",
    "ps": "print the workers of a server",
    "recycle": "replace workers of a server without losing a call",
    "drain": "end a server when its open calls have ended",
    "lm": "list a server's language models, try them, and tell what they have cost",
    "doctor": "tell whether this machine can run DSPex, and what to do if not",
    "code": "prepare the sandbox for code that a model writes, or check it",
    "schema": "print every method with its parameters",
    "graph": "draw what a program is made of, as Mermaid or SVG",
    "sim-lm": "serve offline models over an OpenAI-compatible HTTP endpoint",
    "state": "look at what a store holds, take it out and in, check and repair it",
    "config": "print the settings and where each came from",
}


def main() -> None:
    """Run a command and exit with its code."""
    code = run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Daemon threads may be in a system call; there is nothing that waiting would save.
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Run a command.

    Returns:
        Its exit code; 2 when there is no such command.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"dspex: there is no command {name!r}\n\n{usage()}", end="", file=sys.stderr)
        return 2
    command = importlib.import_module(f"dspex_pool.cli.{name.replace('-', '_')}")
    code: int = command.run(rest)
    return code


def usage() -> str:
    """The commands, one a line."""
    lines = [f"  {name:<10}{what}" for name, what in COMMANDS.items()]
    return "usage: dspex COMMAND …\n\n" + "\n".join(lines) + "\n\n`dspex COMMAND --help` tells more.\n"


if __name__ == "__main__":
    main()
