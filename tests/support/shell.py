"""The command `dspex` as somebody types it, with the code of this checkout."""

from __future__ import annotations

import os
import subprocess
import sys

FORGOTTEN = ("DSPEX_CONNECT", "MLFLOW_TRACKING_URI")
"""What whoever runs the tests may have set, and no command of theirs is to see."""


def run_dspex(command: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of its commands to the end; it has a minute."""
    known = {**os.environ, "DSPEX_LOG_LEVEL": "error", **environment}
    for name in FORGOTTEN:
        known.pop(name, None)
    return subprocess.run(
        [sys.executable, "-m", "dspex_pool", command, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=known,
    )
