"""What clients do with what is stored: programs and sessions, written, read, run, and written again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from dspex_protocol import Meta

from .records import CallRecord, WriteRecord

if TYPE_CHECKING:
    from .common import Common
    from .world import World

PROGRAMS: Final = tuple(f"p{number}" for number in range(6))
SESSIONS: Final = tuple(f"s{number}" for number in range(8))
TAGS: Final = ("live", "next")
TTLS_S: Final = (2.0, 60.0, 3600.0, 3600.0)
UNSURE_CODES: Final = frozenset(("store_unavailable", "deadline", "cancelled", "worker_died"))


def session_names(common: Common) -> tuple[str, ...]:
    """The ids that clients give to sessions. Two servers are to meet at the same ones, and often."""
    return SESSIONS if common.servers == 1 else SESSIONS[:3]


class Send(Protocol):
    """Makes a call; `clients.SimClient.send` is it."""

    def __call__(
        self,
        method: str,
        script: Mapping[str, object],
        meta: Meta,
        *,
        may_fail_with: tuple[str, ...] = (),
        write: WriteRecord | None = None,
    ) -> CallRecord:
        """See there."""
        ...


class Keeper:
    """One client's dealings with the store.

    Args:
        world: Where it lives.
        send: Makes its calls.
        script: Draws what a prediction is to do.
        meta: Draws a call's deadline and the like.
    """

    def __init__(
        self,
        world: World,
        send: Send,
        script: Callable[[], dict[str, object]],
        meta: Callable[[], Meta],
    ) -> None:
        self._world = world
        self._common = world.common
        self._random = world.random
        self._send = send
        self._script = script
        self._meta = meta
        self._names = session_names(world.common)
        self._programs: tuple[tuple[Callable[[], None], int], ...] = (
            (self._predict, 10),
            (self._create, 3),
            (self._update, 4),
            (self._tag, 2),
            (self._untag, 1),
            (self._roll_back, 1),
            (self._delete, 1),
            (self._get, 2),
            (self._list, 1),
        )
        self._sessions: tuple[tuple[Callable[[], None], int], ...] = (
            (self._turn, 20),
            (self._open, 3),
            (self._fork, 1),
            (self._close, 1),
            (self._migrate, 1),
            (self._look, 2),
            (self._list_sessions, 1),
        )

    # What it does

    def deal_with_programs(self) -> None:
        """Do something with a program."""
        if self._common.unsure and self._random.random() < 0.5:
            self._repeat()
        elif not self._common.programs:
            self._create()
        else:
            self._pick(self._programs)

    def deal_with_sessions(self) -> None:
        """Do something with a session."""
        if not self._common.programs:
            self._create()
        elif not self._common.sessions:
            self._open()
        else:
            self._pick(self._sessions)

    def _pick(self, choices: tuple[tuple[Callable[[], None], int], ...]) -> None:
        (act,) = self._random.choices([act for act, _ in choices], [weight for _, weight in choices])
        act()

    def heard(self, call: CallRecord, value: object) -> None:
        """A call of its has ended."""
        programs, sessions = self._common.programs, self._common.sessions
        if call.code != "ok":
            if call.write is not None and call.code in UNSURE_CODES:
                self.is_unsure(call.write)
        elif call.method in ("program.create", "program.update", "program.rollback"):
            assert isinstance(value, dict)
            programs[value["program"]] = max(value["version"], programs.get(value["program"], 0))
        elif call.method == "program.delete":
            programs.pop(call.program, None)
        elif call.method in ("session.open", "session.fork"):
            assert isinstance(value, dict)
            if value["session"] not in sessions:
                sessions.append(value["session"])
        elif call.method == "session.close" and call.session in sessions:
            sessions.remove(call.session)

    def is_unsure(self, write: WriteRecord) -> None:
        """Nobody knows whether that has happened; somebody may make sure later."""
        if write.id is not None and self._random.random() < 0.8:
            self._common.unsure.append(write)

    # Programs

    def _program(self) -> str:
        known = list(self._common.programs)
        if not known or self._random.random() < 0.1:
            return self._random.choice(PROGRAMS)
        return self._random.choice(known)

    def _version(self, program: str) -> int:
        return self._random.randint(1, self._common.programs.get(program, 1) + (self._random.random() < 0.1))

    def _which(self, program: str) -> Meta:
        """The newest version, or one by its number or tag."""
        pick = self._random.random()
        if pick < 0.6:
            return {"program": program}
        if pick < 0.8:
            return {"program": program, "version": self._version(program)}
        return {"program": program, "tag": self._random.choice(TAGS)}

    def _predict(self) -> None:
        self._send("program.predict", self._script(), self._meta() | self._which(self._program()))

    def _get(self) -> None:
        self._send("program.get", {}, self._meta() | self._which(self._program()))

    def _list(self) -> None:
        self._send("program.list", {}, self._meta())

    def _create(self) -> None:
        meta: Meta = {"program": self._random.choice(PROGRAMS)}
        if self._random.random() < 0.1:
            meta = {}  # the server makes an id
        tags = [tag for tag in TAGS if self._random.random() < 0.3]
        self._make("program.create", meta, {"tags": tags}, has_spec=True)

    def _update(self) -> None:
        program = self._program()
        meta: Meta = {"program": program}
        if self._random.random() < 0.4:
            meta["version"] = self._version(program)
        tags = [tag for tag in TAGS if self._random.random() < 0.1]
        self._make("program.update", meta, {"tags": tags}, has_spec=True)

    def _tag(self) -> None:
        program = self._program()
        meta: Meta = {"program": program, "version": self._version(program)}
        self._make("program.tag", meta, {"tag": self._random.choice(TAGS)})

    def _untag(self) -> None:
        self._make("program.untag", {"program": self._program()}, {"tag": self._random.choice(TAGS)})

    def _roll_back(self) -> None:
        program = self._program()
        payload: dict[str, object] = {}
        if self._random.random() < 0.3:
            payload["newest"] = self._version(program)
        self._make("program.rollback", {"program": program, "version": self._version(program)}, payload)

    def _delete(self) -> None:
        self._make("program.delete", {"program": self._program()}, {})

    def _make(self, method: str, meta: Meta, payload: dict[str, object], *, has_spec: bool = False) -> None:
        """Have something stored."""
        number = self._world.next_nonce()
        if method in ("program.create", "program.update", "program.rollback"):
            payload["note"] = str(number)
        elif method in ("session.open", "session.fork"):
            # By its time to live it can be told from all others.
            payload["ttl_s"] = self._random.choice(TTLS_S) + number * 1e-6
        if has_spec:
            payload["spec"] = {"nonce": number}
        must_have_id = not meta
        write_id = f"w{number}" if must_have_id or self._random.random() < 0.8 else None
        if write_id is not None:
            meta = {**meta, "write_id": write_id}
        write = WriteRecord(number=number, id=write_id, method=method, payload=payload, meta=meta)
        self._common.ledger.wanted(write)
        self._ask(write)
        if write_id is not None and self._random.random() < 0.05:
            self._ask(write)  # and at the same time again

    def _ask(self, write: WriteRecord) -> None:
        self._send(write.method, write.payload, self._meta() | write.meta, write=write)

    def _repeat(self) -> None:
        self._ask(self._common.unsure.pop(self._random.randrange(len(self._common.unsure))))

    # Sessions

    def _session(self) -> str:
        known = self._common.sessions
        return self._random.choice(self._names if not known or self._random.random() < 0.05 else known)

    def _turn(self) -> None:
        script, meta = self._script(), self._meta()
        if self._common.servers > 1:
            script["ms"] = self._random.choice((5, 50, 200))
        pick = self._random.random()
        if pick < 0.1:
            script |= {"asks": 1}
        elif pick < 0.2:
            script |= {"items": self._random.randint(0, 3)}
            meta |= {"credit": self._random.randint(1, 3)}
        session = self._session()
        self._send("program.predict", script, meta | {"session": session})
        if self._random.random() < 0.15:  # who does not wait for an answer
            self._send("program.predict", self._script(), self._meta() | {"session": session})

    def _open(self) -> None:
        self._make(
            "session.open",
            self._which(self._program()) | {"session": self._random.choice(self._names)},
            {},
        )

    def _fork(self) -> None:
        payload: dict[str, object] = {"session": self._random.choice(self._names)}
        self._make("session.fork", {"session": self._session()}, payload)

    def _close(self) -> None:
        session = self._session()
        call = self._send("session.close", {}, self._meta() | {"session": session})
        self._common.ledger.sessions.closers.setdefault(session, []).append(call)

    def _migrate(self) -> None:
        self._send(
            "state.migrate",
            {"worker": self._random.randint(1, 9)},
            self._meta() | {"session": self._session()},
            may_fail_with=("invalid_argument",),
        )

    def _look(self) -> None:
        self._send("session.get", {}, self._meta() | {"session": self._session()})

    def _list_sessions(self) -> None:
        self._send("session.list", {}, self._meta())
