"""What an earlier server has left in the store: a world may begin with programs and sessions."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from dspex_pool.library.library import Library
from dspex_pool.library.records import Lineage
from dspex_pool.session_records import EMPTY, SessionRecord, key_of
from dspex_pool.session_records import write as write_session
from dspex_pool.store import Change, Fence, Key, Put, Record, Store
from dspex_protocol import encode_value

from .keepers import PROGRAMS
from .records import WriteRecord
from .workers import record_of

if TYPE_CHECKING:
    from .world import World

TTL_S: Final = 3600.0
WALL_MS: Final = 1_700_000_000_000


class _Direct:
    """The store without its faults, and with its ledger."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._common = world.common

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """See `Store.get`."""
        return await self._common.memory.get(keys)

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        """See `Store.commit`."""
        revisions = await self._common.memory.commit(changes, fences)
        self._common.ledger.committed(self._world, changes, self._common.now_s())
        return revisions


def furnish(world: World, sessions: Sequence[str]) -> None:
    """Have programs and sessions there.

    Args:
        world: Of the server that was there before, as far as the ledger is concerned.
        sessions: Their ids.
    """
    store, common = _Direct(world), world.common
    library = Library(
        cast("Store", store), clock=common.now_s, wall_ms=lambda: WALL_MS, new_id=lambda: "none"
    )
    programs = PROGRAMS[: common.random.randint(1, 3)]
    for program in programs:
        number = _wanted(world, "program.create", {"program": program}, {})
        content = encode_value(record_of(number, None))
        lineage = Lineage(by="create", note=str(number))
        _drive(library.create(program, content, lineage=lineage, tags=["live"]))
        common.programs[program] = 1
    for session in sessions:
        program = common.random.choice(programs)
        payload: dict[str, object] = {"ttl_s": TTL_S}
        number = _wanted(world, "session.open", {"program": program, "session": session}, payload)
        record = SessionRecord(
            program=program,
            version=1,
            turn=0,
            ttl_s=cast("float", payload["ttl_s"]),
            checkpoint=EMPTY,
            created_ms=WALL_MS,
            life=f"early {number}",
        )
        body = write_session(session, record)
        _drive(store.commit([Put(key=key_of(session), body=body, expect=0, ttl_s=record.ttl_s)]))
        common.sessions.append(session)


def _wanted(world: World, method: str, meta: dict[str, str], payload: dict[str, object]) -> int:
    number = world.next_nonce()
    if "ttl_s" in payload:
        payload["ttl_s"] = TTL_S + number * 1e-6
    write = WriteRecord(number=number, id=None, method=method, payload=payload, meta={**meta})
    world.common.ledger.wanted(write)
    return number


def _drive(work: Coroutine[Any, Any, object]) -> None:
    """Run what waits for nothing."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("the store in memory waits")
