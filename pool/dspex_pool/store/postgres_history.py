"""Whether a PostgreSQL still has what it acknowledged to this process.

It may not: with `synchronous_commit` off, after a replica took over that lagged behind, after
somebody restored an older backup or dropped the tables. Each connection has a row of its own
that counts the changes which were made on it, so that nobody waits for anybody. What is lost is
always the end of the log, so the rows of those who wrote last tell whether anything is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from .failures import Rewound

REMEMBERED: Final = 16
"""Connections of which the count is known: more than can have a commit under way together."""


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
        self._store: str | None = None
        self._rewound: str | None = None
        self._commits: OrderedDict[str, int] = OrderedDict()  # by writer, the last one at the end

    @property
    def writers(self) -> list[str]:
        """Those whose rows must be there."""
        return list(self._commits)

    def check(self) -> None:
        """Let nothing pass once a loss was found.

        Raises:
            Rewound: for good.
        """
        if self._rewound is not None:
            raise Rewound(self._rewound)

    def acknowledged(self, writer: str, commits: int) -> None:
        """A change was made on a connection."""
        self._commits[writer] = commits
        self._commits.move_to_end(writer)
        if len(self._commits) > REMEMBERED:
            self._commits.popitem(last=False)

    def greet(self, store: str, commits: Mapping[str, int], asked: Mapping[str, int]) -> None:
        """A connection was made.

        Args:
            store: The store's id.
            commits: What PostgreSQL has counted.
            asked: What was known when it was asked, see `known`.

        Raises:
            Rewound: when that is less.
        """
        self.check()
        if self._store not in {None, store}:
            self.find("it was emptied or replaced by another")
        for writer, known in asked.items():
            if commits.get(writer, 0) < known:
                self.find("the last commits that it has acknowledged are not there")
        self._store = store

    def known(self) -> dict[str, int]:
        """The number of changes by writer, as far as they were acknowledged."""
        return dict(self._commits)

    @property
    def has_seen(self) -> bool:
        """Whether there was a store before."""
        return self._store is not None

    def find(self, what: str) -> None:
        """A loss was found.

        Raises:
            Rewound: always.
        """
        self._rewound = f"{self._name} has lost acknowledged state: {what}"
        raise Rewound(self._rewound)
