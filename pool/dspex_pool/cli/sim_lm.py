"""`dspex sim-lm`: the bridge's offline models, as if its process had been started by hand."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from dspex_pool.spawning import BRIDGE


def run(arguments: list[str]) -> NoReturn:
    """Become the bridge's server; its flags, signals and exit code are this command's.

    The pool never imports the bridge, so it goes by command line. A child would need its
    signals passed on and could be left behind; this process replaced by it cannot.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(BRIDGE[0], [*BRIDGE, "sim-lm", *arguments])  # noqa: S606  (a shell would be in the way)
