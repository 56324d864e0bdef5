"""A server for tests that can be slow, silent, dying, or print garbage. Standard library only.

    fake_server.py MODE [PATH]

With a PATH it listens there on a Unix socket, says `listening` on its output once it does,
gives each client a process of its own, and ends, with all of them, when its input ends.

Modes: `echo` answers every call with its payload; `dies` exits with status 3 at the first
call after the handshake; `silent` never answers anything; `mute` answers the handshake and
nothing after it; `garbage` prints text before its frames; `text` prints text after the
handshake; `deaf` answers the handshake and reads no more; `refuses` fails the handshake;
`exits` ends at once with status 5; `drains` answers one call and then says that it is leaving;
`flood` answers the first call with that many notes and its payload.
"""

import contextlib
import os
import select
import signal
import socket
import struct
import sys
from pathlib import Path

MODE = sys.argv[1]


def pack(value):
    """The part of MessagePack that is needed here."""
    if value is None:
        return b"\xc0"
    if value is True or value is False:
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return struct.pack(">BQ", 0xCF, value)
    if isinstance(value, str):
        data = value.encode()
        return struct.pack(">BI", 0xDB, len(data)) + data
    if isinstance(value, list):
        return struct.pack(">BI", 0xDD, len(value)) + b"".join(map(pack, value))
    return struct.pack(">BI", 0xDF, len(value)) + b"".join(
        pack(part) for pair in value.items() for part in pair
    )


def skip_integer(body, at):
    """An integer of the envelope and where it ends."""
    size = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}.get(body[at], 0)
    return (int.from_bytes(body[at + 1 : at + 1 + size], "big") if size else body[at]), at + 1 + size


def read_string(body, at):
    """A short string of the envelope and where it ends; None for nil."""
    if body[at] == 0xC0:
        return None, at + 1
    size = body[at] & 0x1F
    return body[at + 1 : at + 1 + size].decode(), at + 1 + size


def payload_of(body, at):
    """The payload, after a meta of string keys with integers or short strings."""
    count, at = body[at] & 0x0F, at + 1
    for _ in range(count):
        _, at = read_string(body, at)
        if 0xA0 <= body[at] < 0xC0:
            _, at = read_string(body, at)
        else:
            _, at = skip_integer(body, at)
    return body[at:]


def read_exactly(count):
    data = b""
    while len(data) < count:
        piece = os.read(0, count - len(data))
        if not piece:
            sys.exit(0)
        data += piece
    return data


def write(kind, call_id, payload):
    body = b"\x95" + bytes([kind]) + pack(call_id) + b"\xc0\x80" + payload
    data = struct.pack(">I", len(body)) + body
    while data:
        data = data[os.write(1, data) :]


def greet(call_id):
    if MODE == "refuses":
        write(2, call_id, pack({"code": "handshake_failed", "message": "no common version", "details": {}}))
        return
    write(1, call_id, pack({"protocol": "dspex", "version": 1, "max_frame_bytes": 16777216}))
    if MODE == "text":
        os.write(1, b"Hello from a stray print, long enough to be taken for a frame.\n" * 10)
    if MODE == "deaf":
        # Reads nothing, and yet leaves when nobody is there any more.
        poll = select.poll()
        poll.register(0, select.POLLHUP)
        poll.poll(60_000)
        sys.exit(0)


def note(method, fields):
    body = b"\x95\x06\x00" + pack(method) + b"\x80" + pack(fields)
    os.write(1, struct.pack(">I", len(body)) + body)


def main():
    if MODE == "exits":
        sys.exit(5)
    if MODE == "garbage":
        os.write(1, b"Loading models ...\n")
    while True:
        body = read_exactly(int.from_bytes(read_exactly(4), "big"))
        call_id, at = skip_integer(body, 2)
        method, at = read_string(body, at)
        if MODE == "silent" or body[1] != 0:
            continue
        if method == "system.hello":
            greet(call_id)
        elif method == "system.goodbye":
            write(1, call_id, b"\xc0")
            return
        elif MODE == "dies":
            sys.exit(3)
        elif MODE == "flood":
            for number in range(1_000):
                note("pool.event", {"event": "flood", "number": number})
            write(1, call_id, payload_of(body, at))
        elif MODE != "mute":
            write(1, call_id, payload_of(body, at))
            if MODE == "drains":
                note("system.closing", {"code": "draining", "message": "told to end"})


def serve_each(path):
    """A process for each client, as if it had been started by that client alone."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.write(1, b"listening\n")
    while True:
        readable, _, _ = select.select([listener, 0], [], [])
        if 0 in readable:
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()
            # A port's process leads a group of its own.
            os.killpg(os.getpid(), signal.SIGKILL)
        client, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os.dup2(client.fileno(), 0)
            os.dup2(client.fileno(), 1)
            client.close()
            return
        client.close()


try:
    if len(sys.argv) > 2:
        serve_each(sys.argv[2])
    main()
except (BrokenPipeError, ConnectionResetError):
    sys.exit(0)
