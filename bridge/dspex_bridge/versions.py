"""Which versions this worker is of: a job that goes on under others may come to something else."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import dspy


def _own_version() -> str:
    try:
        return version("dspex")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"


# Read once, in the zygote: the first is in a file, and a hello must not fail because none can be opened.
VERSIONS: Final[Mapping[str, str]] = {"dspex": _own_version(), "dspy": str(dspy.__version__)}
