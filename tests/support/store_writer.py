"""A process that forks writers of a SQLite store and kills them: for `test_writer_kills.py`.

Each line on stdin is one order, as JSON. The forked writer has eight tasks; each makes one write
after the other, and says so on stdout when it is acknowledged: the number of the task, a space,
the number of the write. When the writer is gone, a line `gone` follows.

It has only this thread and imports only what a writer needs, so a fork takes a millisecond.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from dspex_pool.store import Append, Change, Key, Put
from dspex_pool.store import sqlite_servants as servants
from dspex_pool.store.sqlite import SqliteStore

TASKS = 8


def changes_of(round_: int, task: int, number: int) -> list[Change]:
    """One write. `write/<id>` is how it is known whether it was made: it expects none."""
    id_ = f"{round_}/{task}/{number}"
    body = random.Random(id_).randbytes(200 + 977 * (number % 5))
    return [
        Put(key=Key("write", id_), body=b"", expect=0),
        Put(key=Key("a", id_), body=body),
        Append(journal=f"log/{round_}/{task}", body=id_.encode()),
        Put(key=Key("b", id_), body=body),
    ]


async def write(store: SqliteStore, round_: int, task: int) -> None:
    """Write until the end."""
    number = 0
    while True:
        await store.commit(changes_of(round_, task, number))
        os.write(1, b"%d %d\n" % (task, number))
        number += 1


async def run(order: dict[str, Any], opened: int) -> None:
    """One writer; it writes to a pipe once it has opened the store."""
    servants.CHECKPOINT_BYTES = order["checkpoint_bytes"]  # type: ignore[misc]  # else they are rare
    store = SqliteStore(Path(order["path"]), timeout_s=60.0)
    await store.open()
    os.write(opened, b".")
    await asyncio.gather(*(write(store, order["round"], task) for task in range(TASKS)))


def main() -> None:
    """Carry out orders until stdin ends."""
    for line in sys.stdin:
        order = json.loads(line)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            asyncio.run(run(order, writer))
        os.close(writer)
        if order["is_open"]:
            os.read(reader, 1)
        os.close(reader)
        time.sleep(order["after_s"])
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.write(1, b"gone\n" if os.WIFSIGNALED(status) else b"ended by itself\n")


if __name__ == "__main__":
    main()
