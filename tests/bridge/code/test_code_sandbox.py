"""What a sandbox is made of on a machine, and what is said where it cannot be."""

from __future__ import annotations

import io
import json
import shutil
import sys
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.interpreters import PlainInterpreter

from dspex_bridge.code import interpreters, preparing, sandbox
from dspex_bridge.code.interpreters import MAX_PER_CALL, Interpreters, Lease
from dspex_bridge.code.library import compile_library, is_compiled
from dspex_bridge.code.preparing import run_code
from dspex_bridge.code.process import SandboxProcess
from dspex_bridge.code.sandbox import (
    FILES,
    Lacking,
    Sandbox,
    find_sandbox,
    limited,
    runner_imports,
    walled_command,
)
from dspex_protocol import DSPexError

DENO, FOLDER = Path("/there/deno"), Path("/prepared/here")


def test_every_import_of_dspys_script_is_provided(tmp_path: Path) -> None:
    """From npm in the version that our lock file has a hash for, or from a file of ours."""
    npm = json.loads((FILES / "deno.lock").read_text())["specifiers"]
    sandbox.write_imports(tmp_path)
    ours = json.loads((tmp_path / sandbox.IMPORTS).read_text())["imports"]
    for name in runner_imports():
        known = name in ours or any(name.startswith(specifier + "/") for specifier in npm)
        assert known, name
    assert all((tmp_path / file).exists() for file in ours.values())


def test_within_bubblewrap_nothing_can_be_written_and_little_read() -> None:
    """No namespace is shared, no variable is handed on, and what is bound is bound to be read."""
    command = walled_command(Path("/usr/bin/bwrap"), DENO, FOLDER, "https://registry.test/")
    for wall in ("--unshare-all", "--die-with-parent", "--new-session", "--clearenv"):
        assert wall in command
    assert not {"--bind", "--dev-bind", "--share-net", "--bind-try"} & set(command)
    bound = [command[at + 1] for at, word in enumerate(command) if word == "--ro-bind"]
    assert [str(DENO), str(FOLDER), str(FILES), str(sandbox.runner())] == bound
    assert "/" == command[command.index("--remount-ro") + 1]


def test_deno_gets_no_permission_but_to_read_what_it_is() -> None:
    """And fetches nothing."""
    command = walled_command(Path("/usr/bin/bwrap"), DENO, FOLDER, "https://registry.test/")
    allowed = [word for word in command if word.startswith("--allow")]
    assert ["--allow-read=/runner.js,/prepared"] == allowed
    for flag in ("--cached-only", "--no-remote", "--no-prompt", "--frozen"):
        assert flag in command


def test_the_memory_limit_holds_for_what_the_command_starts() -> None:
    """It is set before the command begins."""
    import subprocess

    said = subprocess.run(limited(("sh", "-c", "ulimit -d; ulimit -c"), 512), capture_output=True, check=True)
    assert [b"524288", b"0"] == said.stdout.split()


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("find_deno", "Deno is not installed"),
        ("prepared_folder", "the interpreter is not prepared for this DSPy"),
    ],
)
def test_what_is_missing_is_told(missing: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about it, to people and to machines."""
    monkeypatch.setattr(sandbox, missing, lambda: None)
    found = find_sandbox()
    assert isinstance(found, Lacking)
    assert told == found.what
    assert "dspex code prepare" in found.advice


def test_where_bubblewrap_does_not_work_deno_is_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment is made up, and holds nothing of ours."""
    monkeypatch.setenv("DSPEX_TEST_SECRET", "x")
    monkeypatch.setattr(sandbox, "find_bubblewrap", lambda: None)
    found = find_sandbox()
    assert isinstance(found, Sandbox)
    assert "deno" == found.kind
    assert "DSPEX_TEST_SECRET" not in found.environment


def test_a_bubblewrap_that_may_not_make_namespaces_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in many containers: it is there, and fails."""
    (tmp_path / "bwrap").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert sandbox.find_bubblewrap.__wrapped__() is None


def test_preparing_says_why_it_cannot(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1; with `--json` one object."""
    monkeypatch.setattr(preparing, "prepared_folder", lambda: None)
    monkeypatch.setattr(preparing, "find_deno", lambda: None)
    assert 1 == run_code(["prepare", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (False, None, "Deno is not installed") == (told["can_run"], told["sandbox"], told["found"])
    assert 2 == run_code(["repair"])


def test_what_could_not_be_fetched_leaves_what_was_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A registry that is not there is told, and nothing half is put into the place."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "older").write_text("x")
    monkeypatch.setattr(preparing, "prepared_folder", lambda: None)
    monkeypatch.setattr(preparing, "folders", lambda: (folder,))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:1/")
    assert 1 == run_code(["prepare"])
    assert "could not be fetched" in capsys.readouterr().out
    assert [folder] == list(tmp_path.iterdir())
    assert [folder / "older"] == list(folder.iterdir())


@pytest.mark.slow
def test_the_library_is_compiled_once(tmp_path: Path) -> None:
    """Each module beside its source; what cannot be compiled stays as it came."""
    prepared, deno = sandbox.prepared_folder(), sandbox.find_deno()
    assert prepared is not None
    assert deno is not None
    folder = tmp_path / "code"
    shutil.copytree(prepared, folder)
    (library,) = folder.glob("npm/*/pyodide/*/python_stdlib.zip")
    came = without_bytecode(library)
    library.write_bytes(came)
    assert not is_compiled(folder)
    for useless in ("/bin/false", "/bin/echo", "/nobody"):
        compile_library(folder, Path(useless))
        assert came == library.read_bytes()
    compile_library(folder, deno)
    assert is_compiled(folder)
    assert came == without_bytecode(library)
    assert [library] == list(library.parent.glob("python_stdlib*"))


def without_bytecode(library: Path) -> bytes:
    """The library as it comes from the registry, but for when it was packed."""
    written = io.BytesIO()
    with zipfile.ZipFile(library) as read, zipfile.ZipFile(written, "w") as write:
        for name in read.namelist():
            if not name.endswith(".pyc"):
                write.writestr(zipfile.ZipInfo(name), read.read(name))
    return written.getvalue()


@pytest.mark.slow
def test_an_interpreter_runs_the_bytecode() -> None:
    """Of what it has imported when it is ready."""
    interpreter = PlainInterpreter()
    code = "import sys\nprint(*(getattr(module, '__file__', '') for module in sys.modules.values()))"
    try:
        told = str(interpreter.execute(code))
    finally:
        interpreter.shutdown()
        PlainInterpreter.end_all()
    read = [file for file in told.split() if ".zip/" in file]
    assert len(read) > 100
    assert [] == [file for file in read if not file.endswith(".pyc")]


COMPUTES = Sandbox(
    kind="deno",
    command=(
        sys.executable,
        "-c",
        (
            "import json, sys\n"
            "for line in sys.stdin:\n"
            "    answer = {'id': json.loads(line)['id'], 'result': {'output': '42\\n'}}\n"
            "    print(json.dumps(answer), flush=True)\n"
        ),
    ),
    environment={"PATH": "/usr/bin:/bin"},
)
"""A process that says that it computes, and starts faster than a sandbox."""


def wait_until(it_is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not it_is_so():
        assert time.monotonic() < until
        time.sleep(0.001)


def process_of(lease: Lease) -> SandboxProcess:
    interpreter = lease()
    interpreter.start()
    process: SandboxProcess = interpreter._process
    return process


def test_each_session_has_a_process_of_its_own_and_the_next_is_ready() -> None:
    """The one that was kept ready is used, another takes its place, and all end."""
    starts = Interpreters(find=lambda: COMPUTES)
    first, second = starts.lease(), starts.lease()
    one = process_of(first)
    wait_until(lambda: starts._spare is not None)
    ready = starts._spare
    assert ready is not None
    other = process_of(second)
    assert ready.result() is other
    assert one.popen.pid != other.popen.pid
    first.close()
    assert one.popen.returncode is not None
    assert other.popen.poll() is None
    second.close()
    starts.close()
    for process in (one, other):
        process.close()


class Remembering(Interpreters):
    """Which processes were dropped."""

    def __init__(self) -> None:
        super().__init__(find=lambda: COMPUTES)
        self.dropped: list[Future[SandboxProcess]] = []

    def _drop(self, spare: Future[SandboxProcess]) -> None:
        super()._drop(spare)
        self.dropped.append(spare)


def test_a_process_that_nobody_needs_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a session after that gets a new one."""
    monkeypatch.setattr(interpreters, "IDLE_S", 0.01)
    starts = Remembering()
    lease = starts.lease()
    used = process_of(lease)
    wait_until(lambda: bool(starts.dropped))
    assert starts.dropped[0].result().popen.returncode is not None
    again = process_of(lease)
    assert again.popen.pid not in (used.popen.pid, starts.dropped[0].result().popen.pid)
    wait_until(lambda: len(starts.dropped) > 1)
    lease.close()
    starts.close()
    for process in (used, again):
        process.close()


ENDS = Sandbox(kind="deno", command=("true",), environment={"PATH": "/usr/bin:/bin"})
"""A process that ends at once, which its session finds when it is used."""


def test_a_call_has_few_interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sub-agents that build sub-agents come to an end."""
    starts = Interpreters(find=lambda: ENDS)
    lease = starts.lease()
    lent = [lease() for _ in range(MAX_PER_CALL)]
    with pytest.raises(DSPexError) as refused:
        lease()
    assert "program_failed" == refused.value.code
    lent[0].shutdown()
    lease()
    lease.close()


def test_a_place_is_given_back_when_its_call_ends() -> None:
    """Whoever waits for one then has it."""
    starts = Interpreters(find=lambda: ENDS)
    made: list[Callable[[], None]] = []
    for _ in range(12):
        lease = starts.lease()
        lease()
        lease.close()
        made.append(lease.close)
    assert starts.places.acquire(blocking=False)
    for close in made:
        close()  # more than once


def test_an_interpreter_that_does_not_start_is_an_error_that_may_pass() -> None:
    """Such as for want of memory, on a machine that is full at the moment."""
    lease = Interpreters(find=lambda: ENDS).lease()
    with pytest.raises(DSPexError) as failed:
        lease().execute("1")
    assert ("program_failed", {"limit": "start"}, True) == (
        failed.value.code,
        failed.value.details,
        failed.value.retryable,
    )
    lease.close()


def test_a_call_that_is_over_gives_back_the_pipes_of_its_processes() -> None:
    """Also where nobody reads any more, or somebody still does."""
    starts = Interpreters(find=lambda: COMPUTES)
    idle, busy = starts.lease(), starts.lease()
    unread, read = process_of(idle), process_of(busy)
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(read.read_line, 60.0)
        wait_until(read._reading.locked)
        for lease in (idle, busy):
            lease.close()
        with pytest.raises(EOFError):
            reading.result(60)
    for process in (unread, read):
        assert process.popen.stdin is not None
        assert process.popen.stdout is not None
        assert (True, True) == (process.popen.stdin.closed, process.popen.stdout.closed)
        with pytest.raises(EOFError):
            process.read_line(1.0)
    starts.close()
