"""`job.submit`: what a request names that is stored is looked for before there is a job."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.fakes import Client, Room

from dspex_pool.jobs import records


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def client(room: Room) -> Client:
    return room.add_client()


def submit(room: Room, client: Client, needs: dict[str, object] | None, **more: object) -> Any:
    """What becomes of a submission whose request a worker finds to need these."""
    call = client.call("job.submit", {"kind": "k", "request": 1, **more})
    room.workers[0].reply(room.workers[0].calls("job.check")[-1].id, needs)
    return client.outcome(call).fields


def program(name: str, path: str = "request", **more: object) -> dict[str, object]:
    """Needs of one."""
    return {"programs": [{"path": path, "program": name, **more}]}


def rows(name: str, **more: object) -> dict[str, object]:
    """Needs of those."""
    return {"datasets": [{"path": "request.trainset", "dataset": name, **more}]}


@pytest.mark.parametrize(
    ("needs", "code", "field"),
    [
        (program("nobody's"), "unknown_program", "request.program"),
        (program("p", version=2), "unknown_program", "request.version"),
        (program("p", path="request.teacher", tag="best"), "unknown_program", "request.teacher.tag"),
        (program("a\nb"), "invalid_argument", "request.program"),
        (rows("nobody's"), "unknown_dataset", "request.trainset.dataset"),
        (
            rows("nobody's", select={"split": {"train": 0.5}, "side": "dev"}),
            "invalid_argument",
            "request.trainset.select.side",
        ),
        (rows("nobody's", select={"sides": 1}), "invalid_argument", "request.trainset.select.sides"),
    ],
)
def test_what_is_not_there_is_told_at_once(
    room: Room, client: Client, needs: dict[str, object], code: str, field: str
) -> None:
    """By its code and the field that names it; and there is no job."""
    room.store("p")
    refusal = submit(room, client, needs, key="k")
    assert (code, field) == (refusal["code"], refusal["details"]["field"])
    assert field in refusal["message"]
    assert [] == client.outcome(client.call("job.list", {})).fields["jobs"]


def test_what_is_there_makes_a_job(room: Room, client: Client) -> None:
    """By its newest version, by a number, and by nothing at all."""
    room.store("p")
    for needs in (program("p"), program("p", version=1), None):
        assert submit(room, client, needs)["created"]


def test_a_job_that_was_submitted_is_found_though_what_it_needs_is_gone(room: Room, client: Client) -> None:
    """Whoever submits again wants to know of it; another request under its key is refused all the same."""
    room.store("p")
    job = submit(room, client, program("p"), key="k")["job"]
    client.outcome(client.call("program.delete", {}, program="p"))
    again = submit(room, client, program("p"), key="k")
    assert (job, False) == (again["job"], again["created"])
    assert "job_key_reused" == submit(room, client, program("p"), key="k", request=2)["code"]
    assert "unknown_program" == submit(room, client, program("p"))["code"]


async def test_a_tag_means_the_version_that_it_was_on_at_the_submission(room: Room, client: Client) -> None:
    """Not the one that it is on when the job begins."""
    room.store("p")
    assert client.outcome(client.call("program.tag", {"tag": "best"}, program="p", version=1)).value is None
    job = submit(room, client, program("p", tag="best"))["job"]
    (record,) = await room.memory.get([records.key_of(records.JOB, job)])
    assert record is not None
    pins = records.read_job(job, record.body).pins
    assert {records.pin_of("p", "best"): 1} == pins
    assert records.pin_of("p", "best") != records.pin_of("p")
