"""How a session begins: stored once, whoever asks again; and not as one whose time is just over.

What is not here is its turns, which are `sessions.py`'s.
"""

from __future__ import annotations

from dataclasses import replace

from . import session_records
from .library.failures import to_wire_error, told
from .library.writes import Write, first_answer, first_detail, remember, write_key
from .ports import Stored
from .session_leases import SessionLeases
from .session_records import SessionRecord, key_of
from .session_refusals import busy, exists
from .sessions import IDLE_S, Sessions
from .store import Conflict, Fence, Fenced, Held, Put, StoreError


class SessionBeginnings:
    """Begins sessions.

    Args:
        stored: The store.
        leases: Those of this server.
        sessions: Those of which it makes turns.
    """

    def __init__(self, stored: Stored, leases: SessionLeases, sessions: Sessions) -> None:
        self._store = stored.store
        self._leases = leases
        self._sessions = sessions

    async def begin(
        self, session_id: str, record: SessionRecord, operation: str, write: Write | None
    ) -> tuple[str, SessionRecord]:
        """Store a new session, once.

        Args:
            session_id: The id wanted.
            record: It.
            operation: A word for it; part of what a write with an id is.
            write: What the client calls this write.

        Returns:
            The session's id, and what it began as: those of the first time, where the write was
            made before.

        Raises:
            DSPexError: `session_exists`, `session_busy`, `write_id_reused`, or what the store says.
        """
        body = session_records.write(session_id, record)
        changes = [Put(key=key_of(session_id), body=body, expect=0, ttl_s=record.ttl_s)]
        if write is not None:
            begun = session_records.write(session_id, replace(record, checkpoint=session_records.EMPTY))
            changes.append(remember(write, operation, (session_id, record.turn), begun))
        try:
            await self._begin_life(session_id, changes)
        except Conflict:
            made = None if write is None else await self.made_before(write, operation)
            if made is None:
                raise exists(session_id) from None
            return made
        except StoreError as failure:
            raise to_wire_error(failure) from failure
        return session_id, record

    async def _begin_life(self, session_id: str, changes: list[Put]) -> None:
        """Store a session that is new, under a lease that no turn of an earlier one with its id has.

        The revisions of a new record begin at 1 again. A turn that outlasts its session's time may
        be on its way to the store, and would take the new one for the one that it belongs to.

        Raises:
            Conflict: when there is one.
            StoreError: what the store says.
            DSPexError: `session_busy` when another server makes a turn of an earlier one.
        """
        await self._sessions.end_former(session_id)
        try:
            lease = await self._leases.take(session_id)
            await self._store.commit(changes, [Fence(lease.name, lease.epoch)])
        except (Held, Fenced) as taken:
            found = await self._sessions.find(session_id)
            if found is None:
                raise busy(session_id, taken.remaining_s if isinstance(taken, Held) else IDLE_S) from None
            raise Conflict(found.key, found.revision) from None
        finally:
            if session_id not in self._sessions:
                self._leases.give_back(session_id)

    async def made_before(self, write: Write, operation: str) -> tuple[str, SessionRecord] | None:
        """What `begin` made of a write; None when it has made nothing.

        Raises:
            DSPexError: `write_id_reused`, or what the store says.
        """
        with told:
            (found,) = await self._store.get([write_key(write.id)])
        answer = None if found is None else first_answer(write, operation, found.body)
        if found is None or answer is None:
            return None
        session_id = answer[0]
        return session_id, session_records.read_record(session_id, first_detail(write, operation, found.body))
