"""The sessions in a scripted worker's memory, as docs/protocol.md section 9 wants them kept."""

from __future__ import annotations

from typing import NamedTuple

from dspex_protocol import Meta, encode_value


class KeptSession(NamedTuple):
    """A session after a turn.

    Attributes:
        program, version: What it talks to.
        turn: How many turns it has had.
        history: The nonces of those.
    """

    program: object
    version: object
    turn: int
    history: tuple[int, ...]

    def after(self, nonce: int) -> KeptSession:
        """The same with one more turn."""
        return self._replace(turn=self.turn + 1, history=(*self.history, nonce))

    def checkpoint(self) -> bytes:
        """What is to be stored of it."""
        return encode_value({"history": list(self.history), "state": None, "schema": 1})


class WorkerSessions:
    """All that one worker keeps."""

    def __init__(self) -> None:
        self._kept: dict[object, KeptSession] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def load(self, meta: Meta, checkpoint: object) -> None:
        """Keep a session; one of the same id is replaced."""
        assert isinstance(checkpoint, dict)
        turn = meta["turn"]
        assert isinstance(turn, int)
        history = tuple(checkpoint["history"])
        self._kept[meta["session"]] = KeptSession(meta["program"], meta["version"], turn, history)

    def forget(self, meta: Meta) -> None:
        """Drop one."""
        self._kept.pop(meta["session"], None)

    def named(self, meta: Meta) -> KeptSession | None:
        """The session that a call is made in; None when it is not here at exactly that turn."""
        kept = self._kept.get(meta["session"])
        if kept is None or kept[:3] != (meta["program"], meta["version"], meta["turn"]):
            return None
        return kept

    def replace(self, session: object, before: KeptSession, after: KeptSession) -> bool:
        """Keep what became of it, unless it was forgotten; False where another has come meanwhile."""
        kept = self._kept.get(session)
        if kept is before:
            self._kept[session] = after
        return kept is before or kept is None
