"""The switchboard between fakes: clients, workers and a clock that the test moves by hand.

No process, no descriptor, no waiting: a frame is handled when the test hands it over, and
time passes when the test says so. The fakes can be slow, short and dead, as the real
things: a client that stops reading, a worker that is killed and does not die.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from dspex_pool.config import Config
from dspex_pool.connections import Connection
from dspex_pool.holdings import Holdings
from dspex_pool.lifecycle import WorkerEvent
from dspex_pool.link import Link
from dspex_pool.logs import Log
from dspex_pool.operations import HOP_METHODS
from dspex_pool.ports import Stored
from dspex_pool.store import Store
from dspex_pool.store.memory import MemoryStore
from dspex_pool.switchboard import Switchboard
from dspex_pool.worker import Worker
from dspex_protocol import (
    CALL,
    CANCEL,
    CREDIT,
    FAIL,
    ITEM,
    NOTE,
    REPLY,
    Hello,
    Meta,
    Oversized,
    Welcome,
    decode_envelope,
    decode_value,
    encode,
    encode_value,
)
from dspex_protocol.frame import HEADER_BYTES

from .tasks import HandTasks

METHODS = HOP_METHODS | {"system.echo", "system.describe", "program.predict"}


class Frame(NamedTuple):
    """A frame that somebody sent."""

    kind: int
    id: int
    method: str | None
    meta: Meta
    payload: bytes

    @property
    def value(self) -> object:
        return decode_value(self.payload)

    @property
    def fields(self) -> dict[str, object]:
        """The payload, which is a map."""
        value = self.value
        assert isinstance(value, dict)
        return value

    @property
    def code(self) -> object:
        """The code of a FAIL."""
        assert self.kind == FAIL, self
        return self.fields["code"]

    @property
    def details(self) -> dict[str, object]:
        """The details of a FAIL."""
        details = self.fields["details"]
        assert isinstance(details, dict)
        return details


def read_frame(frame: bytes) -> Frame:
    """Read a whole frame, header included."""
    body = frame[HEADER_BYTES:]
    assert int.from_bytes(frame[:HEADER_BYTES], "big") == len(body)
    envelope = decode_envelope(body)
    return Frame(*envelope[:4], body[envelope.payload_at :])


def body_of(kind: int, call_id: int, method: str | None, meta: Meta, value: object) -> bytes:
    """A frame's body, as a link delivers it."""
    return encode(kind, call_id, method, meta, encode_value(value))[HEADER_BYTES:]


class FakeClock:
    """Seconds that pass when somebody says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class FakeLink(Link):
    """A link that keeps what is sent.

    Attributes:
        sent: Every frame, oldest first.
        unread: What `waiting_bytes` says: how much the peer has left unread.
        reading: Whether anybody listens to the peer.
    """

    def __init__(self) -> None:
        self.sent: list[Frame] = []
        self.unread = 0
        self.reading = True
        self.closed = False
        self.max_frame_bytes = 1 << 20
        self.on_drained: Callable[[], None] | None = None

    @property
    def waiting_bytes(self) -> int:
        return self.unread

    @property
    def unread_bytes(self) -> int:
        return self.unread

    def start(self) -> None:
        self.reading = True

    def pause(self) -> None:
        self.reading = False

    def send(self, frame: bytes) -> None:
        if not self.closed:
            self.sent.append(read_frame(frame))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def drain(self) -> None:
        """The peer reads all that was left."""
        self.unread = 0
        if self.on_drained is not None:
            self.on_drained()


class FakeProcess:
    """A process that remembers that it was killed, and dies when the test says so."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.killed = False
        self.on_exit: Callable[[str], None] = lambda reason: None

    def kill(self) -> None:
        self.killed = True

    def last_words(self) -> str:
        return ""


class RecordingLog(Log):
    """A log in memory."""

    def __init__(self) -> None:
        super().__init__("debug")
        self.lines: list[bytes] = []

    def _queue(self, line: bytes) -> None:
        self.lines.append(line)


class FakeHouse:
    """The server around a connection."""

    def __init__(self) -> None:
        self.greeted: list[Hello] = []
        self.left: list[Connection] = []
        self.gone: list[Connection] = []
        self.draining = False

    def greet(self, connection: Connection, hello: Hello) -> Welcome:
        self.greeted.append(hello)
        return Welcome(server="dspex/0", instance="i", max_frame_bytes=1 << 20, max_queue=1, workers=1)

    def info(self) -> dict[str, object]:
        return {"pid": 1}

    def recycle(self, worker: int | None) -> list[int]:
        return [] if worker is None else [worker]

    def drain(self) -> None:
        self.draining = True

    def leave(self, connection: Connection) -> None:
        self.left.append(connection)

    def lost(self, connection: Connection) -> None:
        self.gone.append(connection)


class Client:
    """A client of the switchboard, with its connection."""

    def __init__(
        self, switchboard: Switchboard, house: FakeHouse, hello: dict[str, object] | None, number: int
    ) -> None:
        self.link = FakeLink()
        self.house = house
        self.connection = Connection(self.link, switchboard, house, number)
        self._next_id = 1
        if hello is not None:
            self.call("system.hello", {"protocol": "dspex", "versions": [1], **hello})
            assert self.sent.pop().kind == REPLY

    @property
    def sent(self) -> list[Frame]:
        """What it was sent."""
        return self.link.sent

    def give(self, *bodies: bytes | Oversized) -> None:
        """Send bodies, as one read."""
        self.connection.take(list(bodies))

    def call(
        self, method: str = "system.echo", value: object = None, call_id: int = 0, /, **meta: object
    ) -> int:
        """Call; returns the id."""
        call_id = call_id or self._next_id
        self._next_id = max(self._next_id, call_id) + 1
        self.give(body_of(CALL, call_id, method, meta, value))  # type: ignore[arg-type]
        return call_id

    def cancel(self, call_id: int) -> None:
        self.give(body_of(CANCEL, call_id, None, {}, None))

    def credit(self, call_id: int, count: int) -> None:
        self.give(body_of(CREDIT, call_id, None, {"n": count}, None))

    def answer(self, call_id: int, value: object, kind: int = REPLY) -> None:
        """Answer a callback."""
        self.give(body_of(kind, call_id, None, {}, value))

    def send_item(self, call_id: int, seq: object, value: object = "piece") -> None:
        """Send a piece of the answer to a callback."""
        self.give(body_of(ITEM, call_id, None, {"seq": seq}, value))  # type: ignore[dict-item]

    def outcomes(self, call_id: int) -> list[Frame]:
        """All REPLYs and FAILs with that id."""
        return [frame for frame in self.sent if frame.id == call_id and frame.kind in (REPLY, FAIL)]

    def outcome(self, call_id: int) -> Frame:
        """The one outcome of a call."""
        (frame,) = self.outcomes(call_id)
        return frame

    def items(self, call_id: int) -> list[Frame]:
        return [frame for frame in self.sent if frame.id == call_id and frame.kind == ITEM]

    def callbacks(self) -> list[Frame]:
        """The calls that came to it."""
        return [frame for frame in self.sent if frame.kind == CALL]

    def notes(self, method: str) -> list[Frame]:
        return [frame for frame in self.sent if frame.kind == NOTE and frame.method == method]

    def hang_up(self) -> None:
        """Its link ends."""
        self.link.on_end(None)
        self.link.closed = True


class FakeWorker:
    """A worker whose every word the test says."""

    def __init__(self, number: int, switchboard: Switchboard, effects: frozenset[str]) -> None:
        self.link = FakeLink()
        self.process = FakeProcess(10_000 + number)
        self.worker = Worker(number, number, self.process, self.link)
        self.worker.methods = METHODS
        self.worker.effects = effects
        self._switchboard = switchboard

    @property
    def sent(self) -> list[Frame]:
        """What it was sent."""
        return self.link.sent

    def calls(self, method: str | None = None) -> list[Frame]:
        """The calls that came to it, the oldest first."""
        return [frame for frame in self.sent if frame.kind == CALL and method in (None, frame.method)]

    def cancels(self) -> list[int]:
        return [frame.id for frame in self.sent if frame.kind == CANCEL]

    def give(self, *bodies: bytes | Oversized) -> None:
        """Say something, as one read."""
        self._switchboard.take_from_worker(self.worker, list(bodies))

    def reply(self, call_id: int, value: object = None, **meta: object) -> None:
        self.give(body_of(REPLY, call_id, None, meta, value))  # type: ignore[arg-type]

    def fail(self, call_id: int, code: str = "program_failed") -> None:
        self.give(body_of(FAIL, call_id, None, {}, {"code": code, "message": "it failed"}))

    def item(self, call_id: int, seq: int, value: object = "token") -> None:
        self.give(body_of(ITEM, call_id, None, {"seq": seq}, value))

    def start(self, up_to: int) -> None:
        """Say that it has begun its calls up to this id."""
        self.give(body_of(NOTE, 0, "call.started", {"up_to": up_to}, None))

    def call_host(self, callback_id: int, parent: int, method: str = "function.call", **meta: object) -> None:
        payload = {"function": "f", "args": {}}
        self.give(body_of(CALL, callback_id, method, {"parent": parent, **meta}, payload))  # type: ignore[dict-item]

    def credit_host(self, callback_id: int, count: object) -> None:
        self.give(body_of(CREDIT, callback_id, None, {"n": count}, None))  # type: ignore[dict-item]

    def cancel_host(self, callback_id: int) -> None:
        self.give(body_of(CANCEL, callback_id, None, {}, None))

    def start_all(self) -> None:
        """Say that it has begun all that it has; then it may get more, and begins that too."""
        while self.worker.started_up_to < self.worker.last_id:
            self.start(self.worker.last_id)

    def die(self, reason: str = "SIGKILL") -> None:
        self.worker.move(WorkerEvent.DIE)
        self._switchboard.worker_lost(self.worker, reason)


def record_of(what: object) -> dict[str, object]:
    """A worker's record of a program that this tells from others."""
    return {"spec": {"module": "Fake", "what": what}, "state": {}, "dspy": "0", "schema": 1}


def stored_in(store: Store, tasks: HandTasks) -> Stored:
    """A store as the supervisor takes it; ids are numbered, and the wall clock stands still."""
    numbers = itertools.count(1)
    return Stored(
        store=store, tasks=tasks, wall_ms=lambda: 1_700_000_000_000, new_id=lambda: f"id-{next(numbers)}"
    )


class Room:
    """A switchboard with its clock, its clients and its workers.

    Args:
        workers: Workers that are ready at once.
        effects: Methods that they say have effects.
        config: All settings; by default the defaults with `settings`.
        store: Makes the store.
    """

    def __init__(
        self,
        workers: int = 1,
        effects: frozenset[str] = frozenset(),
        config: Config | None = None,
        store: Callable[[Callable[[], float]], MemoryStore] = MemoryStore,
        **settings: object,
    ) -> None:
        self.clock = FakeClock()
        self.log = RecordingLog()
        self.house = FakeHouse()
        self.config = config or replace(Config(), **settings)  # type: ignore[arg-type]
        self.wake_at: list[float] = []
        self.dirty: list[Link] = []
        self.tasks = HandTasks()
        self.memory = store(self.clock)
        self.stored = stored_in(self.memory, self.tasks)
        self.switchboard = Switchboard(
            self.config, self.clock, self.wake_at.append, self.dirty, self.log, self.stored
        )
        self.clients: list[Client] = []
        self.workers: list[FakeWorker] = []
        self._effects = effects
        for _ in range(workers):
            self.add_worker()

    def add_client(self, *, greet: bool = True, **hello: object) -> Client:
        """Another connection, greeted with these offers; each is a tenant of its own."""
        number = len(self.clients) + 1
        client = Client(self.switchboard, self.house, hello if greet else None, number)
        self.clients.append(client)
        return client

    def add_worker(self) -> FakeWorker:
        fake = FakeWorker(len(self.workers) + 1, self.switchboard, self._effects)
        fake.worker.holdings = Holdings(self.config.programs_per_worker, self.config.program_memory_mb << 20)
        self.workers.append(fake)
        fake.worker.move(WorkerEvent.GREETED)
        fake.worker.ready_s = self.clock.now_s
        self.switchboard.worker_ready(fake.worker)
        return fake

    def retire(self, fake: FakeWorker) -> None:
        """A worker drains."""
        fake.worker.move(WorkerEvent.DRAIN)
        self.switchboard.worker_drains(fake.worker)

    def store(self, program: str, record: object = None) -> None:
        """A program is stored."""
        self.tasks.start(self._create(program, encode_value(record_of(record))))

    async def _create(self, program: str, content: bytes) -> None:
        await self.switchboard.library.create(program, content)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and have done what is due then."""
        self.clock.now_s += seconds
        self.switchboard.tick()

    @property
    def waiting(self) -> object:
        return self.switchboard.snapshot()["waiting"]

    @property
    def open_bytes(self) -> object:
        return self.switchboard.snapshot()["open_bytes"]

    @property
    def counters(self) -> dict[str, int]:
        return self.switchboard.outcomes.counters.snapshot()
