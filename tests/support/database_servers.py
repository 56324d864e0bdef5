"""Real servers of Redis and PostgreSQL for tests: on loopback, in a folder of their own, gone afterwards.

They run without waiting for the disk, except where a test says otherwise. A server ends with the
process that started it, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

import psutil
import pytest

STARTING_TIME_S: Final = 30.0
ENDING_TIME_S: Final = 10.0

USER: Final = "dspex"
PASSWORD: Final = "canary-7c1e9"

# PostgreSQL does not run as root; Debian's package has made this user.
POSTGRES_USER: Final = "postgres"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find(program: str, package: str, *folders: Path) -> str:
    """Where a program is; the test fails, saying what to install, where it is not."""
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", ""), "/usr/sbin"])
    found = shutil.which(program, path=path)
    if found is None:
        pytest.fail(f"{program} is missing: run scripts/setup-servers (Debian: apt-get install {package})")
    return found


class DatabaseServer:
    """A server as a child process.

    Attributes:
        port: On 127.0.0.1; the same after starting again.
        folder: What it keeps.
        removed_by: What ends it without saving what will be removed.
    """

    removed_by: ClassVar = signal.SIGQUIT

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="dspex-server-"))
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start it. From the main thread only: the server ends with the thread that started it."""
        assert threading.current_thread() is threading.main_thread()
        assert self._process is None
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )

    def wait_until_ready(self) -> None:
        until_s = time.monotonic() + STARTING_TIME_S
        while not self.is_ready():
            assert self._process is not None
            ended = self._process.poll()
            assert ended is None, f"{self.command()[0]} ended with {ended}: {self.log_end()}"
            assert time.monotonic() < until_s, f"not ready: {self.log_end()}"
            time.sleep(0.02)

    def log_end(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    @property
    def pids(self) -> list[int]:
        """Of the server and of what it has started."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        return [server.pid, *(child.pid for child in server.children(recursive=True))]

    def signal_all(self, number: signal.Signals) -> None:
        for pid in self.pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def pause(self) -> None:
        """Let it stand still: it takes connections, since the kernel does, and answers nothing."""
        self.signal_all(signal.SIGSTOP)

    def go_on(self) -> None:
        self.signal_all(signal.SIGCONT)

    def kill(self) -> None:
        """As if its machine had died, but for what the kernel has of its files."""
        self._end(signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Ask it to end, without waiting for its clients, and see to it."""
        self._end(number)

    def remove(self) -> None:
        """End it, leave nothing."""
        self.stop(self.removed_by)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        family = self._family() if self._process.poll() is None else []
        if family:
            self.go_on()
            self.signal_all(number) if number is signal.SIGKILL else self._process.send_signal(number)
        try:
            self._process.wait(ENDING_TIME_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in psutil.wait_procs(family, timeout=ENDING_TIME_S)[1]:
            process.kill()
        self._process = None

    def _family(self) -> list[psutil.Process]:
        """It, and what serves its clients: some of that ends at any moment."""
        family: list[psutil.Process] = []
        for pid in self.pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                family.append(psutil.Process(pid))
        return family


class RedisServer(DatabaseServer):
    """A Redis.

    Args:
        options: Of its configuration; by default it keeps nothing and has many databases.
    """

    # Where a shell has started the tests with `&`, SIGQUIT does nothing to it.
    removed_by: ClassVar = signal.SIGKILL

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.options = {"save": "", "appendonly": "no", "databases": "1024", **(options or {})}
        self._next_database = 0

    def command(self) -> Sequence[str]:
        program = find("redis-server", "redis-server")
        fixed = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.folder), "loglevel": "warning"}
        options = [word for name, value in {**fixed, **self.options}.items() for word in (f"--{name}", value)]
        return ["setpriv", "--pdeathsig", "KILL", program, *options]

    def url(self, database: int = 0, *, port: int | None = None, secret: str = "") -> str:
        at = f"{secret}@" if secret else ""
        return f"redis://{at}127.0.0.1:{port or self.port}/{database}"

    def new_database(self) -> int:
        """The number of one that is empty; they are taken in turn."""
        number = self._next_database
        self._next_database = (number + 1) % int(self.options["databases"])
        self.ask("SELECT", str(number), then=["FLUSHDB"])
        return number

    def ask(self, *words: str, then: Sequence[str] = ()) -> bytes:
        """Send one command, or two on one connection, by hand; the last answer as it came."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=ENDING_TIME_S) as connection:
            for one in (words, then):
                if one:
                    parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in one]
                    connection.sendall(f"*{len(one)}\r\n{''.join(parts)}".encode())
                    answer = connection.recv(1 << 20)
        return answer

    def is_ready(self) -> bool:
        try:
            return self.ask("PING").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


class PostgresServer(DatabaseServer):
    """A PostgreSQL. Its user `dspex` may make databases and needs no password; `guarded` has one.

    Args:
        options: Of its configuration; by default it does not wait for the disk.
    """

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.options = {"fsync": "off", "full_page_writes": "off", **(options or {})}
        self.data = self.folder / "data"
        self._databases = 0
        self._empty: list[str] = []

    def program(self, name: str) -> str:
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        return find(name, "postgresql", *reversed(folders))

    def as_user(self, *words: str, ends_with_us: bool = False) -> list[str]:
        """A command line that runs as a user that PostgreSQL accepts."""
        if os.geteuid() == 0:
            user = ["--reuid", POSTGRES_USER, "--regid", POSTGRES_USER, "--clear-groups"]
        else:
            user = []
        return ["setpriv", *user, *(["--pdeathsig", "INT"] if ends_with_us else []), *words]

    def initialize(self) -> None:
        """Make the data folder and the users."""
        if os.geteuid() == 0:
            shutil.chown(self.folder, POSTGRES_USER, POSTGRES_USER)
        options = ["--no-sync", "--auth=trust", "--username=admin", "--encoding=UTF8", "--locale=C.UTF-8"]
        words = self.as_user(self.program("initdb"), "--pgdata", str(self.data), *options)
        done = subprocess.run(words, capture_output=True, check=False, cwd=self.folder)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        rules = [f"host all {user} 127.0.0.1/32 trust" for user in ("admin", USER)]
        rules += ["host all all 127.0.0.1/32 scram-sha-256", "host replication admin 127.0.0.1/32 trust"]
        (self.data / "pg_hba.conf").write_text("\n".join(rules) + "\n")

    def take_over_files(self) -> None:
        """Let the server own what a test has put into its folder."""
        if os.geteuid() == 0:
            for path in (self.data, *self.data.rglob("*")):
                shutil.chown(path, POSTGRES_USER, POSTGRES_USER)

    def follow(self, leader: PostgresServer) -> None:
        """Start as a standby of another one, with all that it has."""
        if os.geteuid() == 0:
            shutil.chown(self.folder, POSTGRES_USER, POSTGRES_USER)
        where = ["-h", "127.0.0.1", "-p", str(leader.port), "-U", "admin", "-D", str(self.data)]
        words = self.as_user(leader.program("pg_basebackup"), *where, "-R", "--checkpoint=fast", "--no-sync")
        done = subprocess.run(words, capture_output=True, check=False, text=True, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        self.start()

    def start(self) -> None:
        fresh = not self.data.exists()
        if fresh:
            self.initialize()
        super().start()
        if fresh:
            self.sql(f"CREATE ROLE {USER} LOGIN CREATEDB", f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'")

    def command(self) -> Sequence[str]:
        fixed = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "shared_buffers": "64MB",
            "max_connections": "60",
        }
        options = [
            word for name, value in {**fixed, **self.options}.items() for word in ("-c", f"{name}={value}")
        ]
        return self.as_user(self.program("postgres"), "-D", str(self.data), *options, ends_with_us=True)

    def url(self, database: str, *, port: int | None = None, user: str = USER) -> str:
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}?sslmode=disable"

    def new_database(self) -> str:
        """The name of one that is empty."""
        if self._empty:
            return self._empty.pop()
        self._databases += 1
        name = f"place{self._databases}"
        self.sql(f"CREATE DATABASE {name} OWNER {USER}")
        return name

    def give_back_database(self, name: str) -> None:
        """Empty it for another test: making one takes several times as long."""
        self.sql("DROP SCHEMA IF EXISTS dspex CASCADE", database=name)
        self._empty.append(name)

    def sql(self, *statements: str, database: str = "postgres") -> str:
        """Run statements as the administrator, each on its own; what they print."""
        commands = [word for statement in statements for word in ("-c", statement)]
        quiet = ["-c", "SET client_min_messages = warning"]
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "admin", "-d", database]
        words = [
            self.program("psql"),
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            *where,
            *quiet,
            *commands,
        ]
        done = subprocess.run(words, capture_output=True, check=False, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def is_ready(self) -> bool:
        words = [self.program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(words, check=False).returncode == 0
