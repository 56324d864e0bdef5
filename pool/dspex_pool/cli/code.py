"""`dspex code`: the bridge's own command, as `dspex sim-lm` is."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from dspex_pool.spawning import BRIDGE


def run(arguments: list[str]) -> NoReturn:
    """Become the bridge's process; its flags, signals and exit code are this command's."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(BRIDGE[0], [*BRIDGE, "code", *arguments])  # noqa: S606  (a shell would be in the way)
