"""`dspex experiment`: lists, runs and a run from a shell; what is wrong with an export is told at once."""

from __future__ import annotations

import asyncio
import functools
import json
from pathlib import Path

import pytest
from tests.support.servers import serving
from tests.support.shell import run_dspex

from dspex_pool.cli import experiment
from dspex_pool.cli.exits import BAD_ARGUMENTS, CALL_FAILED
from dspex_pool.cli.mlflow_tracking import place_of, refusal

run = functools.partial(run_dspex, "experiment")


@pytest.mark.slow
async def test_experiments_are_looked_at_from_a_shell(tmp_path: Path) -> None:
    """At a server that runs, and afterwards at one of its own."""
    address, store = f"unix:{tmp_path / 's'}", f"sqlite:{tmp_path / 'state.db'}"
    flags = ("--workers", "1", "--store", store, "--listen", f"stdio,{address}")
    async with serving(*flags, limit_s=180) as client:
        for value in (0.5, 0.75, 0.25):
            begun = {"experiment": "demos", "params": {"k": 4}, "lineage": {"program": "qa", "version": 3}}
            await client.call("experiment.begin", {**begun, "note": f"\x1b[31mtry {value}"})
            named = {"experiment": "demos", "run": f"run-{1 + round((value != 0.5) + (value == 0.25))}"}
            await client.call("experiment.log", {**named, "points": [{"name": "f1", "value": value}]})
        attached = {"experiment": "demos", "run": "run-2", "name": "notes.md", "content": "# Good"}
        await client.call("experiment.attach", attached)
        listed = await asyncio.to_thread(run, "list", "--connect", address)
        assert ["demos", "3"] == listed.stdout.splitlines()[1].split()[:2]
        best = await asyncio.to_thread(
            run, "runs", "demos", "--sort", "f1", "--limit", "2", "--connect", address
        )
        assert ["run-2", "run-1"] == [line.split()[0] for line in best.stdout.splitlines()[1:]]
        assert "f1 0.75" in best.stdout
        assert "qa@3" in best.stdout
        assert "\x1b" not in best.stdout
    lowest = json.loads(run("runs", "demos", "--sort", "f1", "--lowest", "--json", DSPEX_STORE=store).stdout)
    assert ["run-3", "run-1", "run-2"] == [row["run"] for row in lowest]
    shown = run("show", "demos", "run-2", DSPEX_STORE=store).stdout
    for words in ("state: open", "    k: 4", "    program: qa", "notes.md  text/plain  6"):
        assert words in shown
    assert (
        0.75
        == json.loads(run("show", "demos", "run-2", "--json", DSPEX_STORE=store).stdout)["metrics"]["f1"][
            "last"
        ]
    )
    nobody = run("runs", "nothing", DSPEX_STORE=store)
    assert (CALL_FAILED, True) == (nobody.returncode, nobody.stderr.startswith("unknown_experiment: "))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["runs"],
        ["show", "demos"],
        ["export", "demos"],
        ["export", "demos", "--to", "paper"],
        ["list", "--connect", "tcp:1"],
    ],
)
def test_bad_arguments_are_told(words: list[str]) -> None:
    """Before a server is started."""
    assert BAD_ARGUMENTS == experiment.run(words)


def test_an_export_needs_to_know_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It makes up no folder of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert BAD_ARGUMENTS == experiment.run(["export", "demos", "--to", "mlflow"])
    assert "MLFLOW_TRACKING_URI" in capsys.readouterr().err


def test_an_export_without_mlflow_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The environment of our tests has none."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///never.db")
    assert BAD_ARGUMENTS == experiment.run(["export", "demos", "--to", "mlflow"])
    assert "pip install 'dspex[mlflow]'" in capsys.readouterr().err


def test_words_of_a_run() -> None:
    """A few of its metrics, the one that was asked for first, and what it is of."""
    metrics = {name: {"last": 0.5} for name in "abcdef"}
    assert "e 0.5, a 0.5, b 0.5, c 0.5, 2 more" == experiment.metrics_text(metrics, "e")
    assert "" == experiment.metrics_text({})
    lineage = {"program": "qa", "version": 3, "trainset": "t", "job": "j"}
    assert "qa@3, t" == experiment.origin_text(lineage)


def test_no_account_is_told() -> None:
    """Neither where it stands in the URI nor where a driver repeats it."""
    uri = "postgresql://me:sesame@db.example/mlflow"
    assert "postgresql://db.example/mlflow" == place_of(uri)
    told = str(refusal(uri, OSError("no route to me:sesame@db.example, password sesame")))
    assert "sesame" not in told
    assert "mlflow_unavailable" == refusal(uri, OSError("x")).code
