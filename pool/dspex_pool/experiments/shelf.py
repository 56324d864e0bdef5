"""Where experiments are: their records and journals, read and changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, cast

from dspex_pool.library.failures import told
from dspex_pool.library.scanning import Scanned, scan_page
from dspex_pool.library.writes import Write, first_detail, remember, write_key
from dspex_pool.store import Append, Change, Conflict, Delete, Drop, Put, Record, Store
from dspex_protocol import decode_value

from . import records
from .records import Artifact, Head, Run
from .refusals import contended, damaged, run_exists, unknown_experiment, unknown_run

TRIES: Final = 20
"""A change is made again on whatever is there now, so often."""
SCANNED: Final = 200
"""Records that are read at a time."""
REMOVED: Final = 100
"""Runs that are removed at a time, with two journals each."""

Changing = Callable[[Run], tuple[Run, Sequence[Append]]]
"""What becomes of a run, and the entries that go with that."""


class Found(NamedTuple):
    """A run, and the revision of its record."""

    run: Run
    revision: int


class Beginning(NamedTuple):
    """A run that is not begun yet: its id, and the changes that make it, to be committed together."""

    run: str
    changes: list[Change]


class Shelf:
    """Reads and writes. Every coroutine raises a DSPexError with a `store_…` code when the store fails.

    Args:
        store: Where they are.
        new_id: Makes an id that nobody else has made.
        wall_ms: The wall clock in milliseconds, for people.
    """

    def __init__(self, store: Store, *, new_id: Callable[[], str], wall_ms: Callable[[], int]) -> None:
        self._store = store
        self._new_id = new_id
        self._wall_ms = wall_ms

    # Changes

    async def made(self, write: Write | None, operation: str) -> str | None:
        """What was answered when that write was made; None when it was not.

        Raises:
            DSPexError: `write_id_reused`.
        """
        if write is None:
            return None
        with told:
            (record,) = await self._store.get([write_key(write.id)])
        return None if record is None else first_detail(write, operation, record.body).decode()

    async def begin(self, experiment: str, run: str | None, first: Changing, write: Write | None) -> str:
        """Begin a run; its id.

        Raises:
            DSPexError: `invalid_argument` when there is one of that id.
        """
        for _ in range(TRIES):
            known = await self.made(write, "experiment.begin")
            if known is not None:
                return known
            name, changes = await self.beginning(experiment, run, first)
            if await self._commit(changes, write, "experiment.begin", name):
                return name
        raise contended(experiment)

    async def beginning(self, experiment: str, run: str | None, first: Changing) -> Beginning:
        """What begins a run, for who commits it with changes of its own; again where that is a conflict.

        Raises:
            DSPexError: as `begin`.
        """
        head, revision = await self._head(experiment)
        now_ms = self._wall_ms()
        if head is None:
            head = Head(experiment=experiment, begun=0, created_ms=now_ms, updated_ms=now_ms)
        head = replace(head, begun=head.begun + 1, updated_ms=now_ms)
        name = run or f"run-{head.begun}"
        if await self._find(experiment, name) is not None:
            if run is not None:
                raise run_exists(name)
            name = self._new_id()
        made, entries = first(
            Run(
                experiment=experiment,
                run=name,
                number=head.begun,
                state="open",
                journals=self._new_id(),
                note=None,
                created_ms=now_ms,
            )
        )
        put = Put(key=records.head_key(experiment), body=records.write_head(head), expect=revision)
        return Beginning(name, [put, *_of_run(made, 0, entries)])

    async def change(
        self, experiment: str, run: str, change: Changing, write: Write | None, operation: str
    ) -> None:
        """Change a run.

        Raises:
            DSPexError: `unknown_experiment`, and what `change` raises.
        """
        for _ in range(TRIES):
            if await self.made(write, operation) is not None:
                return
            found = await self.run(experiment, run)
            made, entries = change(found.run)
            if await self._commit(_of_run(made, found.revision, entries), write, operation, run):
                return
        raise contended(experiment)

    async def delete_run(self, experiment: str, run: str) -> None:
        """Forget a run; no error when there is none."""
        for _ in range(TRIES):
            found = await self._find(experiment, run)
            if found is None or await self._commit(_removal(found), None, "", ""):
                return
        raise contended(experiment)

    async def delete(self, experiment: str) -> None:
        """Forget an experiment with all its runs; no error when there is none."""
        for _ in range(TRIES):
            head, revision = await self._head(experiment)
            await self._delete_runs(experiment)
            if head is None:
                return
            gone = Delete(key=records.head_key(experiment), expect=revision)
            if await self._commit([gone], None, "", ""):
                return
        raise contended(experiment)

    async def _delete_runs(self, experiment: str) -> None:
        while found := await self._some_runs(experiment, "", REMOVED):
            await self._commit([change for one in found for change in _removal(one)], None, "", "")

    async def _commit(self, changes: list[Change], write: Write | None, operation: str, answer: str) -> bool:
        """Make all of it happen, or nothing: False when something else is there than was read."""
        if write is not None:
            changes.append(remember(write, operation, None, answer.encode()))
        try:
            with told:
                await self._store.commit(changes)
        except Conflict:
            return False
        return True

    # What there is

    async def _head(self, experiment: str) -> tuple[Head | None, int]:
        with told:
            (record,) = await self._store.get([records.head_key(experiment)])
        return (None, 0) if record is None else (records.read_head(experiment, record.body), record.revision)

    async def _find(self, experiment: str, run: str) -> Found | None:
        key = records.run_key(experiment, run)
        with told:
            (record,) = await self._store.get([key])
        return None if record is None else Found(records.read_run(key, record.body), record.revision)

    async def run(self, experiment: str, run: str) -> Found:
        """A run.

        Raises:
            DSPexError: `unknown_experiment`.
        """
        found = await self._find(experiment, run)
        if found is not None:
            return found
        head, _ = await self._head(experiment)
        raise unknown_experiment(experiment) if head is None else unknown_run(experiment, run)

    async def runs(self, experiment: str) -> list[Run]:
        """All runs of an experiment, by id.

        Raises:
            DSPexError: `unknown_experiment`.
        """
        head, _ = await self._head(experiment)
        if head is None:
            raise unknown_experiment(experiment)
        runs: list[Run] = []
        after = ""
        while found := await self._some_runs(experiment, after, SCANNED):
            runs += [one.run for one in found]
            after = records.run_key(experiment, found[-1].run.run).id
        return runs

    async def _some_runs(self, experiment: str, after: str, limit: int) -> list[Found]:
        prefix = records.prefix_of(experiment)
        with told:
            found = await self._store.scan(records.RUN, prefix=prefix, after=after, limit=limit)
        return [Found(records.read_run(one.key, one.body), one.revision) for one in found]

    async def page(self, prefix: str, after: str, limit: int) -> Scanned[Head]:
        """A page of experiments by id."""

        def read(record: Record) -> Head:
            return records.read_head(record.key.id, record.body)

        return await scan_page(self._store, records.HEAD, read, prefix=prefix, after=after, limit=limit)

    async def points(
        self, run: Run, metric: str | None, after: int, limit: int
    ) -> tuple[list[list[object]], int | None]:
        """Values of metrics by the entries that have them, and the entry after which the next page begins."""
        rows: list[list[object]] = []
        while len(rows) < limit and after < run.entries:
            with told:
                found = await self._store.entries(run.points_journal, after=after, limit=SCANNED)
            if not found:
                raise damaged(run.experiment, f"values of run {run.run!r} are gone")
            for entry in found:
                said = cast("list[list[object]]", decode_value(entry.body))
                rows += [row for row in said if metric in (None, row[0])]
                after = entry.number
                if len(rows) >= limit:
                    break
        return rows, after if after < run.entries else None

    async def artifact(self, run: Run, artifact: Artifact) -> bytes:
        """The content of an artifact.

        Raises:
            DSPexError: `store_damaged`.
        """
        with told:
            found = await self._store.entries(run.artifacts_journal, after=artifact.entry - 1, limit=1)
        body = found[0].body if found else b""
        if hashlib.sha256(body).digest() != artifact.sha256:
            raise damaged(run.experiment, f"an artifact of run {run.run!r} is gone or changed")
        return body


def _of_run(run: Run, revision: int, entries: Sequence[Append]) -> list[Change]:
    key = records.run_key(run.experiment, run.run)
    return [Put(key=key, body=records.write_run(run), expect=revision), *entries]


def _removal(found: Found) -> list[Change]:
    run = found.run
    key = records.run_key(run.experiment, run.run)
    return [
        Delete(key=key, expect=found.revision),
        Drop(journal=run.points_journal),
        Drop(journal=run.artifacts_journal),
    ]
