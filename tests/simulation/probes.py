"""Calls that must succeed when all is calm: each method that a server has been used for, once."""

from __future__ import annotations

from collections.abc import Generator

from .records import CallRecord, WriteRecord
from .servers import SimServer


def probe(server: SimServer) -> Generator[CallRecord]:
    """One call after another; the next one is made when the one before has its outcome."""
    for at in range(2 + server.world.config.workers):
        yield server.probe(("system.echo", "program.predict")[at % 2])
    yield server.probe("batch.run", _batch(server), rows=7)
    yield from _probe_store(server)


def _batch(server: SimServer) -> dict[str, object]:
    return {"inputs": [{"ms": 1, "nonce": server.world.next_nonce()} for _ in range(7)], "parallelism": 2}


def _probe_store(server: SimServer) -> Generator[CallRecord]:
    number = server.world.next_nonce()
    program, session = f"probe {number}", f"probed {number}"
    content: dict[str, object] = {"spec": {"nonce": number}, "note": str(number)}
    yield _write(server, "program.create", content, number, {"program": program})
    yield server.probe("program.predict", program=program)
    number = server.world.next_nonce()
    ttl: dict[str, object] = {"ttl_s": 60 + number * 1e-6}
    yield _write(server, "session.open", ttl, number, {"program": program, "session": session})
    for _ in range(2):
        yield server.probe("program.predict", session=session)
    yield server.probe("session.get", {}, session=session)


def _write(
    server: SimServer, method: str, payload: dict[str, object], number: int, meta: dict[str, str]
) -> CallRecord:
    write = WriteRecord(number=number, id=None, method=method, payload=payload, meta={**meta})
    server.world.common.ledger.wanted(write)
    return server.probe(method, payload, write=write, **meta)
