"""The methods about evaluations that there are: what each does with the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dspex_pool.experiments.chronicle import Chronicle
from dspex_pool.library.failures import told
from dspex_pool.library.names import check_prefix, check_program
from dspex_pool.ports import Stored
from dspex_pool.program_methods import Encoded, Handler, parameters
from dspex_pool.store import Conflict, Delete, Drop
from dspex_protocol import encode_value, error
from dspex_protocol.slices import join_array, join_map

from . import records
from .answers import evaluation_answer, evaluation_row
from .clusters import Clusters
from .comparison import Comparison, Side, check_rows, shared_metrics
from .lately import Lately
from .operations import (
    CompareEvaluations,
    FindFailures,
    GetEvaluationRows,
    ListEvaluations,
    NamedEvaluation,
)
from .reader import Found, Reader, Wanted
from .records import Head
from .refusals import contended, unknown_evaluation

if TYPE_CHECKING:
    from dspex_pool.calls import Call

TRIES = 20
"""To delete an evaluation that is being run meanwhile."""


class EvaluationMethods:
    """Answers calls about evaluations.

    Args:
        stored: The store, and where what computes for long is done.

    Attributes:
        reader: Reads them.
        lately: Has what was read lately.
    """

    def __init__(self, stored: Stored) -> None:
        self._store = stored.store
        self._apart = stored.tasks.apart
        self.reader = Reader(stored.store, self._apart)
        self.lately = Lately(self.reader, self._apart)
        self._chronicle = Chronicle(stored)

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """What answers each method."""
        return {
            "evaluation.get": self._get,
            "evaluation.list": self._list,
            "evaluation.rows": self._rows,
            "evaluation.compare": self._compare,
            "evaluation.failures": self._failures,
            "evaluation.delete": self._delete,
        }

    async def _get(self, call: Call) -> object:
        return evaluation_answer(
            *await self.reader.whole(_named(parameters(NamedEvaluation, call).evaluation))
        )

    async def _list(self, call: Call) -> object:
        wish = parameters(ListEvaluations, call)
        check_prefix(wish.prefix)
        check_prefix(wish.after, "after")
        wanted = Wanted(wish.program, wish.dataset)
        page = await self.reader.page(wish.prefix, wish.after, wish.limit, wanted)
        answer: dict[str, object] = {
            "evaluations": [evaluation_row(head) for head in page.found],
            "next": page.next,
        }
        return answer | ({"unreadable": page.unreadable} if page.unreadable else {})

    async def _rows(self, call: Call) -> object:
        wish = parameters(GetEvaluationRows, call)
        head = await self.reader.head(_named(wish.evaluation))
        found = await self.lately.chosen(wish, head)
        rows = await self.reader.rows(head, found[wish.offset : wish.offset + wish.limit])
        end = wish.offset + len(rows)
        said = {
            "evaluation": head.evaluation,
            "total": len(found),
            "next": end if end < len(found) else None,
        }
        encoded = {key: encode_value(value) for key, value in said.items()}
        return Encoded(join_map({**encoded, "rows": join_array(rows)}))

    async def _compare(self, call: Call) -> object:
        return Encoded(await self.compare(parameters(CompareEvaluations, call), call))

    async def compare(self, wish: CompareEvaluations, call: Call) -> bytes:
        """The answer to `evaluation.compare`, encoded.

        Args:
            wish: What is compared, and how.
            call: For whom.

        Raises:
            DSPexError: `invalid_argument`, `unknown_evaluation`; `cancelled` when the call has ended.
        """
        whole = [await self.reader.whole(_named(one, "evaluations")) for one in wish.evaluations]
        check_rows([head for head, _ in whole])
        sides = [
            Side(head=head, request=request, facts=await self.lately.facts(head)) for head, request in whole
        ]
        metrics, left_out = shared_metrics(wish, sides)
        comparison = await self._apart(lambda: Comparison(wish, sides, metrics))
        for piece in comparison.pieces():
            await self._apart(piece)
            if call.caller is None:  # nobody waits for it any more
                raise error("cancelled", "the call has ended")
        return await self._apart(lambda: encode_value(_comparison_answer(wish, sides, comparison, left_out)))

    async def _failures(self, call: Call) -> object:
        return await self.failures(parameters(FindFailures, call))

    async def failures(self, wish: FindFailures) -> dict[str, object]:
        """The answer to `evaluation.failures`.

        Raises:
            DSPexError: `unknown_evaluation`.
        """
        head = await self.reader.head(_named(wish.evaluation))
        facts = await self.lately.facts(head)
        clusters = Clusters(wish.below)
        worth = await self._apart(lambda: _by_entry(clusters, facts))
        after = 0
        while entries := await self.reader.every(head, after):
            after = entries[-1][0]
            await self._apart(lambda entries=entries: _add_all(clusters, entries, worth))  # type: ignore[misc]
        return {"evaluation": head.evaluation, **clusters.told(wish.limit, len(facts))}

    async def _delete(self, call: Call) -> object:
        evaluation = _named(parameters(NamedEvaluation, call).evaluation)
        for _ in range(TRIES):
            known = await self.reader.known(evaluation)
            if known is None:
                raise unknown_evaluation(evaluation)
            call.begin_effects()
            await self._chronicle.close_evaluation(known.head)
            if await self._forget(known.head, known.revision):
                return None
        raise contended(evaluation)

    async def _forget(self, head: Head, revision: int) -> bool:
        try:
            with told:
                await self._store.commit(
                    [
                        Delete(key=records.head_key(head.evaluation), expect=revision),
                        Delete(key=records.request_key(head.evaluation)),
                        *(
                            Drop(journal=records.journal_of(kind, head))
                            for kind in (records.ROWS, records.FACTS)
                        ),
                    ]
                )
        except Conflict:
            return False
        return True


def _named(evaluation: str, field: str = "evaluation") -> str:
    return check_program(evaluation, field)


def _by_entry(clusters: Clusters, facts: Sequence[Found]) -> dict[int, list[int]]:
    """Of each entry the places of the rows that are worth reading."""
    worth: dict[int, list[int]] = {}
    for found in facts:
        if clusters.may_fail(found.fact):
            worth.setdefault(found.entry, []).append(found.place)
    return worth


def _add_all(
    clusters: Clusters, entries: Sequence[tuple[int, list[bytes]]], worth: Mapping[int, Sequence[int]]
) -> None:
    for number, rows in entries:
        for place in worth.get(number, ()):
            if place < len(rows):
                clusters.add(records.decoded(rows[place]))


def _comparison_answer(
    wish: CompareEvaluations, sides: Sequence[Side], comparison: Comparison, left_out: Sequence[str]
) -> dict[str, object]:
    first = sides[0].head
    return {
        "evaluations": [
            {
                "evaluation": side.head.evaluation,
                "program": side.head.program,
                "version": side.head.version,
                "scores": side.head.scores,
            }
            for side in sides
        ],
        "metrics": comparison.metrics(),
        "left_out": list(left_out),
        "rows": comparison.rows() if wish.rows else [],
        "dataset": first.dataset,
        "dataset_version": first.dataset_version,
        "select": first.select,
        "seed": wish.seed,
        "resamples": wish.resamples,
        "confidence": wish.confidence,
        "comparisons": comparison.comparisons,
    }
