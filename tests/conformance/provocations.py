"""What must be done to get each error code, and the error as its receiver reads it.

The parts are real and in this process; the workers are fakes where a worker has to
misbehave. An error that crosses the wire has crossed it here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import dspy
import pytest
from tests.protocol.notation import read_bytes, vectors
from tests.support.database_servers import RedisServer, free_port
from tests.support.fakes import Client, Frame, Room, body_of, record_of
from tests.support.hops import worker_here
from tests.support.metrics import failure as metric_failure
from tests.support.metrics import row as metric_row
from tests.support.metrics import spec as metric_spec
from tests.support.proxy import Fault, Proxy, Trouble
from tests.support.servers import serving

from dspex_bridge.code.interpreters import Interpreters
from dspex_bridge.code.sandbox import Lacking
from dspex_bridge.failures import to_failure
from dspex_bridge.finetuning.endpoint import ProviderJob
from dspex_bridge.finetuning.tuning import checked
from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.jobs.budget import Budget, Cost, Purse
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.metrics.metric import Asking
from dspex_bridge.metrics.rows import Row
from dspex_bridge.metrics.scores import Score
from dspex_bridge.metrics.scoring import Scoring
from dspex_bridge.programs.upgrades import SCHEMA
from dspex_bridge.worker import zygote
from dspex_pool.client import Client as PoolClient
from dspex_pool.library import Library
from dspex_pool.library.records import version_key
from dspex_pool.session_records import lease_of
from dspex_pool.store import Put, Store, StoreError
from dspex_pool.store.redis import RedisStore
from dspex_pool.store.sqlite import SqliteStore
from dspex_protocol import (
    CALL,
    FAIL,
    NIL,
    NOTE,
    DSPexError,
    FrameDecoder,
    LMConfig,
    Oversized,
    decode_envelope,
    decode_failure,
    encode,
    encode_failure,
    encode_value,
)
from dspex_protocol.frame import HEADER_BYTES

NOTE_ONLY: Final = None
"""Instead of an error: the code stood in a NOTE, which says nothing about a call."""

Provocation = Callable[[], DSPexError | None]
PROVOCATIONS: Final[dict[str, Provocation]] = {}


def provokes(*codes: str) -> Callable[[Callable[[str], DSPexError | None]], None]:
    """Enter a function into the table; it is given the code that it is to provoke."""

    def enter(function: Callable[[str], DSPexError | None]) -> None:
        for code in codes:
            PROVOCATIONS[code] = partial(function, code)

    return enter


def failed(frame: Frame) -> DSPexError:
    """The error that a FAIL carries."""
    assert FAIL == frame.kind, frame
    return decode_failure(frame.payload)


def noted(client: Client, code: str) -> DSPexError | None:
    """See that the last thing that the client was told is this code."""
    last = client.sent[-1]
    assert (NOTE, "system.fault", code) == (last.kind, last.method, last.fields["code"])
    return NOTE_ONLY


def crossed(failure: DSPexError) -> DSPexError:
    """An error of a worker, at the other end of the wire."""
    return decode_failure(encode_failure(failure))


def raised(function: Callable[[], object]) -> DSPexError:
    """The error that a function ends with."""
    with pytest.raises(DSPexError) as caught:
        function()
    return caught.value


# Frames, envelopes, values


@provokes(*sorted({str(one["error"]) for one in vectors("value") if "error" in one}))
def _value(code: str) -> DSPexError | None:
    payload = next(
        read_bytes(one) for one in vectors("value") if one.get("error") == code and read_bytes(one)
    )
    client = Room().add_client()
    client.give(encode(CALL, 50, "system.ping", {}, payload)[HEADER_BYTES:])
    return failed(client.outcome(50))


@provokes("value_unencodable")
def _value_unencodable(code: str) -> DSPexError | None:
    return raised(lambda: encode_value(object()))


@provokes("frame_empty")
def _frame_empty(code: str) -> DSPexError | None:
    client = Room().add_client()
    client.give(b"")
    return noted(client, code)


@provokes("frame_too_large")
def _frame_too_large(code: str) -> DSPexError | None:
    client = Room().add_client()
    client.give(Oversized(1 << 25, body_of(CALL, 9, "system.echo", {}, "x" * 5000)[:4097]))
    return failed(client.outcome(9))


@provokes("frame_truncated")
def _frame_truncated(code: str) -> DSPexError | None:
    decoder = FrameDecoder()
    decoder.feed(b"\0\0\0\x05ab")
    return raised(decoder.finish)


@provokes("envelope_invalid", "envelope_too_large")
def _envelope(code: str) -> DSPexError | None:
    body = next(read_bytes(one) for one in vectors("body") if one.get("error") == code)
    client = Room().add_client()
    client.give(body)
    last = client.sent[-1]
    return failed(last) if last.kind == FAIL else noted(client, code)


@provokes("call_id_reused")
def _call_id_reused(code: str) -> DSPexError | None:
    client = Room().add_client()
    client.call("system.echo", 1, 7)
    client.call("system.echo", 2, 7)
    return noted(client, code)


@provokes("credit_exceeded")
def _credit_exceeded(code: str) -> DSPexError | None:
    room = Room()
    client = room.add_client()
    call = client.call("program.predict", credit=1)
    room.workers[0].item(1, 0)
    room.workers[0].item(1, 1)
    return failed(client.outcome(call))


# The handshake and the arguments


@provokes(
    "handshake_required", "handshake_failed", "handshake_repeated", "invalid_argument", "unknown_method"
)
def _handshake(code: str) -> DSPexError | None:
    method, value = {
        "handshake_required": ("system.ping", None),
        "handshake_failed": ("system.hello", {"protocol": "dspex", "versions": [2]}),
        "handshake_repeated": ("system.hello", {"protocol": "dspex", "versions": [1]}),
        "invalid_argument": ("system.hello", {"protocol": "http", "versions": [1]}),
        "unknown_method": ("no.such", None),
    }[code]
    client = Room().add_client(greet=code in ("handshake_repeated", "unknown_method"))
    return failed(client.outcome(client.call(method, value)))


@provokes("unknown_program")
def _unknown_program(code: str) -> DSPexError | None:
    client = Room().add_client()
    return failed(client.outcome(client.call("program.get", {}, program="none")))


@provokes("unknown_dataset")
def _unknown_dataset(code: str) -> DSPexError | None:
    client = Room().add_client()
    return failed(client.outcome(client.call("dataset.get", {"dataset": "none"})))


@provokes("unknown_experiment")
def _unknown_experiment(code: str) -> DSPexError | None:
    client = Room().add_client()
    return failed(client.outcome(client.call("experiment.runs", {"experiment": "none"})))


@provokes("unknown_evaluation")
def _unknown_evaluation(code: str) -> DSPexError | None:
    client = Room().add_client()
    return failed(client.outcome(client.call("evaluation.get", {"evaluation": "none"})))


@provokes("evaluation_exists")
def _evaluation_exists(code: str) -> DSPexError | None:
    room = Room()
    client = room.add_client()
    given = {"evaluation": "e", "spec": {}, "rows": [], "metrics": {"m": {}}}
    client.call("evaluation.run", given)
    room.workers[0].reply(room.workers[0].calls("evaluation.check")[0].id)
    return failed(client.outcome(client.call("evaluation.run", {**given, "lm": "another"})))


@provokes("evaluation_taken")
def _evaluation_taken(code: str) -> DSPexError | None:
    room = Room()
    client, worker = room.add_client(), room.workers[0]
    given = {"evaluation": "e", "spec": {}, "rows": [{}], "metrics": {"m": {}}}
    first = client.call("evaluation.run", given)
    worker.reply(worker.calls("evaluation.check")[0].id)
    client.call("evaluation.run", given)
    worker.reply(worker.calls("evaluation.check")[1].id)
    said: dict[str, object] = {
        "prediction": {},
        "error": None,
        "scores": {},
        "metric_usage": {},
        "worker_ms": 1.0,
    }
    worker.reply(worker.calls("evaluation.row")[0].id, said)
    return failed(client.outcome(first))


@provokes("unknown_job")
def _unknown_job(code: str) -> DSPexError | None:
    client = Room().add_client()
    return failed(client.outcome(client.call("job.get", {"job": "none"})))


@provokes("job_key_reused", "job_not_done")
def _jobs(code: str) -> DSPexError | None:
    room = Room()
    client = room.add_client()

    def submit(request: object) -> Frame:
        call = client.call("job.submit", {"kind": "k", "request": request, "key": "k"})
        room.workers[0].reply(room.workers[0].calls("job.check")[-1].id, None)
        return client.outcome(call)

    job = submit(1).fields["job"]
    if code == "job_key_reused":
        return failed(submit(2))
    return failed(client.outcome(client.call("job.result", {"job": job})))


@provokes("program_exists")
def _program_exists(code: str) -> DSPexError | None:
    room = Room()
    client = room.add_client()
    room.store("p")
    second = client.call("program.create", {"spec": {}}, program="p")
    room.workers[0].reply(room.workers[0].calls("program.build")[0].id, record_of("B"))
    return failed(client.outcome(second))


@provokes("callback_too_deep")
def _callback_too_deep(code: str) -> DSPexError | None:
    room = Room()
    client, worker = room.add_client(), room.workers[0]
    call = client.call("program.predict")
    for depth in range(1, 10):
        worker.call_host(depth, parent=worker.calls()[-1].id)
        call = client.call("program.predict", parent=client.callbacks()[-1].id)
    return failed(client.outcome(call))


# The service


@provokes("overloaded")
def _overloaded(code: str) -> DSPexError | None:
    client = Room(calls_per_worker=1, max_queue=0).add_client()
    client.call()
    return failed(client.outcome(client.call()))


@provokes("unavailable")
def _unavailable(code: str) -> DSPexError | None:
    """A zygote that the system refuses a process. This process may have threads; a zygote has none."""
    supervisor, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def refuse(*_: object) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with supervisor, control, pytest.MonkeyPatch.context() as patched:
        patched.setattr(zygote, "_why_unfit", lambda: None)
        patched.setattr(zygote, "_fork_worker", refuse)
        request = encode(CALL, 1, "zygote.fork", {"parent_pid": os.getpid()}, NIL)[HEADER_BYTES:]
        socket.send_fds(supervisor, [request], [0, 0])
        zygote._serve_one(control)
        body = supervisor.recv(zygote.MAX_DATAGRAM_BYTES)
    return decode_failure(body[decode_envelope(body).payload_at :])


@provokes("boot_failed")
def _boot_failed(code: str) -> DSPexError | None:
    """A real server whose workers cannot import what they are told to."""

    async def run() -> None:
        async with serving(environment={"DSPEX_PLUGINS": "no_such_plugin"}) as client:
            await client.call("system.echo")

    return raised(lambda: asyncio.run(run()))


@provokes("worker_died")
def _worker_died(code: str) -> DSPexError | None:
    room = Room()
    client, worker = room.add_client(), room.workers[0]
    call = client.call("program.predict", credit=5)
    worker.start(1)
    worker.item(1, 0)
    worker.die()
    return failed(client.outcome(call))


@provokes("poisoned")
def _poisoned(code: str) -> DSPexError | None:
    room = Room()
    client = room.add_client()
    call = client.call("program.predict")
    while not client.outcomes(call):
        worker = room.workers[-1]
        worker.start(worker.calls()[-1].id)
        worker.die()
        room.add_worker()
    return failed(client.outcome(call))


@provokes("deadline")
def _deadline(code: str) -> DSPexError | None:
    room = Room()
    client = room.add_client()
    call = client.call(deadline_ms=100)
    room.pass_time(0.2)
    return failed(client.outcome(call))


@provokes("cancelled")
def _cancelled(code: str) -> DSPexError | None:
    client = Room(workers=0).add_client()
    call = client.call()
    client.cancel(call)
    return failed(client.outcome(call))


@provokes("draining")
def _draining(code: str) -> DSPexError | None:
    client = Room().add_client()
    client.call()
    client.connection.drain()
    return failed(client.outcome(client.call()))


@provokes("connection_lost")
def _connection_lost(code: str) -> DSPexError | None:
    """A server that ends before it has said anything."""

    async def run() -> None:
        async with PoolClient.start(command=["true"]):
            pass

    return raised(lambda: asyncio.run(run()))


@provokes("result_too_large")
def _result_too_large(code: str) -> DSPexError | None:
    room = Room()
    client = room.add_client()
    client.connection.max_frame_bytes = 4096
    call = client.call()
    room.workers[0].reply(1, "x" * 5000)
    return failed(client.outcome(call))


@provokes("internal")
def _internal(code: str) -> DSPexError | None:
    return decode_failure(b"\xc1")


# Stored programs and sessions


@provokes("version_conflict", "write_id_reused")
def _write(code: str) -> DSPexError | None:
    """Somebody else's version came first; another write under the same id."""
    room = Room()
    room.store("p")
    client = room.add_client()
    revise = {"program": "p", "version": 1, "write_id": "w"}
    calls = [client.call("program.update", {"note": note}, **revise) for note in "AB"]
    if code == "version_conflict":
        calls.append(client.call("program.update", {}, program="p", version=1))
    for frame in room.workers[0].calls("program.revise"):
        room.workers[0].reply(frame.id, record_of("A"))
    return failed(client.outcome(calls[-1]))


@provokes("program_damaged")
def _program_damaged(code: str) -> DSPexError | None:
    """Somebody has written over a version."""
    room = Room()
    room.store("p")
    client = room.add_client()
    room.tasks.start(_written(room, Put(key=version_key("p", 1), body=b"x")))
    return failed(client.outcome(client.call("program.get", {}, program="p")))


async def _written(room: Room, put: Put) -> None:
    await room.memory.commit([put])


@provokes("session_exists", "session_busy")
def _session(code: str) -> DSPexError | None:
    """Opened twice; taken by another server."""
    room = Room()
    room.store("p")
    client = room.add_client()
    client.call("session.open", {}, program="p", session="s")
    if code == "session_exists":
        return failed(client.outcome(client.call("session.open", {}, program="p", session="s")))

    async def take() -> None:
        await room.memory.lease(lease_of("s"), "another server", 15.0)

    room.tasks.start(take())
    return failed(client.outcome(client.call("program.predict", {}, session="s")))


@provokes(
    "store_unavailable", "store_full", "store_read_only", "store_refused", "store_rewound", "store_damaged"
)
def _store(code: str) -> DSPexError | None:
    """A real store that is so, under the library of programs."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store, spoil = SPOILED[code](folder, stack)
        return crossed(asyncio.run(_write_to(store, spoil)))


async def _write_to(store: Store, spoil: Callable[[], None]) -> DSPexError:
    """How a write fails once the store is spoiled; some ways to be so are noticed within a second."""
    with contextlib.suppress(StoreError):
        await store.open()
    library = Library(store, clock=time.monotonic, wall_ms=lambda: 0, new_id=lambda: secrets.token_hex(8))
    content = encode_value(record_of("x" * 100_000))
    try:
        with contextlib.suppress(DSPexError):
            await library.create("p", content)
        spoil()
        async with asyncio.timeout(20):
            while True:
                try:
                    await library.create(None, content)
                except DSPexError as failure:
                    return failure
    finally:
        await store.close()


Spoiled = Callable[[Path, contextlib.ExitStack], tuple[Store, Callable[[], None]]]


def _nobody_there(folder: Path, stack: contextlib.ExitStack) -> tuple[Store, Callable[[], None]]:
    return RedisStore(f"redis://127.0.0.1:{free_port()}/0"), lambda: None


def _redis(*spoiling: str) -> Spoiled:
    def start(folder: Path, stack: contextlib.ExitStack) -> tuple[Store, Callable[[], None]]:
        server = RedisServer()
        stack.callback(server.remove)
        server.start()

        def spoil() -> None:
            assert b"+OK\r\n" == server.ask(*spoiling)

        return RedisStore(server.url(), timeout_s=10.0), spoil

    return start


def _folder(folder: Path, stack: contextlib.ExitStack) -> tuple[Store, Callable[[], None]]:
    return SqliteStore(folder), lambda: None


def _gone(folder: Path, stack: contextlib.ExitStack) -> tuple[Store, Callable[[], None]]:
    return SqliteStore(folder / "state.db", timeout_s=10.0), (folder / "state.db").unlink


def _garbage(folder: Path, stack: contextlib.ExitStack) -> tuple[Store, Callable[[], None]]:
    (folder / "state.db").write_bytes(b"no database, but as long as one " * 1000)
    return SqliteStore(folder / "state.db", timeout_s=10.0), lambda: None


SPOILED: Final[Mapping[str, Spoiled]] = {
    "store_unavailable": _nobody_there,
    "store_full": _redis("CONFIG", "SET", "maxmemory", "1mb"),
    "store_read_only": _redis("REPLICAOF", "127.0.0.1", "1"),
    "store_refused": _folder,
    "store_rewound": _gone,
    "store_damaged": _garbage,
}


def store_that_answers_no_more() -> DSPexError:
    """A write that was sent, and nobody knows what has become of it."""

    async def run() -> DSPexError:
        server = RedisServer()
        try:
            server.start()
            async with Proxy(server.port).running() as proxy:
                store = RedisStore(server.url(port=proxy.port), timeout_s=0.5)
                await store.open()
                library = Library(store, clock=time.monotonic, wall_ms=lambda: 0, new_id=str)
                await library.create("p", encode_value(record_of("A")))
                await proxy.arm(Trouble(fault=Fault.SWALLOW, direction="down"))
                try:
                    await library.create("q", encode_value(record_of("B")))
                except DSPexError as failure:
                    return failure
                finally:
                    await store.close()
        finally:
            server.remove()
        raise AssertionError("the write was made")

    return crossed(asyncio.run(run()))


# What a worker is sent from the store


@provokes("record_too_new", "unknown_session")
def _from_the_store(code: str) -> DSPexError | None:
    """A real worker that is given the record of a newer server, or a turn of a session that it lacks."""

    async def run() -> DSPexError:
        async with worker_here() as (hop, _):
            if code == "record_too_new":
                return await hop.failure("program.load", {"schema": SCHEMA + 1}, program="p", version=1)
            record = await hop.call("program.build", {"spec": {"module": "Predict", "signature": "q -> a"}})
            await hop.call("program.load", record, program="p", version=1)
            called = {"session": "s", "turn": 3, "program": "p", "version": 1}
            return await hop.failure("program.predict", {"inputs": {"q": "x"}}, **called)

    return asyncio.run(run())


# Programs and their language models


@provokes("unknown_lm", "lm_not_configured", "unknown_function", "function_timeout", "function_failed")
def _language_model(code: str) -> DSPexError | None:
    known: Mapping[str, LMConfig] = {
        "silent": LMConfig(model="host/ask", timeout_s=0.01),
        "nobody": LMConfig(model="host/nobody"),
        "wrong": LMConfig(model="host/answer_wrongly"),
    }
    wanted = {"function_timeout": "silent", "unknown_function": "nobody", "function_failed": "wrong"}

    async def host(function: str, args: Mapping[str, object]) -> object:
        if function == "ask":
            await asyncio.sleep(60)
        return 7

    async def run() -> None:
        functions = HostFunctions(host, asyncio.get_running_loop())
        functions.configure(["ask", "answer_wrongly"])
        lms = LanguageModels(functions)
        lms.configure({} if code == "lm_not_configured" else dict(known), {})
        lm = lms.get(wanted.get(code, "nowhere"))
        await lm.acall("a question")

    with pytest.raises(Exception) as caught:
        asyncio.run(run())
    return crossed(to_failure(caught.value))


_RAISED: Final[Mapping[str, BaseException]] = {
    "program_failed": KeyError("x"),
    "lm_auth": dspy.LMAuthError("no"),
    "lm_rate_limited": dspy.LMRateLimitError("slow"),
    "lm_context_window": dspy.ContextWindowExceededError(message="long"),
    "lm_invalid_request": dspy.LMInvalidRequestError("odd"),
    "lm_timeout": dspy.LMTimeoutError("late"),
    "lm_unavailable": dspy.LMServerError("down"),
    "lm_error": dspy.LMUnexpectedError("what"),
}


@provokes(*_RAISED)
def _raised(code: str) -> DSPexError | None:
    return crossed(to_failure(_RAISED[code]))


@provokes("finetune_failed")
def _finetune_failed(code: str) -> DSPexError | None:
    return crossed(raised(lambda: checked(ProviderJob(id="job-1", status="failed", file="file-1"))))


@provokes("metric_failed")
def _metric_failed(code: str) -> DSPexError | None:
    return crossed(metric_failure(metric_spec("exact_match", field="reply"), {}, {"answer": "a"}))


@provokes("metric_timeout")
def _metric_timeout(code: str) -> DSPexError | None:
    async def ask(row: Row) -> Score:
        await asyncio.sleep(60)
        return Score(score=1.0)

    async def run() -> None:
        silent = Asking("host", ask, asks_models=False)
        await Scoring().within(silent, metric_row({}, {}), 0.01)

    return crossed(raised(lambda: asyncio.run(run())))


@provokes("not_permitted")
def _not_permitted(code: str) -> DSPexError | None:
    interpreters = Interpreters(find=lambda: Lacking(what="Deno is not installed", advice="install it"))
    with pytest.raises(DSPexError) as caught:
        interpreters.lease()()
    return crossed(to_failure(caught.value))


@provokes("budget_spent")
def _budget_spent(code: str) -> DSPexError | None:
    return crossed(raised(Purse(Budget(lm_calls=1), Cost(lm_calls=1)).take))


@provokes("prediction_failed")
def _prediction_failed(code: str) -> DSPexError | None:
    make: Any = dspy.Signature  # called with a string, it makes a class
    with pytest.raises(dspy.AdapterParseError) as caught:
        dspy.ChatAdapter().parse(make("question -> answer"), "nothing of the kind")
    return crossed(to_failure(caught.value))
