"""THE EXPORT of an experiment: what is read of its runs here, and handed to MLflow."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Final, TypeVar, cast

from dspex_pool.client import Client

from .exits import CALL_FAILED, OK
from .mlflow_export import Begun, Exported, Exporter
from .mlflow_tracking import Refused, connect, place_of, refusal
from .readable import plain

T = TypeVar("T")

POINTS: Final = 1000


async def export(
    client: Client, experiment: str, runs: AsyncIterator[Mapping[str, Any]], uri: str, *, as_json: bool
) -> int:
    """Bring runs to MLflow, one after another, and say what has become of them.

    Args:
        client: Of a DSPex server.
        experiment: Its id.
        runs: As of `experiment.runs`, the oldest first.
        uri: MLflow's tracking URI.
        as_json: How that is printed.

    Returns:
        An exit code.
    """
    exported: list[Exported] = []
    try:
        rows = [row async for row in runs]  # before: one that is not there makes none in MLflow
        exporter = await _in_thread(uri, lambda: Exporter(connect(uri), experiment))
        for row in rows:
            exported.append(await _run(client, exporter, row, uri))  # noqa: PERF401  # told where it breaks off
    except Refused as reason:
        _print_refused(reason, exported, as_json=as_json)
        return CALL_FAILED
    _print(experiment, exporter.experiment_id, exported, uri, as_json=as_json)
    return OK


async def _run(client: Client, exporter: Exporter, row: Mapping[str, Any], uri: str) -> Exported:
    begun = await _in_thread(uri, lambda: exporter.begin(row))
    if begun.is_complete:
        return begun.exported
    await _in_thread(uri, begun.write_texts)
    named = {"experiment": row["experiment"], "run": row["run"]}
    await _values(client, begun, named, uri)
    for name, described in row["artifacts"].items():
        if begun.lacks(name, described["sha256"]):
            answer = cast("dict[str, Any]", await client.call("experiment.artifact", {**named, "name": name}))
            content = answer["content"]
            body = content.encode() if isinstance(content, str) else content
            await _in_thread(uri, partial(begun.write_artifact, name, body, described))
    await _in_thread(uri, begun.end)
    return begun.exported


async def _values(client: Client, begun: Begun, named: Mapping[str, object], uri: str) -> None:
    after: int | None = 0
    while after is not None:
        wish = {**named, "after": after, "limit": POINTS}
        page = cast("dict[str, Any]", await client.call("experiment.points", wish))
        await _in_thread(uri, partial(begun.write_values, page["points"]))
        after = page["next"]


async def _in_thread(uri: str, work: Callable[[], T]) -> T:
    """MLflow's client waits, and a server must be answered meanwhile."""
    try:
        return await asyncio.to_thread(work)
    except Refused:
        raise
    except Exception as reason:
        # What a store raises is of no common kind: each database and provider has its own.
        raise refusal(uri, reason) from reason


# What is said


def _print(experiment: str, experiment_id: str, exported: list[Exported], uri: str, *, as_json: bool) -> None:
    if as_json:
        told = {"experiment": experiment, "mlflow_experiment": experiment_id, "uri": place_of(uri)}
        print(json.dumps({**told, "runs": [asdict(one) for one in exported]}, indent=2))
        return
    for one in exported:
        for note in one.notes:
            print(plain(f"{one.run}: {note}"), file=sys.stderr)
    print(plain(f"{summary(exported)}, in experiment {experiment_id} of {place_of(uri)}"))


def summary(exported: list[Exported]) -> str:
    """What has become of runs, in a line."""
    counts = {word: sum(one.became == word for one in exported) for word in ("made", "updated", "unchanged")}
    became = ", ".join(f"{count} {word}" for word, count in counts.items())
    values, artifacts = sum(one.values for one in exported), sum(one.artifacts for one in exported)
    return f"{len(exported)} runs ({became}): {values} values and {artifacts} artifacts"


def _print_refused(reason: Refused, exported: list[Exported], *, as_json: bool) -> None:
    done = (
        f"{len(exported)} runs are there; repeat the export to go on" if exported else "nothing was exported"
    )
    if as_json:
        told = {"code": reason.code, "message": str(reason), "exported": len(exported)}
        print(json.dumps({"error": told}), file=sys.stderr)
    else:
        print(plain(f"dspex experiment: {reason.code}: {reason}; {done}"), file=sys.stderr)
