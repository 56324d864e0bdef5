"""What a store keeps, and what may be asked of it: plain records without I/O.

A store knows nothing of programs, sessions or jobs. It keeps

- **records**: bytes under a key, with a revision that grows with every change of that key;
- **journals**: numbered entries under a name, only ever added to;
- **leases**: who may act for a name, for how long, and with which epoch.

Everything that must happen together is one `commit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias


class Key(NamedTuple):
    """Where a record is.

    Attributes:
        collection: What kind of thing it is, in a word of ours, such as `program`.
        id: Which one, 1 to 512 bytes of UTF-8 without NUL (PostgreSQL's text has none); text of
            a client's at most in part, and never a path. Names of journals and leases are alike.
    """

    collection: str
    id: str


class Record(NamedTuple):
    """A record as it was read.

    Attributes:
        key: Where it is.
        revision: From 1; grows by one with every change. It goes on where a key was deleted and
            is written again before the store has forgotten it, else it starts at 1.
        body: What was put.
    """

    key: Key
    revision: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Write a record.

    Attributes:
        expect: The revision that must be there; 0 for none, None for whatever is there.
        ttl_s: After so long, by the store's clock, it is as if deleted; more than 0, and None for
            a record that stays. What the record had before does not count.
    """

    key: Key
    body: bytes
    expect: int | None = None
    ttl_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Delete a record. No error when there is none, unless `expect` says which there must be."""

    key: Key
    expect: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Add an entry to a journal.

    Attributes:
        journal: Its name.
        after: The number of the last entry that must be there; None for whatever is there.
    """

    journal: str
    body: bytes
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Forget a journal with all its entries; the next one is number 1. No error when there is none."""

    journal: str


Change: TypeAlias = Put | Delete | Append | Drop


class Entry(NamedTuple):
    """One entry of a journal; numbers start at 1 and have no gaps."""

    number: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to act for a name.

    Attributes:
        name: What for, such as `session/<id>`.
        owner: Who has it.
        epoch: Larger than that of every lease of that name before it. It goes with each commit
            that relies on the lease, so that a former owner's write is refused.
        ttl_s: How long it holds unless it is renewed.
    """

    name: str
    owner: str
    epoch: int
    ttl_s: float


class Fence(NamedTuple):
    """A commit happens only while nobody has taken the lease of that name since that epoch.

    That its time is over, or that it was given back, does not matter as long as the store can
    tell: for an hour (`limits.LEASE_MEMORY_S`). After that it is refused, as is one for a lease
    that never was.
    """

    name: str
    epoch: int
