"""Every backend against a few dictionaries: any sequence of operations, the same answers.

Time stands still in it: what ends with time is in `test_records.py` and `test_leases.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from tests.support.servers import count
from tests.support.stores import LONG_S, NewPlace

from dspex_pool.store import (
    Append,
    Change,
    Conflict,
    Delete,
    Drop,
    Entry,
    Fence,
    Fenced,
    Held,
    Key,
    Lease,
    Put,
    Record,
)

Answer = TypeVar("Answer")

IDS = ("a", "a%", "ab", "b", "é", "🦀", "A", "a\U0010ffff")
KEYS = [Key(collection, id_) for collection in ("x", "y") for id_ in IDS]
JOURNALS = ("j", "j/1")
NAMES = ("s", "t")
OWNERS = ("me", "you")

Expectation = Literal["any", "right", "none", "wrong"]

keys = st.sampled_from(KEYS)
bodies = st.binary(max_size=8)
expectations: st.SearchStrategy[Expectation] = st.sampled_from(
    ("any", "any", "right", "right", "none", "wrong")
)
wishes = st.one_of(
    st.tuples(st.just("put"), keys, expectations, bodies),
    st.tuples(st.just("delete"), keys, expectations, st.just(b"")),
    st.tuples(st.just("append"), st.sampled_from(JOURNALS), expectations, bodies),
    st.tuples(st.just("drop"), st.sampled_from(JOURNALS), st.just("any"), st.just(b"")),
)
commits = st.lists(
    wishes, min_size=1, max_size=6, unique_by=lambda wish: wish[1] if wish[1] in KEYS else object()
)


@dataclass
class Model:
    """What a store should hold. A key that was deleted may begin with any revision again."""

    records: dict[Key, tuple[int, bytes]] = field(default_factory=dict)
    journals: dict[str, list[bytes]] = field(default_factory=dict)

    def revision(self, key: Key) -> int:
        return self.records.get(key, (0, b""))[0]

    def last(self, journal: str) -> int:
        return len(self.journals.get(journal, []))

    def change(self, wish: tuple[str, Any, Expectation, bytes]) -> tuple[Change, int | None]:
        """Do what is wished for; the change that says so, and what is there where it does not fit."""
        kind, where, expectation, body = wish
        found = self.revision(where) if kind in {"put", "delete"} else self.last(where)
        expect = {"any": None, "right": found, "none": 0, "wrong": found + 3}[expectation]
        misfit = found if expect not in {None, found} else None
        match kind:
            case "put":
                self.records[where] = (found + 1, body)
                return Put(key=where, body=body, expect=expect), misfit
            case "delete":
                self.records.pop(where, None)
                return Delete(key=where, expect=expect), misfit
            case "append":
                self.journals.setdefault(where, []).append(body)
                return Append(journal=where, body=body, after=expect), misfit
            case _:
                self.journals.pop(where, None)
                return Drop(journal=where), None

    def number(self, change: Change) -> int:
        """What a change answers, once it is done."""
        match change:
            case Put(key=key):
                return self.revision(key)
            case Append(journal=journal):
                return self.last(journal)
            case _:
                return 0


def machine_on(new_place: NewPlace) -> type[RuleBasedStateMachine]:
    """The rules, on places of one backend."""

    class StoreMachine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.runner = asyncio.Runner()
            self.model = Model()
            self.leases: dict[str, Lease] = {}
            self.former: list[Lease] = []

        def run(self, answer: Coroutine[Any, Any, Answer]) -> Answer:
            return self.runner.run(answer)

        @initialize()
        def begin(self) -> None:
            self.place = new_place()
            self.store = self.place.build()
            self.run(self.store.open())

        @rule(wanted=commits, with_fence=st.booleans())
        def commit(self, wanted: list[Any], with_fence: bool) -> None:
            fences = [Fence(lease.name, lease.epoch) for lease in self.leases.values()] if with_fence else []
            changes, numbers, after, misfits = self.foresee(wanted)
            if misfits:
                assert misfits[0] == self.conflict_of(changes, fences)
                return
            answer = self.run(self.store.commit(changes, fences))
            for change, expected, got in zip(changes, numbers, answer, strict=True):
                if isinstance(change, Put) and not self.model.revision(change.key):
                    assert got >= 1  # it may have been there before
                    after.records[change.key] = (got, change.body)
                else:
                    assert expected == got
            self.model = after

        def foresee(self, wanted: list[Any]) -> tuple[list[Change], list[int], Model, list[Any]]:
            after = deepcopy(self.model)
            changes: list[Change] = []
            numbers: list[int] = []
            misfits: list[tuple[Any, int]] = []
            for wish in wanted:
                change, misfit = after.change(wish)
                changes.append(change)
                numbers.append(after.number(change))
                if misfit is not None:
                    misfits.append((wish[1], misfit))
            return changes, numbers, after, misfits

        def conflict_of(self, changes: list[Change], fences: list[Fence]) -> tuple[object, int]:
            try:
                self.run(self.store.commit(changes, fences))
            except Conflict as conflict:
                return conflict.key, conflict.found
            raise AssertionError("a conflict was expected")

        @rule(wanted=st.lists(keys, max_size=5))
        def get(self, wanted: list[Key]) -> None:
            there = self.model.records
            expected = [Record(key, *there[key]) if key in there else None for key in wanted]
            assert expected == self.run(self.store.get(wanted))

        @rule(
            collection=st.sampled_from(("x", "y")),
            prefix=st.sampled_from(("", "a", "a%", "é", "\U0010ffff")),
            after=st.sampled_from(("", *IDS, "aa")),
            limit=st.integers(1, 10),
            newest_first=st.booleans(),
        )
        def scan(self, collection: str, prefix: str, after: str, limit: int, newest_first: bool) -> None:
            there = sorted(key for key in self.model.records if key.collection == collection)
            if newest_first:
                there.reverse()
            rest = [key for key in there if not after or (key.id < after if newest_first else key.id > after)]
            expected = [key for key in rest if key.id.startswith(prefix)][:limit]
            answer = self.run(
                self.store.scan(
                    collection, prefix=prefix, after=after, limit=limit, newest_first=newest_first
                )
            )
            assert [Record(key, *self.model.records[key]) for key in expected] == answer

        @rule(journal=st.sampled_from(JOURNALS), after=st.integers(0, 6), limit=st.integers(1, 4))
        def entries(self, journal: str, after: int, limit: int) -> None:
            numbered = list(enumerate(self.model.journals.get(journal, []), 1))
            expected = [Entry(*one) for one in numbered if one[0] > after][:limit]
            assert expected == self.run(self.store.entries(journal, after=after, limit=limit))

        @rule(name=st.sampled_from(NAMES), owner=st.sampled_from(OWNERS))
        def lease(self, name: str, owner: str) -> None:
            held = self.leases.get(name)
            try:
                lease = self.run(self.store.lease(name, owner, LONG_S))
            except Held as refusal:
                assert held is not None
                assert held.owner == refusal.owner != owner
                return
            assert held is None or held == lease
            assert all(lease.epoch > one.epoch for one in self.former if one.name == name)
            self.leases[name] = lease

        @rule(name=st.sampled_from(NAMES))
        def release(self, name: str) -> None:
            lease = self.leases.pop(name, None)
            if lease is not None:
                self.run(self.store.release(lease))
                self.former.append(lease)

        @rule()
        def write_late(self) -> None:
            taken_since = [one for one in self.former if one.name in self.leases]
            if not taken_since:
                return
            late = taken_since[0]
            try:
                self.run(self.store.commit([Put(key=KEYS[0], body=b"late")], [Fence(late.name, late.epoch)]))
            except Fenced:
                return
            raise AssertionError("a former owner's write went through")

        @rule()
        def expire(self) -> None:
            assert 0 == self.run(self.store.expire())

        @rule()
        def open_again(self) -> None:
            self.run(self.store.close())
            self.store = self.place.build()
            self.run(self.store.open())

        def teardown(self) -> None:
            try:
                if hasattr(self, "place"):
                    self.run(self.store.close())
                    self.run(self.place.remove())
            finally:
                self.runner.close()

    return StoreMachine


def test_any_sequence_answers_as_the_model(new_place: Callable[[], Any]) -> None:
    """Commits, reads, lists, journals, leases and opening again, in any order."""
    examples = count("store_model", 30)
    run_state_machine_as_test(
        machine_on(new_place), settings=settings(max_examples=examples, stateful_step_count=40, deadline=None)
    )
