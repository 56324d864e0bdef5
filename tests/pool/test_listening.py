"""The socket: whose it is, who may come in, and what stays of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import stat
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from tests.support.fakes import RecordingLog

from dspex_pool import listening
from dspex_pool.listening import CannotListen, Listener, Peer
from dspex_protocol import decode_envelope, decode_value
from dspex_protocol.frame import HEADER_BYTES


class Door:
    """A listener and who came in."""

    def __init__(self, path: Path, already: int = 0) -> None:
        self.log = RecordingLog()
        self.came: asyncio.Queue[Peer] = asyncio.Queue()
        self.clients: list[int] = []
        self.already = already
        self.listener = Listener(
            asyncio.get_running_loop(),
            path,
            self.log,
            count_clients=lambda: self.already + len(self.clients),
            on_client=self._take,
        )

    def _take(self, descriptor: int, peer: Peer) -> None:
        self.clients.append(descriptor)
        self.came.put_nowait(peer)

    def close(self) -> None:
        self.listener.close()
        for descriptor in self.clients:
            os.close(descriptor)


@pytest.fixture
def doors() -> Generator[list[Door]]:
    """Doors to close afterwards."""
    opened: list[Door] = []
    yield opened
    for door in opened:
        door.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a socket may be."""
    return tmp_path / "pool"


def opened(doors: list[Door], path: Path, already: int = 0) -> Door:
    door = Door(path, already)
    doors.append(door)
    door.listener.open()
    return door


def knock(path: Path) -> socket.socket:
    """A connection, whose reads end after 10 s at most."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(str(path))
    return connection


def leave_behind(path: Path) -> None:
    """The socket of a server that was killed."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


async def test_a_client_comes_in_with_its_credentials(doors: list[Door], path: Path) -> None:
    """As the kernel knows them."""
    door = opened(doors, path)
    with knock(path):
        peer = await asyncio.wait_for(door.came.get(), 10)
    assert Peer(pid=os.getpid(), uid=os.getuid()) == peer


@pytest.mark.parametrize("mask", [0o000, 0o777])
async def test_the_socket_is_ours_alone_at_any_umask(doors: list[Door], path: Path, mask: int) -> None:
    """0600, and a socket."""
    before = os.umask(mask)
    try:
        opened(doors, path)
    finally:
        os.umask(before)
    assert stat.S_IFSOCK | 0o600 == path.lstat().st_mode


async def test_there_is_no_moment_with_wider_rights(
    doors: list[Door], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mode is right when bind returns, before anything else can set it."""
    seen: list[int] = []

    def look(path: Path, mode: int) -> None:
        seen.append(path.lstat().st_mode & 0o777)

    monkeypatch.setattr(Path, "chmod", look)
    before = os.umask(0)
    try:
        opened(doors, path)
    finally:
        os.umask(before)
    assert [0o600] == seen


async def test_a_second_server_is_refused_and_harms_nothing(doors: list[Door], path: Path) -> None:
    """The first goes on; its socket outlives the attempt."""
    first = opened(doors, path)
    second = Door(path)
    with pytest.raises(CannotListen, match="another server does"):
        second.listener.open()
    second.close()
    await asyncio.wait_for(first.came.get(), 10)  # the second one's look
    with knock(path):
        await asyncio.wait_for(first.came.get(), 10)


async def test_a_stale_socket_is_replaced(doors: list[Door], path: Path) -> None:
    """A server that was killed keeps nobody from starting another."""
    leave_behind(path)
    door = opened(doors, path)
    with knock(path):
        await asyncio.wait_for(door.came.get(), 10)


def _a_file(path: Path) -> None:
    path.write_text("precious")


def _a_link(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


@pytest.mark.parametrize("put", [_a_file, Path.mkdir, _a_link])
async def test_what_is_no_socket_is_left_alone(path: Path, put: Callable[[Path], None]) -> None:
    """Somebody mistyped a path; that costs no file."""
    put(path)
    mode = path.lstat().st_mode
    with pytest.raises(CannotListen, match="no socket"):
        Door(path).listener.open()
    assert mode == path.lstat().st_mode


async def test_a_directory_that_is_missing_is_told(tmp_path: Path) -> None:
    """With the path and the system's reason."""
    with pytest.raises(CannotListen, match="absent/pool: No such file or directory"):
        Door(tmp_path / "absent" / "pool").listener.open()


async def test_the_socket_goes_with_its_server(doors: list[Door], path: Path) -> None:
    """Closing twice is no error."""
    door = opened(doors, path)
    door.listener.close()
    door.listener.close()
    assert not path.exists()


async def test_a_socket_that_is_another_servers_stays(doors: list[Door], path: Path) -> None:
    """Somebody removed ours, and a new server is there: by the inode it is not ours."""
    first = opened(doors, path)
    path.unlink()
    second = opened(doors, path)
    first.listener.close()
    with knock(path):
        await asyncio.wait_for(second.came.get(), 10)


async def test_one_client_too_many_is_told(doors: list[Door], path: Path) -> None:
    """It gets one NOTE and the end; the others stay."""
    door = opened(doors, path, already=listening.MAX_CLIENTS - 1)
    with knock(path), knock(path) as refused:
        received = await asyncio.to_thread(refused.makefile("rb").read)
    assert 1 == door.came.qsize()
    envelope = decode_envelope(received[HEADER_BYTES:])
    closing = decode_value(received[HEADER_BYTES + envelope.payload_at :])
    assert isinstance(closing, dict)
    assert ("system.closing", "overloaded") == (envelope.method, closing["code"])


@contextlib.contextmanager
def no_descriptors() -> Generator[None]:
    """No more of them can be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


NOBODY = 65534


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_another_user_is_turned_away(doors: list[Door]) -> None:
    """Even one whom the file would let in, as a descriptor that was passed on would."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "pool"
        door = opened(doors, path)
        path.chmod(0o666)
        assert b"" == await asyncio.to_thread(read_as, NOBODY, path)
    assert 0 == door.came.qsize()
    (line,) = door.log.lines
    assert b"client_refused uid=65534" in line


def read_as(uid: int, path: Path) -> bytes:
    """What a process of another user reads from a socket that it connects to."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(uid)
            os.write(theirs, knock(path).recv(1))
        except OSError as reason:
            os.write(theirs, str(reason).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    os.waitpid(child, 0)
    with open(ours, "rb") as said:
        return said.read()


async def test_without_descriptors_it_does_not_spin(
    doors: list[Door], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EMFILE: one try and one line, however often the loop goes round."""
    monkeypatch.setattr(listening, "ACCEPT_AGAIN_S", 3600)
    door = opened(doors, path)
    with knock(path), no_descriptors():
        for _ in range(200):
            await asyncio.sleep(0)
        (line,) = list(door.log.lines)
    assert b"accept_failed" in line


async def test_who_waited_for_a_descriptor_comes_in(
    doors: list[Door], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next try after there are some again."""
    monkeypatch.setattr(listening, "ACCEPT_AGAIN_S", 0.01)
    door = opened(doors, path)
    with knock(path):
        with no_descriptors():
            async with asyncio.timeout(10):
                while not door.log.lines:
                    await asyncio.sleep(0)
        assert 0 == door.came.qsize()
        await asyncio.wait_for(door.came.get(), 10)
