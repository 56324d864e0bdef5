"""The export to MLflow: into a real SQLite store and a real server, read back by MLflow's own client."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.mlflow_places import dspex, mlflow_server, read, start
from tests.support.servers import serving

from dspex_pool.cli.mlflow_names import name_in_mlflow
from dspex_pool.client import Client

pytestmark = pytest.mark.slow

LONG = "ä" * 4000
ODD = "f1 % \N{SNOWMAN}"


class Lab:
    """A server with an experiment, and a place for MLflow.

    Args:
        client: Of the server.
        address: Where it listens.
        folder: For all files.
    """

    def __init__(self, client: Client, address: str, folder: Path) -> None:
        self._client = client
        self._address = address
        self.folder = folder
        self.uri = f"sqlite:///{folder}/mlflow.db"

    async def ask(self, method: str, **payload: Any) -> Any:
        """What a method about the experiment answers."""
        return await self._client.call(f"experiment.{method}", {"experiment": "demos", **payload})

    @property
    def words(self) -> list[str]:
        """The command, without where to."""
        return ["experiment", "export", "demos", "--to", "mlflow", "--json", "--connect", self._address]

    async def export(self, uri: str | None = None) -> dict[str, Any]:
        """What the export says."""
        made = await asyncio.to_thread(dspex, *self.words, "--uri", uri or self.uri, folder=self.folder)
        assert made.returncode == 0, made.stderr
        return json.loads(made.stdout)  # type: ignore[no-any-return]

    async def there(self, uri: str | None = None) -> list[dict[str, Any]]:
        """What MLflow has."""
        return await asyncio.to_thread(read, uri or self.uri, "demos", self.folder)

    async def points(self, run: str) -> list[dict[str, Any]]:
        """All values of a run."""
        found = list[dict[str, Any]]()
        after: int | None = 0
        while after is not None:
            page = await self.ask("points", run=run, after=after, limit=1000)
            found, after = found + page["points"], page["next"]
        return found

    async def fill(self, values: int = 3) -> None:
        """Three runs: one with everything, one that failed and came of it, and one that is open."""
        params = {"k": 4, "share": 0.5, "is_on": True, "none": None, "long": LONG, ODD: "odd", "..": "path"}
        lineage = {"program": "qa", "version": 3, "dataset": "questions", "dataset_version": 2}
        await self.ask("begin", params=params, lineage=lineage, note="a try\nof two lines")
        points = [{"name": "f1", "value": n / 8} for n in range(values)]
        points += [{"name": ODD, "value": -1.5, "step": 2**40}, {"name": "train/loss", "value": 1e-300}]
        for at in range(0, len(points), 1000):
            await self.ask("log", run="run-1", points=points[at : at + 1000])
        await self.ask("attach", run="run-1", name="a/\N{SNOWMAN}.md", content="# Bräu\r\n")
        await self.ask("attach", run="run-1", name="a", content=bytes(range(256)) * 300)
        await self.ask("attach", run="run-1", name="empty", content=b"")
        await self.ask("end", run="run-1")
        await self.ask("begin", lineage={"went_on_from": "run-1", "job": "job-7"})
        await self.ask("log", run="run-2", points=[{"name": "f1", "value": 0.25}])
        await self.ask("end", run="run-2", state="failed")
        await self.ask("begin", params={"k": 1})


@pytest_asyncio.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    address = f"unix:{tmp_path / 's'}"
    flags = ("--workers", "1", "--store", "memory", "--listen", f"stdio,{address}")
    async with serving(*flags, limit_s=600) as client:
        yield Lab(client, address, tmp_path)


async def check_all(lab: Lab, there: list[dict[str, Any]]) -> None:
    """See that MLflow has all that `Lab.fill` has made."""
    told = {run: await lab.ask("run", run=run) for run in ("run-1", "run-2", "run-3")}
    first, second, third = there
    assert ["run-1", "run-2", "run-3"] == [run["name"] for run in there]
    assert ["FINISHED", "FAILED", "RUNNING"] == [run["status"] for run in there]
    for run in there:
        row = told[run["name"]]
        times = [row[at] and round(row[at].timestamp() * 1000) for at in ("created", "ended")]
        assert times == run["times"]
        wanted: dict[str, list[list[object]]] = {}
        for point in await lab.points(run["name"]):
            at_ms = round(point["at"].timestamp() * 1000)
            wanted.setdefault(name_in_mlflow(point["name"]), []).append(
                [point["step"], point["value"], at_ms]
            )
        assert wanted == run["metrics"]
        assert {name_in_mlflow(name): one["last"] for name, one in row["metrics"].items()} == run["last"]
    assert {
        "k": "4",
        "share": "0.5",
        "is_on": "true",
        "none": "null",
        "long": LONG,
        "f1 _x0025_ _x2603_": "odd",
        "_x002E__x002E_": "path",
    } == first["params"]
    assert {
        "a": bytes(range(256)) * 300,
        "a_x002F__x2603_.md": "# Bräu\r\n".encode(),
        "empty": b"",
    } == {name: base64.b64decode(body) for name, body in first["artifacts"].items()}
    tags = first["tags"]
    assert ("run-1", "demos", "qa", "3", "2", "a try\nof two lines", "dspex", "LOCAL") == tuple(
        tags[name]
        for name in (
            *("dspex.run", "dspex.experiment", "dspex.lineage.program", "dspex.lineage.version"),
            *("dspex.lineage.dataset_version", "mlflow.note.content"),
            *("mlflow.source.name", "mlflow.source.type"),
        )
    )
    described = json.loads(tags["dspex.artifact.a/_x2603_.md"])
    assert ("a/\N{SNOWMAN}.md", "text/plain") == (described["name"], described["media_type"])
    assert (first["id"], "JOB") == tuple(
        second["tags"][name] for name in ("mlflow.parentRunId", "mlflow.source.type")
    )
    assert ({"k": "1"}, {}) == (third["params"], third["metrics"])


async def test_everything_arrives_and_nothing_twice(lab: Lab) -> None:
    """The first time all; then nothing; then what has come since."""
    await lab.fill()
    said = await lab.export()
    assert 3 * ["made"] == [run["became"] for run in said["runs"]]
    assert (5, 3) == (said["runs"][0]["values"], said["runs"][0]["artifacts"])
    assert any(ODD in note for note in said["runs"][0]["notes"])
    there = await lab.there()
    await check_all(lab, there)
    again = await lab.export()
    assert 3 * ["unchanged"] == [run["became"] for run in again["runs"]]
    assert there == await lab.there()
    points = [{"name": "f1", "value": 0.5}, {"name": "new", "value": 1.0}]
    await lab.ask("log", run="run-3", points=points, params={"k": 2, "more": 7}, lineage={"program": "qa"})
    await lab.ask("attach", run="run-3", name="late", content="text")
    await lab.ask("begin")
    await lab.ask("log", run="run-4", points=[{"name": "twin", "value": 1.0, "step": 5}] * 2)
    said = await lab.export()
    assert ["metric 'twin': equal values of one step and millisecond are one in MLflow"] == said["runs"][3][
        "notes"
    ]
    assert ["unchanged", "unchanged", "updated", "made"] == [run["became"] for run in said["runs"]]
    await lab.ask("log", run="run-3", points=[{"name": "f1", "value": 0.75}])
    await lab.ask("attach", run="run-3", name="late", content="another text")
    await lab.ask("end", run="run-3")
    said = await lab.export()
    assert (1, 1) == (said["runs"][2]["values"], said["runs"][2]["artifacts"])
    third = (await lab.there())[2]
    assert [[0, 0.5], [1, 0.75]] == [value[:2] for value in third["metrics"]["f1"]]
    assert ("FINISHED", b"another text", "qa") == (
        third["status"],
        base64.b64decode(third["artifacts"]["late"]),
        third["tags"]["dspex.lineage.program"],
    )
    # A parameter of MLflow's stays what it was; what it is now is told, and not lost.
    assert ({"k": "1", "more": "7"}, "2") == (third["params"], third["tags"]["dspex.param.k"])
    assert ["parameter 'k' cannot change in MLflow: the tag 'dspex.param.k' has its value now"] == said[
        "runs"
    ][2]["notes"]
    there = await lab.there()
    assert (4, 1) == (len(there), len(there[3]["metrics"]["twin"]))


async def test_a_server_has_the_same(lab: Lab) -> None:
    """Over HTTP, artifacts too; what is sent twice is not there twice."""
    await lab.fill(values=1200)
    with mlflow_server(lab.folder) as address:
        await lab.export(address)
        there = await lab.there(address)
        await check_all(lab, there)
        assert 1200 == len(there[0]["metrics"]["f1"])
        assert 3 * ["unchanged"] == [run["became"] for run in (await lab.export(address))["runs"]]
        assert there == await lab.there(address)


MOMENTS = {
    "the first run is there": "select count(*) >= 1 from runs",
    "some values are": "select count(*) >= 500 from metrics",
    "more values are": "select count(*) >= 2000 from metrics",
    "an artifact is": "select count(*) >= 1 from tags where key like 'dspex.artifact.%'",
    "a run is complete": "select count(*) >= 1 from tags where key = 'dspex.complete'",
}


async def comes(process: subprocess.Popen[str], database: Path, moment: str) -> bool:
    """Whether a moment comes while the export runs."""
    while process.poll() is None:
        with (
            contextlib.suppress(sqlite3.OperationalError),
            contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=0.1)) as there,
        ):
            if there.execute(moment).fetchone()[0]:
                return True
        await asyncio.sleep(0.005)
    return False


async def test_an_export_that_was_killed_goes_on(lab: Lab) -> None:
    """Wherever that was: repeated, it comes to the same as one that nobody disturbed."""
    await lab.fill(values=3000)
    killed = 0
    for moment in MOMENTS.values():
        process = start(*lab.words, "--uri", lab.uri, folder=lab.folder)
        killed += await comes(process, lab.folder / "mlflow.db", moment)
        process.kill()
        await asyncio.to_thread(process.communicate)
    said = await lab.export()
    assert 3 == len(said["runs"])
    assert killed >= 3
    await check_all(lab, await lab.there())


async def test_an_experiment_of_the_same_name_is_another_one(lab: Lab) -> None:
    """Deleted here and begun anew: its runs are not those that were exported before."""
    await lab.ask("begin", params={"k": 1})
    await lab.export()
    await lab.ask("delete")
    await lab.ask("begin", params={"k": 2})
    said = await lab.export()
    assert ["made"] == [run["became"] for run in said["runs"]]
    assert ["1", "2"] == [run["params"]["k"] for run in await lab.there()]


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("http://127.0.0.1:9", "mlflow_unavailable"),
        ("sqlite:////proc/nothing/mlflow.db", "mlflow_unavailable"),
        ("sqlite:///{folder}", "mlflow_unavailable"),
        ("sqlite:///{folder}/broken.db", "mlflow_unavailable"),
        ("carrier-pigeon://coop", "mlflow_unavailable"),
    ],
)
async def test_what_is_not_there_is_told(lab: Lab, uri: str, code: str) -> None:
    """In less time than MLflow's own client would try, and nothing is half there."""
    await lab.ask("begin")
    (lab.folder / "broken.db").write_text("no database")
    told = await asyncio.to_thread(
        dspex, *lab.words, "--uri", uri.format(folder=lab.folder), folder=lab.folder
    )
    assert 1 == told.returncode
    failure = json.loads(told.stderr)["error"]
    assert (code, 0) == (failure["code"], failure["exported"])


async def test_an_experiment_that_is_not_there_makes_none(lab: Lab) -> None:
    """The server says so, and MLflow hears nothing."""
    told = await asyncio.to_thread(dspex, *lab.words, "--uri", lab.uri, folder=lab.folder)
    assert (1, "unknown_experiment") == (told.returncode, json.loads(told.stderr)["error"]["code"])
    assert not (lab.folder / "mlflow.db").exists()


async def test_a_shell_needs_no_server_and_no_flag(tmp_path: Path) -> None:
    """One of the store's is started, and MLflow's own variable says where to."""
    store = f"sqlite:{tmp_path}/state.db"
    async with serving("--workers", "1", "--store", store) as client:
        begun = {"experiment": "demos", "params": {"k": 1}}
        await client.call("experiment.begin", begun)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    words = ["experiment", "export", "demos", "--to", "mlflow"]
    made = await asyncio.to_thread(dspex, *words, folder=tmp_path, DSPEX_STORE=store, MLFLOW_TRACKING_URI=uri)
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("1 runs (1 made, 0 updated, 0 unchanged): 0 values and 0 artifacts")
    assert ["run-1"] == [run["name"] for run in read(uri, "demos", tmp_path)]
