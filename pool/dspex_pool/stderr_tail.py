"""What a child writes to its stderr: passed on at a bounded rate, its end remembered."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

TAIL_BYTES: Final = 4096
READ_BYTES: Final = 65_536
# A child that floods its stderr is read on, so that it never blocks, but not shown on.
SHOWN_BYTES_PER_S: Final = 65_536


class StderrTail:
    """Reads one child's stderr on the event loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, descriptor: int, show: Callable[[bytes], None]
    ) -> None:
        os.set_blocking(descriptor, False)
        self._loop = loop
        self._descriptor = descriptor
        self._show = show
        self._tail = b""
        self._window_s = 0.0
        self._shown_bytes = 0
        self._hidden_bytes = 0
        self._open = True
        loop.add_reader(descriptor, self.read)

    def text(self) -> str:
        """The last 4 KiB, as text."""
        return self._tail.decode("utf-8", "replace").strip()

    def read(self) -> bool:
        """Take what has come; False when nothing more is there."""
        if not self._open:
            return False
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
            return False
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        self._show_bounded(data)
        return True

    def _show_bounded(self, data: bytes) -> None:
        now_s = self._loop.time()
        if now_s - self._window_s >= 1:
            if self._hidden_bytes:
                self._show(f"dspex: {self._hidden_bytes} bytes of stderr not shown\n".encode())
            self._window_s, self._shown_bytes, self._hidden_bytes = now_s, 0, 0
        room = SHOWN_BYTES_PER_S - self._shown_bytes
        if room > 0:
            self._show(data[:room])
        self._shown_bytes += min(room, len(data))
        self._hidden_bytes += max(0, len(data) - max(room, 0))

    def close(self) -> None:
        """Stop reading."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
