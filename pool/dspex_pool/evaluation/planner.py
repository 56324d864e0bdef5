"""From an `evaluation.run` to its plan: a new evaluation, or one that goes on from where it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final, Protocol

from dspex_pool.batch_plan import MAX_ROWS, Plan, Settings
from dspex_pool.datasets.reader import Reader as DatasetReader
from dspex_pool.datasets.selections import Selection, rows_of
from dspex_pool.experiments import evaluation_runs
from dspex_pool.experiments.chronicle import Chronicle
from dspex_pool.experiments.shelf import Shelf as Experiments
from dspex_pool.library.failures import told
from dspex_pool.library.heavy import worked_out
from dspex_pool.library.library import Library
from dspex_pool.library.names import Reference
from dspex_pool.store import Change, Conflict, Put
from dspex_protocol import DSPexError, encode_value, invalid_argument
from dspex_protocol.slices import join_map

from . import records
from .examples import Examples, Place, ReadRows
from .figures import Figures
from .reader import Known, Reader
from .records import Head, Request
from .refusals import another_experiment, contended, evaluation_exists
from .request import CHECK_METHOD, Asked, read_request
from .run import EndedPlan, EvaluationPlan
from .writer import Writer

if TYPE_CHECKING:
    from dspex_pool.calls import Call
    from dspex_pool.datasets.records import Version
    from dspex_pool.library.shelf import Held
    from dspex_pool.ports import Stored

TRIES: Final = 20
"""To be the one who goes on with an evaluation, where another run is still writing to it."""

BYTES_FOR_ONE_ROW: Final = 64
"""Finding the place of a row takes as long as working on some bytes."""


class Ask(Protocol):
    """Has a worker do something for a call; `stored_calls.StoredCalls.ask` is it."""

    def __call__(
        self, outer: Call, method: str, payload: bytes, record: Held | None = None
    ) -> Awaitable[bytes]:
        """See there."""
        ...


class Planner:
    """Makes plans.

    Args:
        stored: The store, new ids, the wall clock, and where what computes for long is done.
        library: Stored programs.
        ask: Has a worker check what is asked for.
    """

    def __init__(self, stored: Stored, library: Library, ask: Ask) -> None:
        self._stored = stored
        self._store = stored.store
        self._apart = stored.tasks.apart
        self._library = library
        self._ask = ask
        self._datasets = DatasetReader(stored.store)
        self._reader = Reader(stored.store, stored.tasks.apart)
        self._experiments = Experiments(stored.store, new_id=stored.new_id, wall_ms=stored.wall_ms)
        self._chronicle = Chronicle(stored)

    async def plan(self, call: Call) -> Plan:
        """The plan of a call.

        Raises:
            DSPexError: `invalid_argument`, `evaluation_exists`, `unknown_dataset`, …; a `store_…` code.
        """
        asked = await worked_out(self._apart, len(call.payload), lambda: read_request(call))
        if asked.evaluation is None:
            asked = replace(asked, evaluation=f"evaluation-{self._stored.new_id()}")
        known = await self._known(asked)
        if known is not None and known.head.state == records.DONE and not asked.again:
            return EndedPlan(*await self._reader.whole(known.head.evaluation), asked.settings)
        version = await self._version(asked, known)
        wanted = await self._wanted(asked, version)
        await self._find_program(call, known)
        asked = _with_keys(asked, version)
        await self._ask(call, CHECK_METHOD, join_map(asked.shared), call.record)
        call.begin_effects()
        request = Request(metrics=asked.metrics, spec=asked.spec)
        known = await self._begun(call, asked, known, version, len(wanted), request)
        figures = Figures(known.head)
        await self._recall(known.head, figures)
        return await self._going_on(asked, known, figures, wanted, version, request)

    async def _known(self, asked: Asked) -> Known | None:
        assert asked.evaluation is not None
        known = await self._reader.known(asked.evaluation)
        if known is not None and known.head.digest != asked.digest:
            raise evaluation_exists(asked.evaluation)
        if known is not None and asked.experiment not in (None, known.head.experiment):
            raise another_experiment(known.head.experiment, asked.experiment)
        return known

    async def _version(self, asked: Asked, known: Known | None) -> Version | None:
        """The dataset's version; where none is named, the one that the evaluation was begun on."""
        if asked.on is None:
            return None
        number = asked.on.version if known is None else known.head.dataset_version
        return (await self._datasets.version(asked.on.dataset, number))[1]

    async def _wanted(self, asked: Asked, version: Version | None) -> Sequence[int]:
        if version is None:
            return range(len(asked.rows))
        total = version.contents.rows
        select = (None if asked.on is None else asked.on.select) or Selection()
        wanted = await worked_out(self._apart, total * BYTES_FOR_ONE_ROW, lambda: rows_of(select, total))
        if len(wanted) > MAX_ROWS:
            raise invalid_argument("dataset.select", f"at most {MAX_ROWS} rows", f"{len(wanted)} rows")
        return wanted

    async def _find_program(self, call: Call, known: Known | None) -> None:
        """Go on with the version that the evaluation was begun with, where the call names none."""
        if known is None or known.head.program is None or known.head.version is None:
            return
        if call.record is None or call.record[1] != known.head.version:
            reference = Reference(known.head.program, known.head.version)
            call.record = self._library.find(reference) or await self._library.fetch(reference)

    async def _begun(
        self,
        call: Call,
        asked: Asked,
        known: Known | None,
        version: Version | None,
        rows: int,
        request: Request,
    ) -> Known:
        """The head as this run has made it; whoever ran the evaluation before does so no more.

        Raises:
            DSPexError: `evaluation_exists` when somebody else has begun another one meanwhile.
        """
        assert asked.evaluation is not None
        for _ in range(TRIES):
            if known is None:
                head, run = await self._with_run(self._new_head(call, asked, version, rows), asked)
                begun = await self._put(head, 0, request, run)
            else:
                head, run = await self._going_on_in(known.head, asked)
                head = replace(head, attempt=head.attempt + 1, state=records.RUNNING, ended_ms=None)
                begun = await self._put(head, known.revision, None, run)
            if begun is not None:
                return begun
            known = await self._known(asked)
        raise contended(asked.evaluation)

    async def _with_run(self, head: Head, asked: Asked) -> tuple[Head, list[Change]]:
        """The head with the run that tells of it, which begins with it or not at all."""
        if asked.experiment is None:
            return head, []
        first = evaluation_runs.beginning_of(head, asked.params)
        begun = await self._experiments.beginning(asked.experiment, None, first)
        return replace(head, experiment=asked.experiment, run=begun.run), begun.changes

    async def _going_on_in(self, head: Head, asked: Asked) -> tuple[Head, list[Change]]:
        """One that has ended has told so, and its run has ended: it goes on in another one."""
        if head.state == records.RUNNING or head.experiment is None or head.run is None:
            return head, []
        await self._chronicle.close_evaluation(head)
        if asked.experiment is not None:
            return await self._with_run(head, asked)
        try:
            before = (await self._experiments.run(head.experiment, head.run)).run
        except DSPexError as gone:
            if gone.code != "unknown_experiment":
                raise
            return head, []  # who has deleted its run wants none
        return await self._with_run(head, replace(asked, experiment=head.experiment, params=before.params))

    async def _put(
        self, head: Head, expect: int, request: Request | None, run: Sequence[Change]
    ) -> Known | None:
        changes: list[Change] = [
            Put(key=records.head_key(head.evaluation), body=records.write_head(head), expect=expect)
        ]
        if request is not None:
            body = records.write_request(head.evaluation, request)
            changes.append(Put(key=records.request_key(head.evaluation), body=body))
        changes += run
        try:
            with told:
                revision, *_ = await self._store.commit(changes)
        except Conflict:
            return None
        return Known(head, revision)

    def _new_head(self, call: Call, asked: Asked, version: Version | None, rows: int) -> Head:
        assert asked.evaluation is not None
        select = None if asked.on is None else asked.on.select
        return Head(
            evaluation=asked.evaluation,
            digest=asked.digest,
            attempt=1,
            program=None if call.record is None else call.record[0],
            version=None if call.record is None else call.record[1],
            dataset=None if version is None else version.dataset,
            dataset_version=None if version is None else version.version,
            select=None if select is None else asdict(select),
            checksum=asked.checksum if version is None else version.checksum,
            metrics=list(asked.metrics),
            failure_score=asked.failure_score,
            lm=asked.lm,
            note=asked.note,
            state=records.RUNNING,
            rows=rows,
            journal=self._stored.new_id(),
            created_ms=self._stored.wall_ms(),
        )

    async def _recall(self, head: Head, figures: Figures) -> None:
        for found in await self._reader.facts(head):
            figures.know(found.fact)

    async def _going_on(
        self,
        asked: Asked,
        known: Known,
        figures: Figures,
        wanted: Sequence[int],
        version: Version | None,
        request: Request,
    ) -> Plan:
        places = await worked_out(
            self._apart,
            len(wanted) * BYTES_FOR_ONE_ROW,
            lambda: _places(wanted, figures, again=asked.again),
        )
        read = ReadRows(asked.rows, self._datasets, version)

        def writer(written: Callable[[], None], fail: Callable[[DSPexError], None]) -> Writer:
            return Writer(
                self._store,
                self._stored.tasks,
                self._reader,
                known,
                figures,
                written=written,
                fail=fail,
            )

        return EvaluationPlan(
            known.head,
            request,
            asked.shared,
            _settings(asked.settings, 0 if asked.again else known.head.failed),
            Examples(places, self._stored.tasks, read),
            figures,
            self._stored,
            writer,
        )


def _with_keys(asked: Asked, version: Version | None) -> Asked:
    """With the fields that the program may be given, where a dataset declares them."""
    if version is None:
        return asked
    keys = encode_value(version.contents.input_keys)
    return replace(asked, shared={**asked.shared, "input_keys": keys})


def _settings(settings: Settings, failed: int) -> Settings:
    """Rows that have failed in earlier runs count too."""
    if settings.max_errors is None:
        return settings
    return replace(settings, max_errors=max(0, settings.max_errors - failed))


def _places(wanted: Sequence[int], figures: Figures, *, again: bool) -> list[Place]:
    left = [Place(index, row) for index, row in enumerate(wanted) if figures.is_wanted(index, again=again)]
    return sorted(left, key=lambda place: place.row)
