"""MLflow in an environment of its own, as `scripts/setup-mlflow` makes it: its Python, and its server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final, cast

from .database_servers import free_port

ROOT: Final = Path(__file__).parents[2]
PYTHON: Final = ROOT / ".venv-mlflow" / "bin" / "python"
READER: Final = Path(__file__).with_name("mlflow_reader.py")
LIMIT_S: Final = 90
"""Of one command: MLflow's own client tries a server that is dead for longer."""
QUIET: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # What its server imports would look for prices in the network first, and wait for that.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def dspex(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of `dspex` in that environment, from a folder of its own."""
    process = start(*words, folder=folder, **environment)
    out, err = process.communicate(timeout=LIMIT_S)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def start(*words: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """The same, that is not waited for."""
    assert PYTHON.exists(), "there is no environment with MLflow: scripts/setup-mlflow makes it"
    known = {**os.environ, "DSPEX_LOG_LEVEL": "error", **environment}
    for name in ("PYTHONPATH", "DSPEX_CONNECT", "MLFLOW_TRACKING_URI"):
        if name not in environment:
            known.pop(name, None)
    return subprocess.Popen(
        [PYTHON, "-m", "dspex_pool", *words],
        cwd=folder,
        env=known,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read(uri: str, experiment: str, folder: Path) -> list[dict[str, Any]]:
    """What MLflow's own client finds."""
    told = subprocess.run(
        [PYTHON, READER, uri, experiment],
        cwd=folder,
        env={**os.environ, **QUIET},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert told.returncode == 0, told.stderr
    return cast("list[dict[str, Any]]", json.loads(told.stdout))


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Generator[str]:
    """A tracking server on loopback; its address."""
    address = f"http://127.0.0.1:{free_port()}"
    words = ["--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
    words += ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [PYTHON, "-m", "mlflow", "server", *words],
            cwd=folder,
            env={**os.environ, **QUIET},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # it starts others, which go with it
        )
    try:
        _wait_for(address, process)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        assert process.poll() is None, "the server has ended"
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise TimeoutError("the server does not answer")
