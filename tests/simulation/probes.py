"""Calls that must succeed when all is calm: each method that a server has been used for, once."""

from __future__ import annotations

from collections.abc import Generator

from .job_records import JobCall, Submission
from .records import CallRecord, WriteRecord
from .servers import SimServer
from .toil import Toil


def probe(server: SimServer) -> Generator[CallRecord]:
    """One call after another; the next one is made when the one before has its outcome."""
    for at in range(2 + server.world.config.workers):
        yield server.probe(("system.echo", "program.predict")[at % 2])
    yield server.probe("batch.run", _batch(server), rows=7)
    yield from _probe_store(server)
    if server.world.config.job_workers:
        yield from _probe_jobs(server)


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
    return server.probe(method, payload, write=write, about=None, **meta)


def _probe_jobs(server: SimServer) -> Generator[CallRecord]:
    """A job that is submitted, followed to its end, looked at and forgotten."""
    toil = Toil(
        number=server.world.next_nonce(),
        steps=3,
        at_once=2,
        ms=5,
        asks_host=True,
        saves=True,
        program=None,
        fails=False,
        is_endless=False,
    )
    payload: dict[str, object] = {"kind": "toil", "request": toil.told()}
    submission = Submission(toil=toil, key=None, payload=payload)
    server.world.jobs.submissions[toil.number] = submission
    yield server.probe("job.submit", payload, about=JobCall(submission=submission))
    (job,) = submission.jobs
    yield server.probe("job.follow", {"job": job}, about=JobCall(job=job), credit=100)
    yield server.probe("job.result", {"job": job}, about=JobCall(job=job))
    forget = server.probe("job.delete", {"job": job}, about=JobCall(job=job))
    server.world.jobs.pages[job].deletes.append(forget)
    yield forget


def cancel(server: SimServer, job: str) -> CallRecord:
    """Have somebody end a job, at that server."""
    call = server.probe("job.cancel", {"job": job}, about=JobCall(job=job))
    server.world.jobs.pages[job].cancels.append(call)
    return call
