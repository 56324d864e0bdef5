"""A Unix socket that clients of the same user find the pool at.

Who may come in is decided twice: the file is 0600 from its first moment on, and the kernel
is asked who is at the other end, since a process may have come by the descriptor in other ways.

Only one server can be at a path. A socket that a killed server left behind is replaced; the
directory is locked from the look at it to the new one's first breath, or two servers that
start at once would replace each other.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dspex_protocol import NOTE, encode, encode_value

from .logs import Log
from .processes import LINUX

MAX_CLIENTS: Final = 256
BACKLOG: Final = 256
# One round takes no more, so that the clients who are in are served meanwhile.
ACCEPTS_AT_ONCE: Final = 32
# Without descriptors or memory the next try fails as well, and the kernel goes on to say
# that somebody waits: trying at once would take a whole core.
ACCEPT_AGAIN_S: Final = 0.1
LOCK_TIMEOUT_S: Final = 2.0
_CREDENTIALS: Final = struct.Struct("3i")


class CannotListen(Exception):
    """There can be no socket at a path, and why, in words for an operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The process at the other end of a socket, as the kernel knew it when it connected."""

    pid: int
    uid: int


class Listener:
    """Takes clients in at a path. Building it opens nothing.

    Args:
        loop: Where it waits.
        path: Where the socket is to be; at most 107 bytes.
        log: For refusals.
        count_clients: How many are in.
        on_client: Gets the descriptor of a client, which is its to close.

    Attributes:
        path: Where the socket is.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        path: Path,
        log: Log,
        *,
        count_clients: Callable[[], int],
        on_client: Callable[[int, Peer], None],
    ) -> None:
        self._loop = loop
        self.path = path
        self._log = log
        self._count_clients = count_clients
        self._on_client = on_client
        self._socket: socket.socket | None = None
        self._inode: tuple[int, int] | None = None

    def open(self) -> None:
        """Listen.

        Raises:
            CannotListen: when a server is there, the path is something else, the directory
                cannot be written to, or the system is not Linux.
        """
        if not LINUX:
            raise CannotListen(f"cannot listen at {self.path}: only Linux tells whose a connection is")
        try:
            with _locked(self.path.parent):
                _make_way(self.path)
                self._socket = _bind(self.path)
            self._inode = _inode(self.path)
        except OSError as reason:
            raise CannotListen(f"cannot listen at {self.path}: {reason.strerror or reason}") from reason
        self._loop.add_reader(self._socket.fileno(), self._accept_some)

    def close(self) -> None:
        """Take nobody in any more; the file goes, unless it has become another's."""
        if self._socket is None:
            return
        self._loop.remove_reader(self._socket.fileno())
        # While this socket lives no server takes the path, so what is ours now stays ours.
        with contextlib.suppress(OSError):
            if _inode(self.path) == self._inode:
                self.path.unlink()
        self._socket.close()
        self._socket = None

    def _accept_some(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            if self._socket is None:
                return
            try:
                client, _address = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as reason:
                if reason.errno != errno.ECONNABORTED:  # it has left again already
                    self._pause(reason)
                    return
            else:
                self._admit(client)

    def _pause(self, reason: OSError) -> None:
        assert self._socket is not None
        self._log.error("accept_failed", reason=reason.strerror, again_s=ACCEPT_AGAIN_S)
        self._loop.remove_reader(self._socket.fileno())
        self._loop.call_later(ACCEPT_AGAIN_S, self._go_on)

    def _go_on(self) -> None:
        if self._socket is not None:
            self._loop.add_reader(self._socket.fileno(), self._accept_some)

    def _admit(self, client: socket.socket) -> None:
        peer = peer_of(client)
        if peer.uid != os.getuid():
            client.close()
            self._log.warning("client_refused", uid=peer.uid, pid=peer.pid)
        elif self._count_clients() >= MAX_CLIENTS:
            _turn_away(client)
            self._log.warning("clients_full", limit=MAX_CLIENTS, pid=peer.pid)
        else:
            self._on_client(client.detach(), peer)


def peer_of(connection: socket.socket) -> Peer:
    """Who is at the other end."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _gid = _CREDENTIALS.unpack(raw)
    return Peer(pid=pid, uid=uid)


def _turn_away(client: socket.socket) -> None:
    """Close, with a word where the socket takes one at once."""
    message = f"the server has {MAX_CLIENTS} clients; more it does not take"
    closing = encode(NOTE, 0, "system.closing", {}, encode_value({"code": "overloaded", "message": message}))
    client.setblocking(False)
    with client, contextlib.suppress(OSError):
        client.send(closing)


@contextlib.contextmanager
def _locked(directory: Path) -> Generator[None]:
    """Alone with this directory, among servers that start."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor, directory)
        yield
    finally:
        os.close(descriptor)  # and the lock is gone


def _lock(descriptor: int, directory: Path) -> None:
    until_s = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until_s:
                raise CannotListen(f"another process holds a lock on {directory}") from None
            time.sleep(0.01)
        else:
            return


def _make_way(path: Path) -> None:
    """Remove a socket that nobody listens at.

    Raises:
        CannotListen: when somebody does, or when the path is no socket.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListen(f"cannot listen at {path}: something is there that is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:  # a queue that is full is somebody's
            pass
    raise CannotListen(f"cannot listen at {path}: another server does")


def _bind(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.setblocking(False)
        # Linux gives the file the mode that the socket has. chmod after bind would leave a
        # moment in which others can connect, and the umask belongs to all threads.
        os.fchmod(listening.fileno(), 0o600)
        listening.bind(str(path))
        path.chmod(0o600)  # for systems that do not, and for a umask that took more
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _inode(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
