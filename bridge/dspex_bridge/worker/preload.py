"""What the zygote does once, so that no worker imports anything at its first prediction.

Measured on DSPy 3.4: without the imports the first prediction of a fork costs 39 ms, with
them some 10; what the predictions after them save stands in `warm_up.py`.
The names beyond `dspy` itself are DSPy's own late imports; those that a release has
renamed are passed over, since they cost time and nothing else.
"""

from __future__ import annotations

import asyncio
import importlib
import mimetypes
import sys
import traceback
from typing import Final

LATE_IMPORTS: Final = (
    "anyio._backends._asyncio",
    "cachetools",
    "difflib",
    "dspy.adapters.baml_adapter",
    "dspy.adapters.json_adapter",
    "dspy.adapters.xml_adapter",
    "dspy.clients.call_result",
    "dspy.clients.costs",
    "dspy.clients.engines.streaming",
    "dspy.clients.execution",
    "dspy.clients.model_metadata",
    "dspy.streaming",
    "uvloop",
)


def run() -> None:
    """Import the bridge, DSPy, and DSPy's late imports; then warm up."""
    importlib.import_module("dspex_bridge.worker.serve")
    for name in LATE_IMPORTS:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    mimetypes.init()  # reads the system's table, which the first prompt with an image asks for
    _warm_up()


def _warm_up() -> None:
    """What goes wrong is told on stderr, and left for the workers to meet."""
    from .warm_up import predict_all

    try:
        _read_type_hints()
        with asyncio.Runner() as runner:
            runner.run(predict_all())
    except Exception:
        # Workers do without it, only later; a zygote that gave up would leave none.
        sys.stderr.write("the zygote could not warm up:\n")
        traceback.print_exc()


def _read_type_hints() -> None:
    from dspex_protocol import records

    from ..operations import OPERATIONS
    from ..programs.records import Record
    from ..programs.sessions import Checkpoint
    from ..programs.state import PredictorState
    from ..sim import SimOptions

    for operation in OPERATIONS.values():
        if operation.parameters is not None:
            records.prepare(operation.parameters)
    for record in (Record, PredictorState, Checkpoint, SimOptions):
        records.prepare(record)
