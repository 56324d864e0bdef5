"""What MLflow's own client finds at a tracking URI, as JSON: run with MLflow's Python, without ours."""

from __future__ import annotations

import base64
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any


def read(uri: str, experiment: str) -> list[dict[str, Any]]:
    """All runs of an experiment by that name, the oldest first."""
    client: Any = importlib.import_module("mlflow").MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    runs = client.search_runs([found.experiment_id], max_results=50000)
    # Several may begin within a millisecond.
    in_order = sorted(runs, key=lambda run: (int(run.info.start_time), str(run.info.run_name)))
    return [read_run(client, run) for run in in_order]


def read_run(client: Any, run: Any) -> dict[str, Any]:
    """A run with all that hangs on it."""
    run_id, info, data = run.info.run_id, run.info, run.data
    history = {name: client.get_metric_history(run_id, name) for name in data.metrics}
    with tempfile.TemporaryDirectory() as folder:
        files = {
            one.path: Path(client.download_artifacts(run_id, one.path, folder)).read_bytes()
            for one in client.list_artifacts(run_id)
        }
    return {
        "id": run_id,
        "name": info.run_name,
        "status": info.status,
        "times": [info.start_time, info.end_time],
        "params": dict(data.params),
        "tags": dict(data.tags),
        "metrics": {
            name: sorted([one.step, one.value, one.timestamp] for one in values)
            for name, values in history.items()
        },
        "last": dict(data.metrics),
        "artifacts": {name: base64.b64encode(body).decode() for name, body in files.items()},
    }


if __name__ == "__main__":
    print(json.dumps(read(*sys.argv[1:])))
