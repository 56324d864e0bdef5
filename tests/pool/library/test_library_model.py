"""Two libraries on one store against a plain model: any order of writes, repeats and stale heads.

What the model says is what a client may rely on: each acknowledged version is there for ever, until
its program is deleted; no number is used twice; a call runs on the newest version of at most a second
ago, and on no older one than the same server has acknowledged; a write with an id happens once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from tests.support.libraries import Relay, Shop, content, drive
from tests.support.servers import count

from dspex_pool.library import Library, Reference, Wanted, Write
from dspex_pool.library.shelf import HEAD_FRESH_S
from dspex_pool.store import Change, Unavailable
from dspex_protocol import DSPexError

PROGRAMS = ("a", "a!", "b")
TAGS = ("live", "x")

programs = st.sampled_from(PROGRAMS)
versions = st.integers(1, 6)
tags = st.sampled_from(TAGS)
servers = st.integers(0, 1)
write_ids = st.none() | st.sampled_from(("w1", "w2", "w3"))
ends = st.sampled_from(("done", "done", "done", "lost before", "lost after"))


@dataclass
class Program:
    """What there is of one."""

    versions: dict[int, bytes] = field(default_factory=dict)
    newest: int = 0
    tags: dict[str, int] = field(default_factory=dict)


@dataclass
class Model:
    """What should be there."""

    programs: dict[str, Program] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    writes: dict[str, tuple[tuple[object, ...], object]] = field(default_factory=dict)
    history: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    def begin(self, name: str, body: bytes) -> object:
        if name in self.programs:
            return "program_exists"
        self.programs[name] = Program()
        return self._add(name, body)

    def _add(self, name: str, body: bytes) -> object:
        number = self.last[name] = self.last.get(name, 0) + 1
        program = self.programs[name]
        program.versions[number] = body
        program.newest = number
        return name, number

    def add(self, name: str, base: int, *, newest: int | None, body: bytes | None) -> object:
        program = self.programs.get(name)
        if program is None:
            return "unknown_program"
        if body is None and base not in program.versions:  # a rollback looks for its content first
            return "unknown_program"
        if newest is not None and program.newest != newest:
            return "version_conflict"
        if base not in program.versions:
            return "unknown_program"
        return self._add(name, program.versions[base] if body is None else body)

    def tag(self, name: str, version: int, tag: str) -> object:
        program = self.programs.get(name)
        if program is None or version not in program.versions:
            return "unknown_program"
        program.tags[tag] = version
        return None

    def untag(self, name: str, tag: str) -> object:
        if name not in self.programs:
            return "unknown_program"
        self.programs[name].tags.pop(tag, None)
        return None

    def delete(self, name: str) -> object:
        return None if self.programs.pop(name, None) else "unknown_program"


class LibraryMachine(RuleBasedStateMachine):
    """Both libraries are asked in turn; each has a shelf of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.shop = Shop()
        self.relays = [Relay(self.shop.store), Relay(self.shop.store)]
        self.libraries = [self.shop.library(relay) for relay in self.relays]
        self.model = Model()
        self.number = 0

    def write(
        self,
        server: int,
        end: str,
        write_id: str | None,
        what: tuple[object, ...],
        work: Callable[[Library, Write | None], Any],
        change: Callable[[], object],
    ) -> None:
        """Make a write, and say what came of it."""
        write = None if write_id is None else Write(write_id, repr(what).encode())
        relay = self.relays[server]
        commits = len(relay.commits)
        lose = _lose_once(relay)
        if end == "lost before":
            relay.before = lose
        elif end == "lost after":
            relay.after = lose
        got = _outcome(work(self.libraries[server], write))
        relay.before = relay.after = _nothing
        made = None if write_id is None else self.model.writes.get(write_id)
        if made is not None:
            assert (made[1] if made[0] == what else "write_id_reused") == got or got == "store_unavailable"
            return
        if got == "store_unavailable":
            assert len(relay.commits) > commits
            if end == "lost before":
                return
            self._note(write_id, what, change())
            return
        self._note(write_id, what, expected := change())
        assert expected == got
        if not isinstance(got, str):
            self.is_new_from_now_on(self.libraries[server], str(what[1]))

    def is_new_from_now_on(self, library: Library, name: str) -> None:
        """Who has acknowledged a write has no call run on what was before."""
        found = library.find(Reference(name))
        program = self.model.programs.get(name)
        assert found is None or (program is not None and found[1] == program.newest)

    def _note(self, write_id: str | None, what: tuple[object, ...], answer: object) -> None:
        if write_id is not None and not isinstance(answer, str):
            self.model.writes[write_id] = (what, answer)

    @rule(server=servers, end=ends, name=programs, write_id=write_ids)
    def create(self, server: int, end: str, name: str, write_id: str | None) -> None:
        self.number += 1
        body = content(str(self.number))
        self.write(
            server,
            end,
            write_id,
            ("create", name),
            lambda library, write: library.create(name, body, write=write),
            lambda: self.model.begin(name, body),
        )

    @rule(server=servers, end=ends, name=programs, base=versions, strict=st.booleans(), write_id=write_ids)
    def add(self, server: int, end: str, name: str, base: int, *, strict: bool, write_id: str | None) -> None:
        self.number += 1
        body = content(str(self.number))
        self.write(
            server,
            end,
            write_id,
            ("add", name, base, strict),
            lambda library, write: library.add(
                name, base=base, must_be_newest=strict, content=body, write=write
            ),
            lambda: self.model.add(name, base, newest=base if strict else None, body=body),
        )

    @rule(server=servers, end=ends, name=programs, version=versions, write_id=write_ids)
    def rollback(self, server: int, end: str, name: str, version: int, write_id: str | None) -> None:
        self.write(
            server,
            end,
            write_id,
            ("rollback", name, version),
            lambda library, write: library.rollback(name, version, write=write),
            lambda: self.model.add(name, version, newest=None, body=None),
        )

    @rule(server=servers, end=ends, name=programs, version=versions, tag=tags, write_id=write_ids)
    def tag(self, server: int, end: str, name: str, version: int, tag: str, write_id: str | None) -> None:
        self.write(
            server,
            end,
            write_id,
            ("tag", name, version, tag),
            lambda library, write: library.tag(name, version, tag, write=write),
            lambda: self.model.tag(name, version, tag),
        )

    @rule(server=servers, end=ends, name=programs, tag=tags, write_id=write_ids)
    def untag(self, server: int, end: str, name: str, tag: str, write_id: str | None) -> None:
        self.write(
            server,
            end,
            write_id,
            ("untag", name, tag),
            lambda library, write: library.untag(name, tag, write=write),
            lambda: self.model.untag(name, tag),
        )

    @rule(server=servers, end=ends, name=programs, write_id=write_ids)
    def delete(self, server: int, end: str, name: str, write_id: str | None) -> None:
        self.write(
            server,
            end,
            write_id,
            ("delete", name),
            lambda library, write: library.delete(name, write=write),
            lambda: self.model.delete(name),
        )

    @rule(server=servers, name=programs, version=st.none() | versions, tag=st.none() | tags)
    def fetch(self, server: int, name: str, version: int | None, tag: str | None) -> None:
        """What the store says, whatever the shelf remembers."""
        reference = Reference(name, version, None if version else tag)
        got = _outcome(self.libraries[server].fetch(reference))
        expected = self.expected(reference)
        assert expected == (got if isinstance(got, tuple) else None)
        if expected is not None:
            assert expected == self.libraries[server].find(reference)

    def expected(self, reference: Reference) -> tuple[str, int, bytes] | None:
        program = self.model.programs.get(reference.program)
        if program is None:
            return None
        number = reference.version or (
            program.tags.get(reference.tag, 0) if reference.tag else program.newest
        )
        body = program.versions.get(number)
        return None if body is None else (reference.program, number, body)

    @rule(seconds=st.sampled_from((0.4, HEAD_FRESH_S + 0.1, 61.0)))
    def wait(self, seconds: float) -> None:
        self.shop.now_s += seconds

    @rule(server=servers)
    def restart(self, server: int) -> None:
        """A server ends, and another begins with an empty shelf."""
        self.libraries[server] = self.shop.library(self.relays[server])

    @invariant()
    def what_is_found_was_true_a_second_ago(self) -> None:
        """By number it is the truth of now, but for a program that another server has deleted."""
        for name in PROGRAMS:
            program = self.model.programs.get(name)
            newest = 0 if program is None else program.newest
            past = self.model.history.setdefault(name, [])
            if not past or past[-1][1] != newest:
                past.append((self.shop.now_s, newest))
            for library in self.libraries:
                found = library.find(Reference(name))
                if found is not None:
                    assert found[1] in self.newest_since(name, self.shop.now_s - HEAD_FRESH_S)

    def newest_since(self, name: str, since_s: float) -> set[int]:
        """The versions that have been the newest from then on."""
        past = self.model.history[name]
        return {
            newest for at, (_, newest) in enumerate(past) if at + 1 == len(past) or past[at + 1][0] >= since_s
        }

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        """No more and no less, and nothing is broken."""
        library = self.shop.library()
        heads = {head.program: head for head in drive(library.page(Wanted())).heads}
        assert sorted(self.model.programs) == sorted(heads)
        for name, program in self.model.programs.items():
            assert (program.newest, program.tags) == (heads[name].newest, heads[name].tags)
            rows = drive(library.versions(name)).rows
            assert sorted(program.versions, reverse=True) == [row.version for row in rows]
        assert [] == drive(library.verify()).findings


def _lose_once(relay: Relay) -> Callable[[Sequence[Change]], None]:
    def lose(changes: Sequence[Change]) -> None:
        relay.before = relay.after = _nothing
        raise Unavailable("no answer in time", maybe_applied=True)

    return lose


def _nothing(changes: Sequence[Change]) -> None:
    pass


def _outcome(work: Any) -> object:
    """What came, or the code of the error."""
    try:
        return drive(work)
    except DSPexError as failure:
        return failure.code


def test_two_libraries_are_as_good_as_a_dictionary() -> None:
    """Whatever is done, in whatever order, by whichever of them."""
    examples = count("library_examples", 60)
    run_state_machine_as_test(
        LibraryMachine, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None)
    )
