"""Calls of a worker to its host, and the pieces of their answers, as both ends know them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Ask:
    """A call of the host, in the worker that made it.

    Attributes:
        nonce: What the answer must hold.
        credit: Items that it has allowed so far.
        items: Items that have come.
    """

    nonce: int
    credit: int = 0
    items: int = 0


@dataclass(slots=True, kw_only=True)
class Answer:
    """The same in the client that answers it.

    Attributes:
        nonce: What it must hold.
        items: How many it is to send before its answer.
        credit: Items that it may send at once.
        sent: Items that it has sent.
        waits: It goes on when credit comes.
    """

    nonce: int
    items: int
    credit: int
    sent: int = 0
    waits: bool = False
