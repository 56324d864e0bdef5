"""Whether a Redis is still the one that it was, or has lost what it had acknowledged.

Redis may come back with less than it had: restarted from a file that was a second old, replaced
by a replica that lagged behind, emptied by somebody. A number of commits that is lower than one
seen before shows that, unless others have written meanwhile. So Redis also keeps a list of
**eras**, one for each run of a server: at which commit it began. An era that began before a
commit that this process has seen is a history in which that commit does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass

from .failures import Rewound, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What a Redis says of its store when somebody connects.

    Attributes:
        store: The id of the store, made when it was empty; None for one that is empty.
        commits: How many it has made.
        era: The number of the era now.
        eras: As Redis keeps them, `<commit>:<run>`, from the last era that this process knew.
        is_replica: It follows another one, and may lag behind.
    """

    store: bytes | None
    commits: int
    era: int
    eras: tuple[bytes, ...]
    is_replica: bool


class History:
    """What one process has seen of a store. Pure.

    Args:
        name: The store's, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.forget()

    def forget(self) -> None:
        """Take what comes next as it is: somebody has decided so by closing the store."""
        self._store: bytes | None = None
        self._era: tuple[int, bytes] = (0, b"")
        self._rewound: str | None = None
        self.commits = 0

    @property
    def era(self) -> int:
        """The last era that was seen, 0 for none."""
        return self._era[0]

    def check(self) -> None:
        """Let nothing pass once a loss was found.

        Raises:
            Rewound: for good.
        """
        if self._rewound is not None:
            raise Rewound(self._rewound)

    def greet(self, greeting: Greeting, at_least: int) -> None:
        """A connection was made.

        Args:
            greeting: What Redis said.
            at_least: `commits` when it was asked.

        Raises:
            Rewound: when what this process has seen is not there.
            Unavailable: when this is a replica that may only lag behind.
        """
        self.check()
        if greeting.is_replica and greeting.commits < at_least:
            raise Unavailable(f"{self._name} is a replica that lags behind")
        if self._era[0] and not greeting.is_replica:
            self._compare_eras(greeting.eras, at_least)
        self._compare(greeting.store, greeting.commits, at_least)
        if greeting.era and greeting.eras:
            self._era = (greeting.era, greeting.eras[-1])

    def answer(self, store: bytes | None, commits: int, at_least: int) -> None:
        """An answer came.

        Args:
            store: The store's id in it; None for a Redis that is empty now.
            commits: How many it had made.
            at_least: `commits` when the question was sent.

        Raises:
            Rewound: when what was seen before the question is not in the answer.
        """
        self.check()
        self._compare(store, commits, at_least)

    def _compare(self, store: bytes | None, commits: int, at_least: int) -> None:
        if store is None or (self._store is not None and store != self._store):
            self._find("it was emptied or replaced by another")
        if commits < at_least:
            self._find(f"it was at commit {at_least} and is at {commits}")
        self._store = store
        self.commits = max(self.commits, commits)

    def _compare_eras(self, eras: tuple[bytes, ...], at_least: int) -> None:
        known, *later = eras or (b"",)
        if known != self._era[1]:
            self._find("the run of its server that was seen last is not in its history")
        for era in later:
            began = int(era.partition(b":")[0])
            if began < at_least:
                self._find(f"it went on from commit {began} although it had reached {at_least}")

    def _find(self, what: str) -> None:
        self._rewound = f"{self._name} has lost acknowledged state: {what}"
        raise Rewound(self._rewound)
