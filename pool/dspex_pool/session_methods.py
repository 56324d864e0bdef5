"""The methods about sessions: what each does with the sessions and the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from dspex_protocol import DSPexError, invalid_argument

from . import session_records
from .library.failures import to_wire_error
from .library.library import Library
from .library.names import check_prefix, check_program
from .own_method import Nothing
from .ports import Stored
from .program_methods import Handler, encoded, parameters, write_of
from .session_beginnings import SessionBeginnings
from .session_records import SessionRecord
from .sessions import Sessions
from .store import Record, StoreError
from .stored_operations import ForkSession, ListSessions, Migrate, OpenSession

if TYPE_CHECKING:
    from .calls import Call

BATCH: Final = 16
"""Sessions that are read at a time for a list: each may have a long conversation."""

MAX_UNREADABLE: Final = 100
"""Sessions that a list names as unreadable."""


class SessionMethods:
    """Answers calls about sessions.

    Args:
        sessions: Those of this server.
        beginnings: Where new ones come from.
        library: Where their programs are.
        stored: The store, ids and the wall clock.
        serving: The numbers of the workers that take calls.
    """

    def __init__(
        self,
        sessions: Sessions,
        beginnings: SessionBeginnings,
        library: Library,
        stored: Stored,
        serving: Callable[[], list[int]],
    ) -> None:
        self._sessions = sessions
        self._beginnings = beginnings
        self._library = library
        self._stored = stored
        self._serving = serving

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """What answers each method."""
        return {
            "session.open": self._open,
            "session.get": self._get,
            "session.list": self._list,
            "session.fork": self._fork,
            "session.close": self._close,
            "state.migrate": self._migrate,
        }

    async def _open(self, call: Call) -> object:
        return await self._once(call, self._open_on)

    async def _open_on(self, call: Call) -> object:
        wish = parameters(OpenSession, call)
        if call.wanted is None:
            raise invalid_argument("meta.program", "the program that the session is to talk to", None)
        program, version, _ = self._library.find(call.wanted) or await self._library.fetch(call.wanted)
        session = call.meta.get("session") or self._stored.new_id()
        record = SessionRecord(
            program=program,
            version=version,
            turn=0,
            ttl_s=wish.ttl_s,
            checkpoint=session_records.EMPTY,
            created_ms=self._stored.wall_ms(),
            life=self._stored.new_id(),
        )
        return await self._create(call, str(session), record)

    async def _get(self, call: Call) -> object:
        parameters(Nothing, call)
        session = _named(call)
        record = await self._sessions.read(session)
        live = self._sessions.live(session)
        home = None if live is None else live.worker
        return await encoded(
            self._stored.tasks.apart,
            len(record.checkpoint),
            lambda: {**session_records.describe_whole(session, record), "worker": home},
        )

    async def _list(self, call: Call) -> object:
        wish = parameters(ListSessions, call)
        check_prefix(wish.prefix)
        check_prefix(wish.after, "after")
        rows: list[dict[str, object]] = []
        unreadable: list[str] = []
        after = wish.after
        while len(rows) <= wish.limit:
            found = await self._scan(wish.prefix, after)
            for record in found:
                try:
                    kept = session_records.read_record(record.key.id, record.body)
                except DSPexError:  # damaged, or of a newer DSPex: the others are to be seen all the same
                    unreadable.append(record.key.id)
                else:
                    rows.append(session_records.describe(record.key.id, kept))
            if len(found) < BATCH:
                break
            after = found[-1].key.id
        page = rows[: wish.limit]
        answer = {"sessions": page, "next": page[-1]["session"] if len(rows) > wish.limit else None}
        return answer | ({"unreadable": unreadable[:MAX_UNREADABLE]} if unreadable else {})

    async def _scan(self, prefix: str, after: str) -> list[Record]:
        try:
            return await self._stored.store.scan(
                session_records.COLLECTION, prefix=prefix, after=after, limit=BATCH
            )
        except StoreError as failure:
            raise to_wire_error(failure) from failure

    async def _fork(self, call: Call) -> object:
        return await self._once(call, self._fork_from)

    async def _fork_from(self, call: Call) -> object:
        wish = parameters(ForkSession, call)
        source = await self._sessions.read(_named(call))
        session = self._stored.new_id() if wish.session is None else check_program(wish.session, "session")
        record = replace(
            source,
            ttl_s=source.ttl_s if wish.ttl_s is None else wish.ttl_s,
            created_ms=self._stored.wall_ms(),
            life=self._stored.new_id(),
        )
        return await self._create(call, session, record)

    async def _create(self, call: Call, session: str, record: SessionRecord) -> object:
        call.begin_effects()
        made = await self._beginnings.begin(session, record, call.method, write_of(call))
        return session_records.describe(*made)

    async def _once(self, call: Call, begin: Handler) -> object:
        """Begin a session. Made before, it was made from something that may be gone since."""
        write = write_of(call)
        try:
            return await begin(call)
        except DSPexError as refusal:
            if refusal.code not in ("unknown_program", "unknown_session") or write is None:
                raise
            made = await self._beginnings.made_before(write, call.method)
            if made is None:
                raise
            return session_records.describe(*made)

    async def _close(self, call: Call) -> object:
        parameters(Nothing, call)
        call.begin_effects()
        await self._sessions.close(_named(call))
        return None

    async def _migrate(self, call: Call) -> object:
        worker = parameters(Migrate, call).worker
        session = _named(call)
        serving = self._serving()
        if worker not in serving:
            numbers = ", ".join(map(str, serving))
            raise invalid_argument("worker", f"the number of a worker that serves ({numbers})", worker)
        await self._sessions.move(session, worker)
        return {"session": session, "worker": worker}


def _named(call: Call) -> str:
    session = call.meta.get("session")
    if not isinstance(session, str):
        raise invalid_argument("meta.session", "the id of a session", session)
    return session
