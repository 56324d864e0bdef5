"""From an address to a store: which backend it is, what is refused, and that no password gets out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_pool.store.addresses import read_sqlite, redact, scheme_of
from dspex_pool.store.memory import MemoryStore
from dspex_pool.store.opening import open_store
from dspex_pool.store.sqlite import SqliteStore
from dspex_protocol import DSPexError

CANARY = "CANARY"
HOME = {"XDG_STATE_HOME": "/state"}


def test_memory_is_a_word() -> None:
    """Nothing more is needed."""
    assert isinstance(open_store("memory"), MemoryStore)


@pytest.mark.parametrize(
    ("url", "path", "full"),
    [
        ("sqlite", "/state/dspex/state.db", False),
        ("sqlite:", "/state/dspex/state.db", False),
        ("sqlite:/var/lib/x.db", "/var/lib/x.db", False),
        ("sqlite:///var/lib/x.db", "/var/lib/x.db", False),
        ("sqlite:x.db", "x.db", False),
        ("sqlite:sqlite:x", "sqlite:x", False),
        ("sqlite:/a b/ü%20.db", "/a b/ü%20.db", False),
        ("sqlite:/x.db?synchronous=full", "/x.db", True),
        ("sqlite:/x.db?synchronous=normal", "/x.db", False),
        ("sqlite?synchronous=full", "/state/dspex/state.db", True),
    ],
)
def test_files_of_sqlite(url: str, path: str, full: bool) -> None:
    """A path as it is written, and one option."""
    address = read_sqlite(url, HOME)
    assert (Path(path), full) == (address.path, address.full)


def test_the_default_file_is_of_the_user() -> None:
    """In `XDG_STATE_HOME` where that is absolute, else where it is by default."""
    expected = Path.home() / ".local" / "state" / "dspex" / "state.db"
    assert expected == read_sqlite("sqlite", {}).path
    assert expected == read_sqlite("sqlite", {"XDG_STATE_HOME": "relative"}).path


def test_a_path_may_begin_at_home() -> None:
    """With the sign that shells have for it."""
    assert Path.home() / "x.db" == read_sqlite("sqlite:~/x.db", {}).path


def test_a_relative_path_is_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the moment: a later change of it means nothing."""
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:x.db")
    monkeypatch.chdir("/")
    assert f"sqlite:{tmp_path}/x.db" == store.name


@pytest.mark.parametrize("option", ["sqlite", "sqlite:/x.db", "sqlite:/x.db?synchronous=full"])
def test_a_file_of_sqlite_is_a_store(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not open, so nothing is made."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert isinstance(open_store(option), SqliteStore)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("scheme", ["redis", "rediss", "postgresql", "postgres"])
def test_servers_are_named_without_passwords(scheme: str) -> None:
    """Nor users."""
    name = open_store(f"{scheme}://{CANARY}user:{CANARY}@localhost:7777/3").name
    assert "localhost:7777" in name
    assert CANARY not in name


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nothing",
        "mysql://u:CANARY@host/db",
        "memory:CANARY",
        "redis:CANARY@host",
        "redis//u:CANARY@host",
        "u:CANARY@host",
        "CANARY@host",
        "redis://u:CANARY@host:port/0",
        "redis://u:CANARY@host:99999999/0",
        "redis://u:CANARY@[::1/0",
        "redis:///?password=CANARY",
        "postgresql://u:CANARY@host:port/db",
        "postgresql://u:CANARY@[::1/db",
        "postgres:CANARY@host",
        "sqlite:/x.db?key=CANARY",
        "sqlite:/x.db?synchronous=CANARY",
        "sqlite:/x\0.db",
        "sqlite:~CANARY/x.db",
        "sqlite3:/x.db",
        "SQLITE:/x.db",
        " memory",
        "CANARY" * 20 + "://host",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    """As an argument of the wrong form; nothing of what it holds is told, not even in what led to it."""
    with pytest.raises(DSPexError) as caught:
        open_store(url)
    failure: BaseException | None = caught.value
    assert ("invalid_argument", "store") == (caught.value.code, caught.value.details["field"])
    assert CANARY not in repr(caught.value.details)
    while failure is not None:
        assert CANARY not in f"{failure} {failure!r} {failure.args}"
        failure = failure.__cause__ or failure.__context__


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memory", "memory"),
        ("sqlite:/x.db?synchronous=full", "sqlite:/x.db"),
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:CANARY@localhost:6379/0", "redis://localhost:6379/0"),
        ("rediss://u:CAN@ARY@host/0?ssl_ca_certs=/x", "rediss://host/0"),
        ("redis://:CAN/ARY@host/0", "redis://host/0"),
        ("redis://host?password=CANARY", "redis://host"),
        ("redis://host#CANARY", "redis://host"),
        ("redis://:CAN?ARY@host/0", "redis://…"),
        ("redis://:CAN#ARY@host/0", "redis://…"),
        ("redis://host/0?password=CAN@ARY", "redis://…"),
        ("unix://u:CANARY@/run/redis.sock?db=3", "unix:///run/redis.sock"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("postgresql://u:CANARY@a:1,b:2/db?sslmode=require", "postgresql://a:1,b:2/db"),
        ("redis:u:CANARY@host", "redis:…"),
        ("u:CANARY@host", "u:…"),
    ],
)
def test_addresses_are_redacted(url: str, expected: str) -> None:
    """What tells a store from another stays."""
    assert expected == redact(url)


@given(
    st.sampled_from(["redis", "rediss", "unix", "postgresql", "postgres"]),
    st.text(st.characters(codec="utf-8"), max_size=6),
    st.text(st.characters(codec="utf-8"), max_size=6),
    st.sampled_from(["", "?password=x@y", "?a=b#c", "#x"]),
)
def test_no_part_of_a_password_is_left(scheme: str, before: str, after: str, options: str) -> None:
    """Whatever else is in it, escaped or not."""
    assert CANARY not in redact(f"{scheme}://user:{before}{CANARY}{after}@host/0{options}")
    assert CANARY not in redact(f"{scheme}://host/0?password={before}{CANARY}{after}{options}")


def test_a_scheme_is_a_short_word() -> None:
    """What is longer may be anything."""
    assert "redis" == scheme_of("redis://x")
    assert ["", "", ""] == [scheme_of(text) for text in ("x" * 21 + ":", "://", "two words:")]


def run(program: str) -> str:
    """What a new interpreter prints."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60.0).stdout.strip()


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [("redis://localhost", "redis", "redis"), ("postgresql://localhost/db", "asyncpg", "postgres")],
)
def test_a_package_that_is_missing_is_named(url: str, module: str, extra: str) -> None:
    """With how to get it, and as something that the operator must do."""
    program = f"""
import sys
sys.modules[{module!r}] = None
from dspex_pool.store.opening import open_store
try:
    open_store({url!r})
except Exception as failure:
    print(type(failure).__name__, failure)
"""
    assert f"Refused {url}: {module} is not installed; pip install 'dspex[{extra}]'" == run(program)


@pytest.mark.parametrize("url", ["memory", "sqlite:/x.db"])
def test_only_what_is_needed_is_imported(url: str) -> None:
    """`dspex serve` answers `hello` sooner without the rest."""
    program = f"""
import sys
from dspex_pool.store.opening import open_store
open_store({url!r})
print(sorted({{"sqlite3", "redis", "asyncpg"}} & set(sys.modules)))
"""
    expected = "['sqlite3']" if url.startswith("sqlite") else "[]"
    assert expected == run(program)
