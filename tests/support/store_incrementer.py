"""A process that adds to a number in a SQLite store, beside others: for `test_sqlite_processes.py`.

It says `ready`, waits for a line on stdin, and then opens the file: all of them at once. At the
end it prints how often another one was first, and its slowest operation in seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from dspex_pool.store import Append, Change, Conflict, Key, Put
from dspex_pool.store.sqlite import SqliteStore

NUMBER = Key("number", "n")


async def run(path: Path, times: int) -> None:
    store = SqliteStore(path, timeout_s=60.0)
    await store.open()
    conflicts, slowest_s = 0, 0.0
    while times:
        begin_s = time.monotonic()
        (record,) = await store.get([NUMBER])
        now, revision = (int(record.body), record.revision) if record else (0, 0)
        add: list[Change] = [
            Put(key=NUMBER, body=b"%d" % (now + 1), expect=revision),
            Append(journal="j", body=b"", after=now),
        ]
        try:
            await store.commit(add)
        except Conflict:
            conflicts += 1
        else:
            times -= 1
        slowest_s = max(slowest_s, time.monotonic() - begin_s)
    await store.close()
    print(json.dumps({"conflicts": conflicts, "slowest_s": slowest_s}))


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))
