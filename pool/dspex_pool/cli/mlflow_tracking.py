"""MLFLOW'S CLIENT, as far as it is used: imported when it is wanted, with bounds on how long it tries."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast
from urllib.parse import urlsplit

from dspex_protocol import error

WAIT_S: Final = 10
"""For a server or database that says nothing."""
EXTRA: Final = "the export needs MLflow, which is not installed: pip install 'dspex[mlflow]'"
SETTINGS: Final[Mapping[str, str]] = {
    # By itself it tries seven times, for minutes; who wants that says so.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    # It tells its makers of each call, draws bars for files of some bytes, and prints where runs are.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Where the environment says nothing else."""


class Refused(Exception):
    """MLflow is not there, or does not take what it is given.

    Attributes:
        code: `mlflow_unavailable` or `mlflow_refused`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Tracking(Protocol):
    """What is used of `mlflow.MlflowClient`."""

    def get_experiment_by_name(self, name: str) -> Any:
        """None where there is none, also of those that were deleted."""
        ...

    def create_experiment(self, name: str) -> str:
        """Its id."""
        ...

    def search_runs(
        self, experiment_ids: list[str], *, max_results: int, page_token: str | None
    ) -> Sequence[Any]:
        """A page, with `token`."""
        ...

    def create_run(
        self, experiment_id: str, *, start_time: int, tags: Mapping[str, str], run_name: str
    ) -> Any:
        """A run that is running."""
        ...

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        """All values."""
        ...

    def log_batch(
        self, run_id: str, metrics: Sequence[Any] = (), params: Sequence[Any] = (), tags: Sequence[Any] = ()
    ) -> Any:
        """All of these, or an error."""
        ...

    def log_artifact(self, run_id: str, local_path: str) -> None:
        """A file, under its own name."""
        ...

    def set_terminated(self, run_id: str, status: str, end_time: int) -> None:
        """Its end, in milliseconds."""
        ...


def find_mlflow() -> None:
    """See that it is installed.

    Raises:
        CallerError: `invalid_argument` naming the extra.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise error("invalid_argument", EXTRA)


def connect(uri: str) -> Tracking:
    """A client of what is at a tracking URI, which answers.

    Raises:
        Refused: when nothing does.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    mlflow = importlib.import_module("mlflow")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    _see_that_it_answers(uri)
    try:
        return cast("Tracking", mlflow.MlflowClient(tracking_uri=uri))
    except Exception as reason:
        # What a store raises is of no common kind: each database and provider has its own.
        raise refusal(uri, reason) from reason


def refusal(uri: str, reason: Exception) -> Refused:
    """What went wrong in MLflow, in words that name no secret."""
    words = " ".join(str(reason).split())[:500] or type(reason).__name__
    kind = (
        "mlflow_refused"
        if type(reason).__name__ in ("MlflowException", "RestException")
        else "mlflow_unavailable"
    )
    return Refused(kind, f"MLflow at {place_of(uri)}: {_without_account(words, uri)}")


def place_of(uri: str) -> str:
    """A tracking URI without user and password."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri


def _without_account(words: str, uri: str) -> str:
    account = urlsplit(uri).netloc.rpartition("@")[0]
    for secret in (account, account.partition(":")[2]):
        words = words.replace(secret, "…") if secret else words
    return words


def _see_that_it_answers(uri: str) -> None:
    """Its own client tries a dead server or database for a minute and more before it says anything."""
    try:
        scheme = urlsplit(uri).scheme.partition("+")[0]
        if scheme in ("http", "https"):
            _ask(uri)
        elif scheme in ("sqlite", "postgresql", "mysql", "mssql"):
            _open(uri, scheme)
        elif scheme not in ("", "file", "databricks", "databricks-uc", "uc"):
            raise ValueError(f"there is no tracking store of the kind {scheme}")
    except Exception as reason:
        # A dead server is an OSError, a bad database whatever its driver makes of it.
        raise refusal(uri, reason) from reason


def _ask(uri: str) -> None:
    request = urllib.request.Request(uri.rstrip("/") + "/health")  # noqa: S310  # its scheme was looked at
    try:
        urllib.request.urlopen(request, timeout=WAIT_S).close()  # noqa: S310
    except urllib.error.HTTPError as answer:
        answer.close()  # somebody is there: a proxy may want a token, which MLflow's client knows of


def _open(uri: str, scheme: str) -> None:
    sqlalchemy = importlib.import_module("sqlalchemy")
    if scheme == "sqlite":
        # As MLflow does; where that cannot be, it is told at once.
        Path(sqlalchemy.engine.make_url(uri).database or ".").parent.mkdir(parents=True, exist_ok=True)
    waits = {"postgresql": {"connect_timeout": WAIT_S}, "mysql": {"connect_timeout": WAIT_S}}
    engine = sqlalchemy.create_engine(uri, connect_args=waits.get(scheme, {}))
    try:
        sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()
