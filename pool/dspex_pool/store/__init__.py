"""THE STORE: what must outlive every process. Programs, sessions and jobs are records in it.

One interface, four backends: memory, SQLite, Redis, PostgreSQL. Only the supervisor opens one.

General layout: `records`, `failures` and `limits` are the words; `addresses` reads what a setting
says, and `opening` builds the store. `memory` is one file. `sqlite` is the store on the event loop,
`sqlite_lane` its threads, `sqlite_servants` what they do, with `sqlite_grip` on `sqlite_file`;
`sqlite_tables` has the statements, over `sqlite_schema`, at a time of `sqlite_clock`, and
`sqlite_failures` translates. `redis*` and `postgres*` share `connections` and `server_clock`.
`numbering` and `mounts` decide without I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .failures import (
    Conflict,
    Damaged,
    Fenced,
    Full,
    Held,
    ReadOnly,
    Refused,
    Rewound,
    StoreError,
    Unavailable,
)
from .records import Append, Change, Delete, Drop, Entry, Fence, Key, Lease, Put, Record

__all__ = [
    "Append",
    "Change",
    "Conflict",
    "Damaged",
    "Delete",
    "Drop",
    "Entry",
    "Fence",
    "Fenced",
    "Full",
    "Held",
    "Key",
    "Lease",
    "Put",
    "ReadOnly",
    "Record",
    "Refused",
    "Rewound",
    "Store",
    "StoreError",
    "Unavailable",
]


class Store(Protocol):
    """A store. Building one does nothing; `open` connects.

    All methods may be called at the same time from tasks of one event loop. Each is bounded by
    the time limit that the store was built with. A task that is cancelled in the middle of a
    commit leaves it done or not done, never in part; and no answer to one request ever reaches
    another.

    Arguments beyond the limits that are stated (`limits.py` checks them) are a mistake of ours and
    raise ValueError.

    Raises (every method):
        Unavailable: when it does not answer in time or cannot be reached. A later call tries
            again: a store that comes back is used again within two seconds, without `open`.
        Refused, Damaged: when it must not be used as it stands.
        Rewound: until it has been closed and opened again, which takes it as it is found.
    """

    @property
    def name(self) -> str:
        """The backend and where it is, without credentials: `sqlite:/var/lib/dspex/state.db`."""
        ...

    async def open(self) -> None:
        """Connect, make the tables where there are none, and check that state is safe there.

        May be called again after it has failed.
        """
        ...

    async def close(self) -> None:
        """Let go of everything. What is acknowledged stays; what is under way may be either."""
        ...

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """Read records, all as they were at one moment; None for what is not there, or is over.

        Args:
            keys: At most 1,000.
        """
        ...

    async def scan(
        self,
        collection: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[Record]:
        """Read the records of a collection, by id in the order of their UTF-8 bytes.

        Args:
            collection: Of which.
            prefix: Only ids that begin so.
            after: Only ids that come after this one in the order of the list; "" from its start.
            limit: At most so many, 1 to 1,000.
            newest_first: The last id first. It is called so since ids that are asked for
                in this order end in a number of fixed width.
        """
        ...

    async def commit(self, changes: Sequence[Change], fences: Sequence[Fence] = ()) -> list[int]:
        """Make all of these changes, or none.

        Args:
            changes: 1 to 1,000, at most one for each key, and any number for a journal; they
                happen in order.
            fences: Leases that it relies on; they are looked at before anything else.

        Returns:
            For each change the revision or entry number that it made; 0 for what is gone.

        Raises:
            Conflict: when a change expected something else than is there.
            Fenced: when a lease has gone to another owner.
            Full, ReadOnly: when nothing can be written.
            Unavailable: with `maybe_applied` when it was sent and no answer came.
        """
        ...

    async def entries(self, journal: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Read entries of a journal, those that follow a number, in order.

        Args:
            journal: Its name; one that does not exist has no entries.
            after: The number of the last one that is known.
            limit: At most so many, 1 to 10,000.
        """
        ...

    async def lease(self, name: str, owner: str, ttl_s: float) -> Lease:
        """Take the lease of a name, or renew it where it is the owner's already.

        Renewed it keeps its epoch; taken anew, be it by the former owner after its time was
        over, it gets a larger one. Time is the store's.

        Raises:
            Held: when it is another's.
        """
        ...

    async def release(self, lease: Lease) -> None:
        """Give a lease back. No error when it has gone to another, or is over."""
        ...

    async def expire(self, limit: int = 1000) -> int:
        """Remove records whose time is over, at most so many; how many there were.

        They are invisible before that; this frees their room. Leases that have been over for
        `limits.LEASE_MEMORY_S` go with them and are counted.
        """
        ...
