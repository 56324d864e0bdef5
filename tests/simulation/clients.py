"""Clients that make calls of every kind, change their minds, and sometimes misbehave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, cast

from dspex_protocol import CANCEL, FAIL, NIL, REPLY, Meta, encode, encode_value

from .asks import Answer
from .batch_book import page_of
from .connections import Connection
from .keepers import Keeper
from .records import CallRecord, WriteRecord
from .settings import is_elastic
from .store import names_of_call
from .submitters import Submitter
from .toil import FUNCTION, answer_to

if TYPE_CHECKING:
    from .job_records import JobCall
    from .world import World

FLOOD_CALLS: Final = 150
FLOOD_BYTES: Final = 500
MAX_DEPTH: Final = 3
MANY_IDS: Final = 40
THINKING_S: Final = (0.0, 0.0, 0.0, 0.001, 0.01, 0.05, 0.2)
ANSWERING_S: Final = (0.0, 0.0, 0.002, 0.03, 0.2)
ANSWERING_JOBS_S: Final = (0.0, 0.03, 0.2, 1.0)


class SimClient:
    """One client with a number of calls to make.

    Args:
        world: Where it lives.
        number: Its own.
        open_connection: Connects it.
        calls: How many it has to make.
        stays: It does not hang up before its work is done.
        is_host: It offers what jobs ask of their host; others may.

    Attributes:
        connection: The newest.
    """

    def __init__(
        self,
        world: World,
        number: int,
        open_connection: Callable[[str, SimClient], Connection],
        calls: int,
        *,
        stays: bool,
        is_host: bool = False,
    ) -> None:
        self._world = world
        self._random = world.random
        self._number = number
        self._open_connection = open_connection
        self._left = calls
        self._stays = stays
        self._is_host = is_host
        self._connections = 0
        self._is_greeted = False
        self._nested: dict[CallRecord, Callable[[], None]] = {}
        self._tenants = self._random.choice((("a",), ("a", "b"), ("a", "b", "c")))
        self._patience = self._random.choice((0.0, 0.05, 0.3))  # how often it gives a call up
        shares = world.common.servers > 1
        self._likes = self._random.choice(
            ("programs", "sessions", "sessions") if shares else ("", "", "programs", "sessions")
        )
        self._keeper = Keeper(world, self.send, self._script, self._meta)
        self._slowness = self._random.choice((1, 1, 4))
        self._submitter: Submitter | None = None
        if world.common.has_jobs and (not number or self._random.random() < 0.7):
            self._submitter = Submitter(world, self.send, self._meta)
            self._slowness = self._random.choice((2, 8))  # jobs take longer than calls
        self.connection = self._connect()

    def __repr__(self) -> str:
        return self.connection.name

    @property
    def is_done(self) -> bool:
        """It has made its calls and has had their outcomes."""
        return not self._left and (not self.connection.open_calls or self.connection.is_lost)

    @property
    def may_ask(self) -> bool:
        """Whether it is connected and has not said goodbye."""
        return self._is_greeted and not self.connection.is_lost and not self.connection.said_goodbye

    # Its connection

    def _connect(self) -> Connection:
        self._connections += 1
        self._is_greeted = False
        where = f"{self._world.number}:" if self._world.number else ""
        connection = self._open_connection(f"client {where}{self._number}.{self._connections}", self)
        self.connection = connection
        hello = {
            "protocol": "dspex",
            "versions": [1],
            "functions": ["ask", *([FUNCTION] if self._is_asked_by_jobs() else [])],
            "notes": self._random.choice(([], [], ["event"], ["log", "event"])),
        }
        self.send("system.hello", hello, {})
        return connection

    def _is_asked_by_jobs(self) -> bool:
        often = 0.3 if self._stays else 0.9
        return self._world.common.has_jobs and (self._is_host or self._random.random() < often)

    def hang_up(self) -> None:
        """Go, and come back where there is something left to do."""
        self.connection.hang_up()
        self._nested.clear()
        if self._left and not self._world.is_draining:
            self._world.loop.call_later(self._random.choice((0.0, 0.01, 0.3)), self._connect)

    def _part(self) -> None:
        """Leave, with manners or without, and come back."""
        if self._random.random() < 0.5:
            self.hang_up()
        else:
            self.goodbye()

    def lost(self) -> None:
        """The server has hung up."""
        self._nested.clear()
        if self._left and not self._world.is_draining:
            self._world.loop.call_later(self._random.choice((0.0, 0.01, 0.3)), self._connect)

    def stop(self) -> None:
        """Make no more calls."""
        self._left = 0

    # Its work

    def _think(self) -> None:
        think_s = self._random.choice(THINKING_S) * self._slowness
        self._world.loop.call_later(think_s, self._work, self.connection)

    def _work(self, connection: Connection) -> None:
        if connection is not self.connection or connection.is_lost or not self._left:
            return
        self._left -= 1
        if self._world.chance("hang_up") and not self._stays:
            self._part()
            return
        self._misbehave()
        if not self._world.is_draining or self._random.random() < 0.5:
            self._make_call()
        self._think()

    def _make_call(self) -> None:
        pick = self._random.random()
        if self._submitter is not None and pick < 0.5:
            self._submitter.deal_with_jobs()
            return
        if self._likes == "programs" and pick < 0.6:
            self._keeper.deal_with_programs()
        elif self._likes == "sessions" and pick < 0.6:
            self._keeper.deal_with_sessions()
        elif pick < 0.03:
            self.send("system.echo", self._script(), self._meta() | {"lane": "control"})
        elif pick < 0.2:
            self.send("system.echo", self._script(), self._meta())
        elif pick < 0.4:
            self.send("program.predict", self._script(), self._meta())
        elif pick < 0.5:
            self._batch()
        elif pick < 0.65:
            self._stream()
        elif pick < 0.78:
            script = self._script() | {"asks": self._random.randint(1, 2), **self._ask_items()}
            self.send("program.predict", script, self._meta())
        elif pick < 0.83:
            self.send("tool.pay", self._script(), self._meta())
        elif pick < 0.89:
            self._keeper.deal_with_programs()
        elif pick < 0.95:
            self._keeper.deal_with_sessions()
        elif pick < 0.965 and is_elastic(self._world.config):
            may_fail_with = ("invalid_argument",)
            worker = self._random.choice((None, self._random.randint(1, 9)))
            self.send("pool.recycle", {"worker": worker}, {}, may_fail_with=may_fail_with)
        else:
            self.send(self._random.choice(("system.ping", "system.info", "pool.quarantine")), {}, {})

    def _script(self) -> dict[str, object]:
        random = self._random
        script: dict[str, object] = {"ms": random.choice((0, 0, 1, 5, 20, 60))}
        if random.random() < 0.1:
            script["size"] = random.randrange(1000)
        if random.random() < 0.03:
            script["fails"] = True
        if random.random() < 0.004 and self._world.faults.kill_every_s:
            script["kills"] = True
        return script

    def _meta(self) -> Meta:
        random = self._random
        meta: Meta = {}
        if random.random() < 0.5:
            meta["deadline_ms"] = random.choice((1, 5, 30, 100, 400, 2000))
        if random.random() < 0.2:
            meta["priority"] = random.randrange(10)
        if random.random() < 0.3:
            meta["lane"] = random.choice(("interactive", "batch"))
        if random.random() < 0.3:
            meta["tenant"] = random.choice(self._tenants)
        return meta

    def _ask_items(self) -> dict[str, object]:
        """How many pieces an answer to what it asks is to have."""
        return {"ask_items": self._random.choice((0, 0, 1, 5))}

    def _stream(self) -> None:
        script = self._script() | {
            "items": self._random.randint(0, 6),
            "pad": self._random.choice((0, 0, 80)),
        }
        self.send("program.predict", script, self._meta() | {"credit": self._random.randint(1, 3)})

    def _batch(self) -> None:
        """One of a few rows, of which some may ask, fail, or kill."""
        random = self._random
        rows = [
            self._script()
            | {"nonce": self._world.next_nonce(), "asks": int(random.random() < 0.1), **self._ask_items()}
            for _ in range(random.choice((0, 1, 3, 10, 25)))
        ]
        payload: dict[str, object] = {"inputs": rows}
        if random.random() < 0.7:
            payload["parallelism"] = random.choice((1, 2, 5, 30))
        if random.random() < 0.2:
            payload["max_errors"] = random.randint(1, 2)
        meta: Meta = self._meta() | {"rows": len(rows)}
        if random.random() < 0.6:
            meta["credit"] = random.randint(1, 3)
        self.send("batch.run", payload, meta)

    def send(
        self,
        method: str,
        script: Mapping[str, object],
        meta: Meta,
        *,
        may_fail_with: tuple[str, ...] = (),
        parent: CallRecord | None = None,
        write: WriteRecord | None = None,
        about: JobCall | None = None,
    ) -> CallRecord:
        """Make a call.

        Args:
            method: Which.
            script: Its payload, or what a worker is told to do by it.
            meta: Its meta.
            may_fail_with: Codes that its own form explains.
            parent: The call in whose callback it is made.
            write: What it wants stored.
            about: Which jobs it is about.
        """
        world, connection = self._world, self.connection
        nonce = world.next_nonce()
        deadline_ms = meta.get("deadline_ms", world.config.default_deadline_ms)
        assert isinstance(deadline_ms, int)
        version, tag = meta.get("version"), meta.get("tag")
        call = CallRecord(
            world=world,
            nonce=nonce,
            connection=connection,
            id=self._free_id(),
            method=method,
            lane=str(meta.get("lane", "batch" if method == "batch.run" else "interactive")),
            deadline_s=deadline_ms / 1000,
            may_fail_with=may_fail_with,
            program=str(meta.get("program", "")),
            version=version if isinstance(version, int) else None,
            tag=tag if isinstance(tag, str) else None,
            session=str(meta.get("session", "")),
            write=write,
            parent=parent,
            depth=parent.depth + 1 if parent else 0,
            about=about,
        )
        call.names = names_of_call(call, script)
        if method == "batch.run":
            rows = cast("list[dict[str, object]]", script["inputs"])
            max_errors = cast("int | None", script.get("max_errors"))
            call.batch = page_of(world, call, rows, max_errors, keeps="credit" not in meta)
        if write is not None:
            write.calls.append(call)
        is_plain = (call.is_local and method != "system.ping") or call.is_stored
        payload = encode_value(script if is_plain else {"nonce": nonce, **script})
        world.trace("call", connection.name, call.id, method, nonce)
        connection.call(call, meta if call.is_local else {**meta, "nonce": nonce}, payload)
        if self._random.random() < self._patience and not call.is_local:
            delay_s = self._random.choice((0.0, 0.001, 0.01, 0.05, 0.3))
            world.loop.call_later(delay_s, self._cancel, call)
        return call

    def _free_id(self) -> int:
        """Ids of calls that have ended are used again: what still comes for them must not reach us."""
        while True:
            call_id = self._random.randint(1, MANY_IDS + 2 * len(self.connection.open_calls))
            if call_id not in self.connection.open_calls:
                return call_id

    def _cancel(self, call: CallRecord) -> None:
        if call.connection.open_calls.get(call.id) is call:
            call.connection.cancel(call)
            if self._random.random() < 0.2:
                call.connection.cancel(call)

    # What it hears

    def outcome(self, call: CallRecord, kind: int, value: object) -> None:
        """A call has ended."""
        if call.method == "system.hello":
            self._is_greeted = True
            self._think()
        elif call.about is not None:
            assert self._submitter is not None
            self._submitter.heard(call, value)
        elif call.is_stored:
            self._keeper.heard(call, value)
        after = self._nested.pop(call, None)
        if after is not None:
            after()

    def item(self, call: CallRecord) -> None:
        """Mostly allow as many as came."""
        if self._random.random() < 0.97:
            delay_s = self._random.choice((0.0, 0.0, 0.01))
            self._world.loop.call_later(delay_s, self._allow, call)

    def _allow(self, call: CallRecord) -> None:
        if call.connection.open_calls.get(call.id) is call:
            call.connection.allow(call, self._random.randint(1, 2))

    def called(self, callback_id: int, parent: CallRecord, nonce: int) -> None:
        """Answer a callback, perhaps after calls of one's own within it."""
        answer_s = self._random.choice(ANSWERING_S)
        self._world.loop.call_later(answer_s, self._answer, self.connection, callback_id, parent, nonce)

    def _answer(self, connection: Connection, callback_id: int, parent: CallRecord, nonce: int) -> None:
        if connection.callbacks.get(callback_id) is not parent or self._world.chance("no_answer"):
            return
        if parent.depth < MAX_DEPTH and self._random.random() < 0.3:
            script = self._script() | {"asks": self._random.randint(0, 1)}
            method = self._random.choice(("system.echo", "program.predict"))
            call = self.send(method, script, {**self._meta(), "parent": callback_id}, parent=parent)
            self._nested[call] = lambda: self._answer_now(connection, callback_id, parent, nonce)
        else:
            self._answer_now(connection, callback_id, parent, nonce)

    def _answer_now(self, connection: Connection, callback_id: int, parent: CallRecord, nonce: int) -> None:
        if connection.callbacks.get(callback_id) is not parent:
            return
        if self._random.random() < 0.05:
            connection.answer(callback_id, FAIL, {"code": "function_failed", "message": "it did"})
            return
        answer = connection.answers[callback_id]
        if answer.sent < answer.items:
            self._send_item(connection, callback_id, parent, nonce, answer)
            return
        connection.answer(callback_id, REPLY, {"nonce": nonce, "items": answer.sent})
        if self._world.chance("double_answer"):
            connection.answer(callback_id, REPLY, {"nonce": -1})

    def _send_item(
        self, connection: Connection, callback_id: int, parent: CallRecord, nonce: int, answer: Answer
    ) -> None:
        """A piece of an answer, where there is credit for it; then go on."""
        if self._world.chance("no_answer"):  # it stops in the middle
            return
        if self._world.chance("item_out_of_turn"):
            self._world.history.out_of_turn.add(nonce)
            seq = answer.sent + 1 if answer.credit else answer.sent
            connection.send_item(callback_id, seq, {"nonce": nonce, "seq": seq})
        if not answer.credit:
            answer.waits = True
            return
        connection.send_item(callback_id, answer.sent, {"nonce": nonce, "seq": answer.sent})
        answer.sent += 1
        answer.credit -= 1
        delay_s = self._random.choice((0.0, 0.0, 0.002, 0.02))
        self._world.loop.call_later(delay_s, self._answer_now, connection, callback_id, parent, nonce)

    def called_by_job(self, callback_id: int, key: bytes) -> None:
        """Answer a job, sooner or later."""
        answer_s = 3.0 if self._world.chance("no_answer") else self._random.choice(ANSWERING_JOBS_S)
        if self._random.random() < self._world.job_faults.get("host_leaves", 0.0) and not self._stays:
            self._world.loop.call_later(answer_s / 2, self._leave_job, self.connection)
        self._world.loop.call_later(answer_s, self._answer_job, self.connection, callback_id, key)

    def _leave_job(self, connection: Connection) -> None:
        """Go in the middle of it: somebody else is to be asked."""
        if connection is self.connection and not connection.is_lost:
            self._part()

    def _answer_job(self, connection: Connection, callback_id: int, key: bytes) -> None:
        if callback_id in connection.asked_by_jobs:
            connection.answer(callback_id, REPLY, answer_to(key))

    def credited(self, callback_id: int, parent: CallRecord) -> None:
        """Go on with an answer."""
        answer = self.connection.answers[callback_id]
        if answer.waits:
            answer.waits = False
            self._world.loop.call_later(
                0.0, self._answer_now, self.connection, callback_id, parent, answer.nonce
            )

    # What it should not do

    def _misbehave(self) -> None:
        world, connection, random = self._world, self.connection, self._random
        if world.chance("slow_reading"):
            connection.read_slowly(random.choice((0.01, 0.1, 1.0)))
            if random.random() < 0.2:
                self._flood()
        if world.chance("stray_answer"):
            connection.write_bytes(encode(REPLY, random.randint(1000, 2000), None, {}, NIL))
        if world.chance("broken_envelope"):
            connection.write_bytes(random.choice((b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x02\x95\x00")))
        if world.chance("large_frame"):
            self.send("system.echo", {"pad": "x" * 9000}, {}, may_fail_with=("frame_too_large",))
        if world.chance("stray_cancel"):
            connection.write_bytes(encode(CANCEL, random.randint(1000, 2000), None, {}, NIL))
        if world.chance("bad_meta"):
            self.send("program.predict", {}, {"priority": 77}, may_fail_with=("invalid_argument",))
        if world.chance("unknown_method"):
            self.send("system.nothing", {}, {}, may_fail_with=("unknown_method",))

    def _flood(self) -> None:
        for _ in range(FLOOD_CALLS):
            self.send("system.ping", {"pad": "x" * FLOOD_BYTES}, {})

    # The end

    def probe(
        self,
        method: str,
        script: Mapping[str, object],
        write: WriteRecord | None,
        about: JobCall | None,
        **meta: object,
    ) -> CallRecord:
        """A call that must succeed: for when all is calm."""
        self._patience = 0.0
        sure: Meta = {"deadline_ms": 60_000, **cast("Meta", meta)}
        return self.send(method, script, sure, write=write, about=about)

    def drain(self) -> CallRecord:
        """Have the server end when all calls have."""
        return self.send("pool.drain", {}, {})

    def goodbye(self) -> CallRecord:
        """Say that this was all; the server hangs up when open calls have ended."""
        self.connection.said_goodbye = True
        return self.send("system.goodbye", {}, {})
