"""How a store can fail. `state_errors.py` of the pool says what clients hear of it."""

from __future__ import annotations

from .records import Key


class StoreError(Exception):
    """The root."""


class Conflict(StoreError):
    """Something else was there than a commit expected; nothing of it has happened.

    Attributes:
        key: The first of the changes that did not fit: a record's key, or a journal's name.
        found: The revision that is there, or the number of the last entry; 0 for none.
    """

    def __init__(self, key: Key | str, found: int) -> None:
        super().__init__(f"{key} is at {found}")
        self.key = key
        self.found = found


class Fenced(StoreError):
    """Somebody else has the lease that a commit relied on; nothing of it has happened."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the lease of {name} has gone to another owner")
        self.name = name


class Held(StoreError):
    """A lease is another owner's.

    Attributes:
        owner: Whose.
        remaining_s: How long it holds unless it is renewed.
    """

    def __init__(self, name: str, owner: str, remaining_s: float) -> None:
        super().__init__(f"{owner} has the lease of {name} for {remaining_s:.1f} s")
        self.owner = owner
        self.remaining_s = remaining_s


class Unavailable(StoreError):
    """The store gave no answer in time, or cannot be reached; it may later.

    Attributes:
        maybe_applied: The commit may have happened nevertheless.
    """

    def __init__(self, message: str, *, maybe_applied: bool = False) -> None:
        super().__init__(message)
        self.maybe_applied = maybe_applied


class Full(StoreError):
    """There is no room for a write: disk or memory. Nothing has happened; reads go on."""


class ReadOnly(StoreError):
    """The store takes no writes: a replica, a file without permission. Reads go on."""


class Refused(StoreError):
    """It cannot be used as it stands: credentials, an eviction policy, a newer schema, a network disk."""


class Damaged(StoreError):
    """The store's own file or tables are broken."""


class Rewound(StoreError):
    """The store has lost what it had acknowledged: it went back in time."""
