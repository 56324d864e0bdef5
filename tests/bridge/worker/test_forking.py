"""What a fork would copy: random sources, open things, threads. Each child has its own, or there is none."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.servers import count

from dspex_pool.spawning import CHILD_ENVIRONMENT

CHILDREN = count("forked_children", 100)
ROOT = Path(__file__).parents[3]
HAS_NUMPY = importlib.util.find_spec("numpy") is not None


def run(*arguments: str) -> str:
    """A Python process in an environment such as the zygote's; what it printed."""
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | CHILD_ENVIRONMENT | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


def children_draw(number: int, *manner: str) -> list[dict[str, str]]:
    """What that many children of a real zygote drew."""
    lines = run("-m", "tests.support.drawing", str(number), *manner).splitlines()
    return [json.loads(line) for line in lines]


def repeated(draws: Sequence[dict[str, str]]) -> set[str]:
    """The sources that gave two children the same."""
    return {source for source in draws[0] if len({draw[source] for draw in draws}) < len(draws)}


@pytest.mark.slow
def test_no_two_children_draw_the_same() -> None:
    """Every child of a zygote ends, with random numbers and ids of its own."""
    draws = children_draw(CHILDREN)
    assert CHILDREN == len(draws)
    assert ({"numpy"} if HAS_NUMPY else set()) <= set(draws[0])
    assert set() == repeated(draws) - {"pid"}  # the kernel gives a pid again


@pytest.mark.slow
@pytest.mark.skipif(not HAS_NUMPY, reason="numpy has the only state that a fork copies")
def test_children_that_are_not_reseeded_are_found() -> None:
    """The planted defect: a zygote that leaves numpy's state as the fork copied it."""
    assert {"numpy", "pid"} >= repeated(children_draw(5, "careless")) > set()


CENSUS = """
import asyncio, concurrent.futures, gc, io, json, logging, os, random, socket, sqlite3, ssl, sys, threading
import dspy
from dspex_bridge.worker import preload
before = repr(vars(dspy.settings.copy()))
preload.run()
gc.collect()
things = gc.get_objects()
def of(*kinds): return sorted(type(thing).__name__ for thing in things if isinstance(thing, kinds))
loggers = [logging.root, *logging.root.manager.loggerDict.values()]
handlers = [handler for logger in loggers for handler in getattr(logger, "handlers", [])]
print(json.dumps({
    "random": of(random.Random),
    "numpy": sorted(name for name in sys.modules if name.startswith("numpy.random")),
    "open": of(socket.socket, sqlite3.Connection, ssl.SSLContext, asyncio.AbstractEventLoop),
    "files": sorted({thing.name for thing in things if isinstance(thing, io.FileIO)}),
    "threads": len(os.listdir("/proc/self/task")),
    "programs": of(dspy.Module, dspy.BaseLM),
    "settings": "unchanged" if repr(vars(dspy.settings.copy())) == before else "changed",
    "history": dspy.clients.base_lm.GLOBAL_HISTORY,
    "executors": of(concurrent.futures.Executor),
    "log_files": [repr(one) for one in handlers if isinstance(one, logging.FileHandler)],
    "other_handlers": [repr(one) for one in handlers if type(one).__module__ != "logging"],
}))
"""


@pytest.mark.slow
def test_nothing_is_open_before_a_fork() -> None:
    """A release of DSPy that opens, starts or seeds something at import is seen here; a warm-up too."""
    expected = {
        # `random` seeds its own anew; the system's has no state; aiohttp's masks what WebSockets send.
        "random": ["Random", "Random", "SystemRandom", "SystemRandom"],
        "numpy": [],
        "open": ["SSLContext", "SSLContext"],  # aiohttp's, without a session in them
        "files": ["<stderr>", "<stdin>", "<stdout>"],
        "threads": 1,
        "programs": [],
        "settings": "unchanged",
        "history": [],
        "executors": [],
        "log_files": [],
        "other_handlers": [],
    }
    assert expected == json.loads(run("-c", CENSUS))


UNHINTED = """
from dspex_bridge.worker import preload
preload.run()
from dspex_bridge.operations import OPERATIONS
from dspex_bridge.programs.records import read_record
from dspex_bridge.programs.sessions import read_checkpoint
from dspex_bridge.programs.state import load_state
from dspex_bridge.programs.upgrades import SCHEMA
from dspex_protocol import DSPexError, LMConfig, records
records.get_type_hints = None  # whoever reads hints now ends here
for operation in OPERATIONS.values():
    if operation.parameters is not None:
        records.describe(operation.parameters)
import dspy
for read in (
    lambda: read_record({"schema": SCHEMA}),
    lambda: read_checkpoint({}),
    lambda: load_state(dspy.Predict("q -> a"), {"self": {}}),
):
    try:
        read()
    except DSPexError as refusal:
        print(refusal.details["field"])
"""


@pytest.mark.slow
def test_no_worker_reads_the_hints_of_parameters() -> None:
    """The zygote has read them all: in a worker they would be a part of its first call's time."""
    fields = ["record.spec", "checkpoint.history", "state.self.instructions"]
    assert fields == run("-c", UNHINTED).splitlines()
