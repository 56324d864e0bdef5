"""`dspex sim-lm` is the bridge's process: its flags, its exit code, its signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request

COMMAND = [sys.executable, "-m", "dspex_pool", "sim-lm"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_it_serves_and_ends_by_the_signal_sent_to_its_own_pid() -> None:
    """No process stands between: the pid that was started is the one that listens and ends."""
    with subprocess.Popen([*COMMAND, "--seed", "7"], stdout=subprocess.PIPE, env=environment()) as process:
        try:
            assert process.stdout is not None
            listening = json.loads(process.stdout.readline())
            with urllib.request.urlopen(f"{listening['api_base']}/models", timeout=10) as answer:
                assert "list" == json.loads(answer.read())["object"]
            process.send_signal(signal.SIGTERM)
            assert 0 == process.wait(timeout=10)
        finally:
            process.kill()


def test_flags_and_the_exit_code_pass_through() -> None:
    """What the bridge refuses is this command's refusal."""
    ended = subprocess.run(
        [*COMMAND, "--no-such-flag"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=30,
        check=False,
    )
    assert (2, "") == (ended.returncode, ended.stdout)
    assert "--no-such-flag" in ended.stderr
