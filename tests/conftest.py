"""What holds for every test: how Hypothesis runs, that nothing is left behind, which servers there are."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest
from hypothesis import settings

from tests.support.database_servers import PostgresServer, RedisServer

# No deadline: the machines that run this share their cores. In CI each run tries the same
# examples, so that a red run is about the change; other runs look further.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# No server of a test writes into its user's own file, unless the test is about that.
os.environ.setdefault("DSPEX_STORE", "memory")

# How long a child that was told to end may take to be gone, in seconds.
LEAVING_TIME_S = 2.0


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests first, so that processes that share out the files end together."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session", autouse=True)
def no_process_left() -> Iterator[None]:
    """After the last test none of our children is alive, nor a child of theirs."""
    before = set(psutil.Process().children(recursive=True))
    yield
    after = set(psutil.Process().children(recursive=True)) - before
    _, alive = psutil.wait_procs(list(after), timeout=LEAVING_TIME_S)
    assert [] == [(process.pid, process.name(), process.cmdline()) for process in alive]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis that all tests share, each in databases of its own."""
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that all tests share, each in databases of its own."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()
