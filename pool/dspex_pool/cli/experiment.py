"""`dspex experiment`: experiments and their runs, looked at from a shell, and exported to MLflow."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, cast

from dspex_pool.cli.call import server_flags
from dspex_pool.cli.connecting import add_connect_option, at_some_server, read_address
from dspex_pool.cli.exits import BAD_ARGUMENTS, OK, exits_with_code
from dspex_pool.cli.experiment_export import export
from dspex_pool.cli.mlflow_tracking import find_mlflow
from dspex_pool.cli.readable import field_text, plain, print_table
from dspex_pool.client import Client
from dspex_pool.notation import to_json
from dspex_protocol import DSPexError, error

EPILOG: Final = """\
  dspex experiment list
  dspex experiment runs demos --sort f1
  dspex experiment show demos run-3
  dspex experiment export demos --to mlflow --uri sqlite:///mlflow.db

Without a server to join, one is started that looks and runs no jobs; the store is that of the settings.

exit codes: 0 ok; 1 the server, or MLflow, refused; 2 bad arguments; 3 no server
"""
PAGE: Final = 1000
LOOKING: Final = ("--job-workers", "0")
"""A server that is started to look must not take up a job and drop it again."""
URI: Final = "MLFLOW_TRACKING_URI"
SHOWN: Final = 4
"""Metrics of a run in a table."""


@exits_with_code
def run(arguments: list[str]) -> int:
    """List, show, export.

    Returns:
        0; 1 when the server or MLflow refuses; 2 for bad arguments; 3 without a server.
    """
    given = _parser().parse_args(arguments)
    try:
        address = read_address(given.connect, os.environ)
        flags = [] if address is not None else server_flags(LOOKING)
        if given.action == "export":
            given.uri = _uri(given.uri)
            find_mlflow()
    except DSPexError as refusal:
        print(f"dspex experiment: {plain(refusal.message)}", file=sys.stderr)
        return BAD_ARGUMENTS

    async def perform(client: Client) -> int:
        return await _PERFORM[given.action](client, given)

    return at_some_server("experiment", address, perform, flags=flags, as_json=given.json)


def _uri(given: str | None) -> str:
    uri = given or os.environ.get(URI)
    if not uri:
        raise error("invalid_argument", f"--uri: say where MLflow is, or set {URI}")
    return uri


async def _list(client: Client, given: argparse.Namespace) -> int:
    rows: list[dict[str, Any]] = []
    asked: dict[str, object] = {"prefix": given.prefix, "limit": PAGE}
    while True:
        page = await _ask(client, "list", asked)
        rows += page["experiments"]
        if page["next"] is None:
            break
        asked["after"] = page["next"]
    if given.json:
        print(json.dumps(to_json(rows), indent=2))
        return OK
    moments = ("created", "updated")
    cells = [
        (row["experiment"], str(row["begun"]), *(f"{row[at]:%Y-%m-%d %H:%M}" for at in moments))
        for row in rows
    ]
    print_table(("experiment", "runs begun", *moments), cells)
    return OK


async def runs_of(client: Client, experiment: str, **how: object) -> AsyncIterator[dict[str, Any]]:
    """The runs of an experiment, page by page.

    Args:
        client: Of a server.
        experiment: Its id.
        how: `sort` and `lowest` of `experiment.runs`.
    """
    offset: int | None = 0
    while offset is not None:
        wish = {"experiment": experiment, "limit": PAGE, "offset": offset, **how}
        page = await _ask(client, "runs", wish)
        for row in page["runs"]:
            yield row
        offset = page["next"]


async def _runs(client: Client, given: argparse.Namespace) -> int:
    how: dict[str, object] = {"lowest": given.lowest} | ({"sort": given.sort} if given.sort else {})
    rows: list[dict[str, Any]] = []
    async for row in runs_of(client, given.experiment, **how):
        rows.append(row)
        if len(rows) == given.limit:
            break
    if given.json:
        print(json.dumps(to_json(rows), indent=2))
        return OK
    print_table(
        ("run", "state", "metrics", "of", "created", "note"), [_cells(row, given.sort) for row in rows]
    )
    return OK


def _cells(row: Mapping[str, Any], sort: str | None) -> tuple[str, ...]:
    return (
        row["run"],
        row["state"],
        metrics_text(row["metrics"], sort),
        origin_text(row["lineage"]),
        f"{row['created']:%Y-%m-%d %H:%M}",
        row["note"] or "",
    )


def metrics_text(metrics: Mapping[str, Any], first: str | None = None) -> str:
    """The last values of some metrics, in a few words; the one that is asked for comes first."""
    names = sorted(metrics, key=lambda name: name != first)
    words = [f"{name} {metrics[name]['last']:g}" for name in names[:SHOWN]]
    return ", ".join(words + ([f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []))


def origin_text(lineage: Mapping[str, Any]) -> str:
    """What a run is of, in a few words."""
    named: list[str] = []
    for name, version in (
        ("program", "version"),
        ("dataset", "dataset_version"),
        ("trainset", "trainset_version"),
    ):
        if name in lineage:
            at = f"@{lineage[version]}" if lineage.get(version) is not None else ""
            named.append(f"{lineage[name]}{at}")
    return ", ".join(named)


async def _show(client: Client, given: argparse.Namespace) -> int:
    row = await _ask(client, "run", {"experiment": given.experiment, "run": given.run})
    if given.json:
        print(json.dumps(to_json(row), indent=2))
        return OK
    for name in ("experiment", "run", "state", "note", "created", "ended"):
        if row[name] is not None:
            print(field_text(name, str(row[name])))
    for name in ("params", "lineage"):
        print(f"{name}:")
        for key, value in row[name].items():
            print("    " + field_text(plain(key), value).replace("\n", "\n    "))
    print()
    figures = ("last", "step", "least", "most", "points")
    print_table(
        ("metric", *figures),
        [(name, *(f"{metric[at]:g}" for at in figures)) for name, metric in row["metrics"].items()],
    )
    if row["artifacts"]:
        print()
        cells = [(name, one["media_type"], str(one["size_bytes"])) for name, one in row["artifacts"].items()]
        print_table(("artifact", "media type", "bytes"), cells)
    return OK


async def _export(client: Client, given: argparse.Namespace) -> int:
    runs = runs_of(client, given.experiment, lowest=True)  # the oldest first: others name them
    return await export(client, given.experiment, runs, given.uri, as_json=given.json)


_PERFORM: Final = {"list": _list, "runs": _runs, "show": _show, "export": _export}


async def _ask(client: Client, action: str, payload: Mapping[str, object]) -> dict[str, Any]:
    return cast("dict[str, Any]", await client.call(f"experiment.{action}", payload))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dspex experiment",
        description="Experiments: runs with their parameters, metrics over time, artifacts and lineage.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    made: dict[str, argparse.ArgumentParser] = {}
    for name, what in (
        ("list", "the experiments, by id"),
        ("runs", "the runs of one, the newest or the best first"),
        ("show", "all that is known of a run"),
        ("export", "bring the runs of one to MLflow: those that are there already are brought up to date"),
    ):
        made[name] = action = actions.add_parser(name, help=what, description=what, allow_abbrev=False)
        add_connect_option(action, "a server is started for this")
        action.add_argument("--json", action="store_true", help="JSON, for machines")
        if name != "list":
            action.add_argument("experiment", metavar="EXPERIMENT", help="id of an experiment")
    made["list"].add_argument("--prefix", default="", help="only ids that begin so")
    made["runs"].add_argument("--sort", metavar="METRIC", help="the highest last value first")
    made["runs"].add_argument("--lowest", action="store_true", help="the lowest first, or the oldest")
    made["runs"].add_argument("--limit", type=int, default=100, help="runs at most")
    made["show"].add_argument("run", metavar="RUN", help="id of a run")
    made["export"].add_argument("--to", choices=("mlflow",), required=True, help="where to")
    made["export"].add_argument("--uri", help=f"MLflow's tracking URI (default: {URI})")
    return parser
