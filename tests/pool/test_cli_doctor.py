"""`dspex doctor`: what it finds, what it advises, and what it leaves behind."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dspex_pool.cli import machine
from dspex_pool.cli.doctor import run
from dspex_pool.cli.exits import BAD_ARGUMENTS, CALL_FAILED, OK
from dspex_pool.cli.machine import Check
from dspex_pool.cli.trial import Trial, judge
from dspex_pool.config import Config


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DSPEX_")]:
        monkeypatch.delenv(name)


def examine(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """The exit code, and each check by its name."""
    code = run(["--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["can_run"] is (code == OK)
    return code, {check["name"]: check for check in report["checks"]}


def test_this_machine_can_run_it(capsys: pytest.CaptureFixture[str]) -> None:
    """A real server answered, forked, predicted and left nothing: nothing failed."""
    code, checks = examine(capsys)
    assert OK == code
    assert {"ok"} == {
        checks[name]["level"] for name in ("server", "zygote", "fork", "echo", "prediction", "aftermath")
    }
    assert not [check for check in checks.values() if check["level"] == "fail"]


@pytest.mark.parametrize(
    ("told", "unsafe", "level", "found"),
    [
        ({"can_run": True, "found": "walls", "advice": ""}, False, "ok", "walls"),
        ({"can_run": True, "found": "one wall", "advice": "build another"}, False, "warn", "one wall"),
        ({"can_run": False, "found": "no Deno", "advice": "install it"}, False, "warn", "refused: no Deno"),
        ({"can_run": False, "found": "no Deno", "advice": "install it"}, True, "warn", "can do all that you"),
        ({}, False, "warn", "the bridge does not answer"),
    ],
)
def test_the_sandbox_is_told_and_never_a_failure(
    told: dict[str, object], unsafe: bool, level: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few programs run code; those that do are refused without it."""

    def answer(*arguments: str) -> dict[str, object]:
        return told

    monkeypatch.setattr(machine, "_asked_of_bridge", answer)
    check = machine.check_code(Config(unsafe_interpreter=unsafe))
    assert level == check.level
    assert found in check.found


def test_a_dspy_that_cannot_be_imported_is_told_with_its_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit code 1, the worker's own last words, and still nothing left behind."""
    (tmp_path / "dspy").mkdir()
    (tmp_path / "dspy" / "__init__.py").write_text("raise ImportError('half an installation')\n")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    code, checks = examine(capsys)
    assert CALL_FAILED == code
    assert "fail" == checks["worker"]["level"]
    assert "half an installation" in checks["worker"]["found"]
    assert "ok" == checks["aftermath"]["level"]
    assert "prediction" not in checks


def test_settings_that_cannot_be_read_start_no_server(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is named, and the machine is looked at all the same."""
    monkeypatch.setenv("DSPEX_WORKERS", "many")
    code, checks = examine(capsys)
    assert CALL_FAILED == code
    assert checks["settings"]["found"].startswith("DSPEX_WORKERS: expected an integer")
    assert "python" in checks
    assert "server" not in checks


def test_people_read_a_line_for_each_check_and_a_verdict(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning has its advice below it; the last line is the answer."""
    monkeypatch.setattr("dspex_pool.cli.doctor.look_at_machine", machine_with_faults)
    assert CALL_FAILED == run([])
    lines = capsys.readouterr().out.splitlines()[1:]  # the first is about the settings
    assert ["ok    a: fine", "warn  b: slow", "      -> Do this.", "fail  c: gone"] == lines[:4]
    assert lines[-1].startswith("This machine cannot run DSPex yet; put right: c. (")


def machine_with_faults(config: Config, environment: Mapping[str, str]) -> Iterator[Check]:
    yield Check(name="a", level="ok", found="fine")
    yield Check(name="b", level="warn", found="slow", advice="Do this.")
    yield Check(name="c", level="fail", found="gone")


def test_an_old_python_is_refused() -> None:
    """3.11 is the least."""
    assert ["fail", "ok", "ok"] == [
        machine.check_python(version).level for version in ((3, 10, 9), (3, 11, 0), (3, 14, 1))
    ]


@pytest.mark.parametrize(
    ("limits", "level"), [((256, 256), "warn"), ((256, 4096), "warn"), ((1024, 4096), "ok"), ((-1, -1), "ok")]
)
def test_few_descriptors_are_a_warning(limits: tuple[int, int], level: str) -> None:
    """-1 is no limit."""
    assert level == machine.check_descriptors(limits).level


def test_workers_need_memory_and_cores() -> None:
    """More workers than fit, or than there are cores, is a warning; unknown memory is not."""
    config = Config(workers=4)
    assert ["warn", "ok", "ok"] == [machine.check_memory(config, mb).level for mb in (100, 8000, None)]
    assert ["warn", "ok"] == [machine.check_cores(config, cores).level for cores in (2, 4)]


@pytest.mark.parametrize(
    ("model", "environment", "level"),
    [
        ("", {}, "ok"),
        ("sim/demo", {}, "ok"),
        ("openai/gpt-4o-mini", {}, "warn"),
        ("openai/gpt-4o-mini", {"OPENAI_API_KEY": ""}, "warn"),
        ("openai/gpt-4o-mini", {"OPENAI_API_KEY": "sk-secret"}, "ok"),
        ("gpt-4o-mini", {"OPENAI_API_KEY": "sk-secret"}, "warn"),
        ("bedrock/claude", {}, "ok"),
    ],
)
def test_a_key_is_looked_for_and_never_told(model: str, environment: dict[str, str], level: str) -> None:
    """Present or not is all that is said."""
    check = machine.check_lm(Config(lm=model), environment)
    assert level == check.level
    assert "sk-secret" not in repr(check)


def test_a_missing_kernel_feature_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pidfd there is no server; without the others it is poorer."""
    monkeypatch.delattr(os, "pidfd_open")
    levels = {check.name: check.level for check in machine.check_kernel()}
    assert "fail" == levels["pidfd"]
    assert "ok" == levels["subreaper"]


def test_a_process_left_behind_fails_the_trial() -> None:
    """It must be reported, however well the rest went."""
    trial = Trial(hello_ms=1.0, left_behind=[4711])
    assert [("server", "ok"), ("aftermath", "fail")] == [(check.name, check.level) for check in judge(trial)]
    assert "4711" in list(judge(trial))[-1].found


def test_an_unknown_option_is_a_bad_argument() -> None:
    """Exit code 2, and nothing was started."""
    assert BAD_ARGUMENTS == run(["--jsno"])
