"""RUNS IN MLFLOW: each run of ours is one there, found again by its tags, and never made twice.

A run is made with the tags by which it is found, so what is interrupted goes on when it is repeated:
what is there already is looked at, and only what is lacking is added. One that has ended here and is
there as a whole says so in a tag, and is not looked into again.
"""

from __future__ import annotations

import datetime as dt
import importlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from .mlflow_names import MAX_STEP, file_in_mlflow, name_in_mlflow, text_in_mlflow
from .mlflow_tracking import Refused, Tracking

T = TypeVar("T")

RUN: Final = "dspex.run"
CREATED: Final = "dspex.created"
"""Tells a run from one that was deleted and had the same id."""
COMPLETE: Final = "dspex.complete"
LISTED: Final = 1000
VALUES_AT_ONCE: Final = 500
TEXTS_AT_ONCE: Final = 20
"""Parameters and tags of one request: each may have 4,000 characters, and a request a million bytes."""
STATUS: Final = {"open": "RUNNING", "done": "FINISHED", "failed": "FAILED"}


@dataclass(slots=True, kw_only=True)
class Exported:
    """What has become of a run.

    Attributes:
        run, mlflow_run: Its id here and there.
        became: `made`, `updated`, or `unchanged`.
        values, artifacts: How many were added.
        notes: What is not in MLflow as it is here.
    """

    run: str
    mlflow_run: str
    became: str
    values: int = 0
    artifacts: int = 0
    notes: list[str] = field(default_factory=list[str])


class Exporter:
    """Brings runs of one experiment to MLflow. It waits for MLflow: not for an event loop's thread.

    Args:
        client: MLflow's.
        experiment: Its id here, which is its name there.

    Attributes:
        experiment_id: Its id there.
    """

    def __init__(self, client: Tracking, experiment: str) -> None:
        self._client = client
        self._entities: Any = importlib.import_module("mlflow.entities")
        self._experiment = experiment
        self.experiment_id = self._experiment_id()
        self._known = {_key_of(run.data.tags): run for run in self._all_runs()}
        self._ids = {run.data.tags.get(RUN): str(run.info.run_id) for run in self._known.values()}

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        if found is None:
            return str(self._client.create_experiment(self._experiment))
        if found.lifecycle_stage != "active":
            words = f"experiment {self._experiment!r} was deleted there; restore it, or delete it for good"
            raise Refused("mlflow_refused", words)
        return str(found.experiment_id)

    def _all_runs(self) -> Iterator[Any]:
        token: str | None = None
        while True:
            page: Any = self._client.search_runs([self.experiment_id], max_results=LISTED, page_token=token)
            yield from (run for run in page if RUN in run.data.tags)
            token = page.token
            if not token:
                return

    def begin(self, row: Mapping[str, Any]) -> Begun:
        """A run there for a run here.

        Args:
            row: As of `experiment.run`.
        """
        wanted = self._tags_of(row)
        known = self._known.get(_key_of(wanted))
        if known is None:
            started = _ms(row["created"])
            known = self._client.create_run(
                self.experiment_id, start_time=started, tags=wanted, run_name=row["run"]
            )
            exported = Exported(run=row["run"], mlflow_run=known.info.run_id, became="made")
        else:
            exported = Exported(run=row["run"], mlflow_run=known.info.run_id, became="unchanged")
        self._ids[row["run"]] = exported.mlflow_run
        return Begun(self._client, self._entities, row, known, wanted, exported)

    def _tags_of(self, row: Mapping[str, Any]) -> dict[str, str]:
        lineage = row["lineage"]
        parent = self._ids.get(lineage.get("parent") or lineage.get("went_on_from"))
        of_mlflow = {
            "mlflow.runName": row["run"],
            "mlflow.source.name": "dspex",
            "mlflow.source.type": "JOB" if "job" in lineage else "LOCAL",
            "mlflow.note.content": row["note"],
            "mlflow.parentRunId": parent,
        }
        of_ours = {RUN: row["run"], "dspex.experiment": self._experiment, CREATED: row["created"].isoformat()}
        of_lineage = {name_in_mlflow(f"dspex.lineage.{name}"): value for name, value in lineage.items()}
        tags = {**of_mlflow, **of_ours, **of_lineage}
        return {name: text_in_mlflow(value) for name, value in tags.items() if value is not None}


class Begun:
    """A run that is there, and to be what it is here.

    Attributes:
        exported: What has become of it so far.
    """

    def __init__(
        self,
        client: Tracking,
        entities: Any,
        row: Mapping[str, Any],
        known: Any,
        tags: Mapping[str, str],
        exported: Exported,
    ) -> None:
        self._client = client
        self._entities = entities
        self._row = row
        self._id = exported.mlflow_run
        self._tags: dict[str, str] = dict(known.data.tags)
        self._params: dict[str, str] = dict(known.data.params)
        self._metrics = frozenset(known.data.metrics)
        self._status = known.info.status
        self._wanted = tags
        self._there: dict[str, Counter[tuple[int, float, int]]] = {}
        self._names: dict[str, str] = {}
        self.exported = exported

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing to add, nor ever will be."""
        return COMPLETE in self._tags

    def write_texts(self) -> None:
        """Parameters and tags."""
        params, tags = self._lacking_params()
        tags += [(name, text) for name, text in self._wanted.items() if self._tags.get(name) != text]
        for some in _batches(params, TEXTS_AT_ONCE):
            self._client.log_batch(self._id, params=[self._entities.Param(*one) for one in some])
        for some in _batches(tags, TEXTS_AT_ONCE):
            self._client.log_batch(self._id, tags=[self._entities.RunTag(*one) for one in some])
        self._changed(bool(params or tags))

    def _lacking_params(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Those to be added; and as tags those that MLflow has with another value, which it keeps."""
        params, tags = list[tuple[str, str]](), list[tuple[str, str]]()
        for ours, value in self._row["params"].items():
            name, text = self._named("parameter", ours, name_in_mlflow(ours)), text_in_mlflow(value)
            there = self._params.get(name)
            if there is None:
                params.append((name, text))
            elif there != text:
                tag = name_in_mlflow(f"dspex.param.{ours}")
                self._note(f"parameter {ours!r} cannot change in MLflow: the tag {tag!r} has its value now")
                if self._tags.get(tag) != text:
                    tags.append((tag, text))
        return params, tags

    def write_values(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Values of metrics, those that are not there yet."""
        lacking: list[Any] = []
        for point in points:
            name = self._named("metric", point["name"], name_in_mlflow(point["name"]))
            value = (point["step"], point["value"], _ms(point["at"]))
            if point["step"] > MAX_STEP:
                self._note(f"metric {point['name']!r}: a value at a step beyond MLflow's is left out")
            elif self._is_lacking(name, value):
                step, number, at_ms = value
                lacking.append(self._entities.Metric(name, number, at_ms, step))
        for some in _batches(lacking, VALUES_AT_ONCE):
            self._client.log_batch(self._id, metrics=some)
        self.exported.values += len(lacking)
        self._changed(bool(lacking))

    def _is_lacking(self, name: str, value: tuple[int, float, int]) -> bool:
        """Also counts it as there: MLflow's databases have one value of a step, moment and size."""
        if name not in self._there:
            known = self._client.get_metric_history(self._id, name) if name in self._metrics else []
            self._there[name] = Counter((one.step, one.value, one.timestamp) for one in known)
        there = self._there[name]
        if there[value] > 0:
            there[value] -= 1
            return False
        if value in there:
            self._note(f"metric {name!r}: equal values of one step and millisecond are one in MLflow")
            return False
        there[value] = 0
        return True

    def lacks(self, name: str, sha256: str) -> bool:
        """Whether an artifact is to be written."""
        known: dict[str, object] = json.loads(self._tags.get(_tag_of(name), "{}"))
        return known.get("sha256") != sha256

    def write_artifact(self, name: str, content: bytes, described: Mapping[str, Any]) -> None:
        """An artifact; a tag says what it is called here, and that it is there as a whole.

        Args:
            name: Its name here.
            content: Its bytes.
            described: Its `media_type` and `sha256`.
        """
        file = self._named("artifact", name, file_in_mlflow(name))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / file
            path.write_bytes(content)
            self._client.log_artifact(self._id, str(path))
        told = {"name": name, "media_type": described["media_type"], "sha256": described["sha256"]}
        self._tag(_tag_of(name), json.dumps(told))
        self.exported.artifacts += 1
        self._changed(is_so=True)

    def end(self) -> None:
        """Give it its state; an ended one is complete then."""
        status = STATUS[self._row["state"]]
        if status != self._status and self._row["ended"] is not None:
            self._client.set_terminated(self._id, status, _ms(self._row["ended"]))
            self._changed(is_so=True)
        if self._row["ended"] is not None:
            self._tag(COMPLETE, "true")

    def _tag(self, name: str, text: str) -> None:
        self._client.log_batch(self._id, tags=[self._entities.RunTag(name, text)])

    def _named(self, kind: str, ours: str, theirs: str) -> str:
        if ours != theirs:
            self._note(f"{kind} {ours!r} is {theirs!r} in MLflow")
        return theirs

    def _note(self, words: str) -> None:
        if words not in self.exported.notes:
            self.exported.notes.append(words)

    def _changed(self, is_so: bool) -> None:
        if is_so and self.exported.became == "unchanged":
            self.exported.became = "updated"


def _tag_of(artifact: str) -> str:
    return name_in_mlflow(f"dspex.artifact.{artifact}")


def _key_of(tags: Mapping[str, str]) -> tuple[str | None, str | None]:
    return tags.get(RUN), tags.get(CREATED)


def _ms(moment: dt.datetime) -> int:
    return round(moment.timestamp() * 1000)


def _batches(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    left = iter(rows)
    while some := list(islice(left, size)):
        yield some
