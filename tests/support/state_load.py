"""Load on what a store keeps, while something befalls the store; and what must hold of it then."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

from dspex_pool.client import Client
from dspex_pool.library import Library
from dspex_pool.store.sqlite import SqliteStore
from dspex_protocol import DSPexError

CHAT: Final = {"module": "Predict", "signature": "question, history: history -> answer"}
PLAIN: Final = {"module": "Predict", "signature": "question -> answer"}
RECORD: Final = Path(__file__).parents[1] / "golden" / "records" / "predict-plain.2.msgpack"
"""What a worker has made of `PLAIN`."""

INPUTS: Final = {"inputs": {"question": "?"}}
NEED_THE_STORE: Final[Sequence[tuple[str, object, dict[str, Any]]]] = [
    ("program.create", {"spec": PLAIN}, {"program": "p"}),
    ("program.get", {}, {"program": "p"}),
    ("program.list", {}, {}),
    ("program.delete", {}, {"program": "p"}),
    ("program.predict", INPUTS, {"program": "p"}),
    ("session.open", {}, {"program": "p"}),
    ("session.get", {}, {"session": "s"}),
    ("session.list", {}, {}),
    ("program.predict", INPUTS, {"session": "s"}),
]
"""Calls that cannot be answered without a store: method, payload and meta."""
CALLERS: Final = 4
PAUSE_S: Final = 0.005
"""Between two calls of a caller: the store is the matter here, and not how much a server can do."""

SLOW_S: Final = 0.5
"""A prediction waits a tenth of a second for a store that hangs, and no longer than its machine makes
it wait for anything."""

WRITE_S: Final = 3.0
"""A write fails within a second; the rest is for a machine that others use as well."""

BACK_S: Final = 5.0
"""A store is used again within two seconds, and so on."""


async def ends_in_time(call: Awaitable[object], within_s: float = WRITE_S) -> DSPexError | None:
    """How a call failed, if it did. It ends in time, whatever the store does."""
    began_s = time.monotonic()
    try:
        await call
    except DSPexError as failure:
        return failure
    else:
        return None
    finally:
        took_s = time.monotonic() - began_s
        assert took_s < within_s, f"it took {took_s:.1f} s"


async def comes_back(client: Client, method: str, payload: object, **meta: Any) -> None:
    """Call until there is no error of the store; that comes about in time."""
    end_s = time.monotonic() + BACK_S
    while (failure := await ends_in_time(client.call(method, payload, **meta))) is not None:
        assert failure.code.startswith(("store_", "session_busy")), failure
        assert time.monotonic() < end_s, f"still {failure}"
        await asyncio.sleep(0.02)


async def refusals_without_store(client: Client, code: str) -> list[DSPexError]:
    """One-shot predictions are made; whatever needs the store fails in time with that code."""
    assert await client.predict(PLAIN, {"question": "?"})
    failures = await asyncio.gather(
        *(ends_in_time(client.call(method, payload, **meta)) for method, payload, meta in NEED_THE_STORE)
    )
    refusals = [failure for failure in failures if failure is not None]
    assert [(code, False)] * len(NEED_THE_STORE) == [(one.code, one.maybe_executed) for one in refusals]
    for one in refusals:
        assert (code == "store_unavailable") == one.retryable == (one.retry_after_ms is not None)
    return refusals


async def store_versions(path: Path, **counts: int) -> None:
    """Write programs with so many versions into a file, as a server would have."""
    store = SqliteStore(path)
    await store.open()
    library = Library(store, clock=time.monotonic, wall_ms=lambda: 0, new_id=str)
    record = RECORD.read_bytes()
    for program, count in counts.items():
        await library.create(program, record)
        for base in range(1, count):
            await library.add(program, base=base, must_be_newest=True, content=record)
    await store.close()


class StateLoad:
    """Some who use a program, one who changes it, and one who talks to it in a session.

    Attributes:
        failed: Predictions with the stored program that failed, by code.
        predictions: How many there were.
        slow: How many of them took longer than `SLOW_S`.
        refusals: How the changes and turns failed that did.
        slowest_write_s: How long the longest of those calls took.
        changes: Note of each change that was acknowledged to the version that it made.
        turns: Questions of the turns that were acknowledged.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._going = True
        self.failed: Counter[str] = Counter()
        self.predictions = 0
        self.slow = 0
        self.refusals: list[DSPexError] = []
        self.slowest_write_s = 0.0
        self.changes: dict[str, int] = {}
        self.turns: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """All are at work inside; afterwards each has ended its last call."""
        await self._client.call("program.create", {"spec": PLAIN}, program="p")
        await self._client.call("program.create", {"spec": CHAT}, program="chat")
        await self._client.call("session.open", {}, program="chat", session="s")
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(self._use_on())
            group.create_task(self._change_on())
            group.create_task(self._talk_on())
            try:
                yield
            finally:
                self._going = False

    async def more(self, changes: int = 1, within_s: float = BACK_S) -> None:
        """Wait until so many further changes and turns have been acknowledged; that is soon.

        Raises:
            TimeoutError: when it is not.
        """
        wanted = len(self.changes) + changes, len(self.turns) + changes
        async with asyncio.timeout(within_s):
            while len(self.changes) < wanted[0] or len(self.turns) < wanted[1]:
                await asyncio.sleep(0.01)

    async def _use_on(self) -> None:
        while self._going:
            began_s = time.monotonic()
            try:
                await self._client.predict("p", {"question": "?"})
            except DSPexError as failure:
                self.failed[failure.code] += 1
            self.predictions += 1
            self.slow += time.monotonic() - began_s > SLOW_S
            await asyncio.sleep(PAUSE_S)

    async def _change_on(self) -> None:
        number = 0
        while self._going:
            number += 1
            made = await self._insist(
                "program.update", {"note": f"change {number}"}, program="p", write_id=f"w{number}"
            )
            if made is not None:
                self.changes[f"change {number}"] = cast("dict[str, int]", made)["version"]

    async def _talk_on(self) -> None:
        number = 0
        while self._going:
            number += 1
            question = f"question {number}"
            if await self._attempt("program.predict", {"inputs": {"question": question}}, session="s"):
                self.turns.append(question)

    async def _insist(self, method: str, payload: object, **meta: Any) -> object:
        """The answer of a call that is made until there is one; None when all is over before."""
        while self._going:
            made = await self._attempt(method, payload, **meta)
            if made is not None:
                return made
        return None

    async def _attempt(self, method: str, payload: object, **meta: Any) -> object:
        began_s = time.monotonic()
        try:
            return await self._client.call(method, payload, **meta)
        except DSPexError as failure:
            self.refusals.append(failure)
            return None
        finally:
            self.slowest_write_s = max(self.slowest_write_s, time.monotonic() - began_s)
            await asyncio.sleep(PAUSE_S)

    # What must hold

    def complaints(self) -> list[str]:
        """What was wrong while it ran.

        Predictions with a program that is known go on, and writes end in time, with a reason.
        """
        reasons = {"store_unavailable", "session_busy"}
        wrong = {
            "predictions failed": self.failed,
            "predictions were slow": self.slow > self.predictions / 20,
            "writes were late": self.slowest_write_s > WRITE_S,
            "writes failed otherwise": {failure.code for failure in self.refusals} - reasons,
            "nobody said when to come back": not all(one.retry_after_ms for one in self.refusals),
        }
        return [what for what, is_so in wrong.items() if is_so]

    async def losses(self) -> list[str]:
        """What is wrong with what is stored: nothing acknowledged is lost, and nothing was done twice."""
        made = await versions_by_note(self._client, "p")
        got = cast("dict[str, Any]", await self._client.call("session.get", {}, session="s"))
        said = [turn["question"] for turn in got["history"]]
        wrong = {
            "changes were lost": any(
                version not in made.get(note, []) for note, version in self.changes.items()
            ),
            "changes were made twice": any(len(versions) > 1 for versions in made.values()),
            "turns were lost": self.turns != [question for question in said if question in set(self.turns)],
            "turns were made twice": len(set(said)) < len(said),
        }
        return [what for what, is_so in wrong.items() if is_so]


async def versions_by_note(client: Client, program: str) -> dict[str, list[int]]:
    """All versions of a program by the note that they were made with."""
    made: dict[str, list[int]] = {}
    before: dict[str, int] = {}
    while True:
        page = cast(
            "dict[str, Any]",
            await client.call("program.versions", {"limit": 1000, **before}, program=program),
        )
        for row in page["versions"]:
            if row["lineage"]["note"] is not None:
                made.setdefault(row["lineage"]["note"], []).append(row["version"])
        if page["next"] is None:
            return made
        before = {"before": page["next"]}
