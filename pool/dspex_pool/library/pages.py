"""Lists of programs, a page at a time: which there are, filtered and sorted. Memory is bounded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from dspex_pool.store import Record, Store
from dspex_protocol import invalid_argument

from .failures import told
from .names import check_prefix, check_program, check_tag
from .records import PROGRAM, Head, read_head
from .sealing import Broken, TooNew

Sort = Literal["program", "created", "updated"]

SCANNED: Final = 500
"""Heads that are read at a time."""

MAX_PAGE: Final = 1000

MAX_UNREADABLE: Final = 100
"""Ids of damaged programs that a page names; `dspex state verify` names them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which programs, in which order.

    Attributes:
        prefix: Only ids that begin so.
        tag: Only programs of which a version carries it.
        module: Only those whose newest version is of it.
        sort: By what; programs of the same moment come by id.
        descending: The last one first.
        limit: At most so many, 1 to 1,000.
        after: `Page.next` of the page before.
    """

    prefix: str = ""
    tag: str | None = None
    module: str | None = None
    sort: Sort = "program"
    descending: bool = False
    limit: int = 100
    after: str | None = None


class Page(NamedTuple):
    """A page.

    Attributes:
        heads: The programs.
        next: Where the next page begins; None after the last one.
        unreadable: Programs that were come across and cannot be read, being damaged or of a newer
            DSPex: at most a hundred.
    """

    heads: list[Head]
    next: str | None
    unreadable: list[str]


Place = tuple[int, str]
"""Where a program stands in a list: its moment, or 0, and its id."""

_MOMENT: Final = re.compile(r"-?[0-9]{1,19}")


async def page_of(store: Store, wanted: Wanted) -> Page:
    """A page.

    Raises:
        DSPexError: `invalid_argument`, or a `store_…` code.
    """
    _check(wanted)
    after = None if wanted.after is None else _read_cursor(wanted.after, wanted.sort)
    scan = _Scan(store, wanted, after)
    found = await (_by_id(scan, wanted) if wanted.sort == "program" else _by_moment(scan, wanted, after))
    page = found[: wanted.limit]
    is_last = len(found) <= wanted.limit
    cursor = None if is_last else _write_cursor(wanted.sort, _place(page[-1], wanted.sort))
    return Page(page, cursor, scan.unreadable)


class _Scan:
    """Goes through heads by id, some at a time. To sort them by something else, all must be seen."""

    def __init__(self, store: Store, wanted: Wanted, after: Place | None) -> None:
        self.unreadable: list[str] = []
        self._store = store
        self._wanted = wanted
        by_id = wanted.sort == "program"
        self._after = after[1] if by_id and after is not None else ""
        self._backwards = by_id and wanted.descending
        is_filtered = wanted.tag is not None or wanted.module is not None
        self._limit = SCANNED if is_filtered or not by_id else min(SCANNED, wanted.limit + 1)

    async def some(self) -> list[Head] | None:
        """The next heads that fit; None when there are no more."""
        with told:
            records = await self._store.scan(
                PROGRAM,
                prefix=self._wanted.prefix,
                after=self._after,
                limit=self._limit,
                newest_first=self._backwards,
            )
        if not records:
            return None
        self._after = records[-1].key.id
        return [head for record in records if (head := self._read(record)) is not None]

    def _read(self, record: Record) -> Head | None:
        try:
            head = read_head(record.key.id, record.body)
        except (Broken, TooNew):
            if len(self.unreadable) < MAX_UNREADABLE:
                self.unreadable.append(record.key.id)
            return None
        return head if _fits(head, self._wanted) else None


async def _by_id(scan: _Scan, wanted: Wanted) -> list[Head]:
    """The first of those that fit, and one more where there is one."""
    found: list[Head] = []
    while len(found) <= wanted.limit:
        more = await scan.some()
        if more is None:
            break
        found += more
    return found[: wanted.limit + 1]


async def _by_moment(scan: _Scan, wanted: Wanted, after: Place | None) -> list[Head]:
    """Likewise, in the order of their moments. Only so many are kept meanwhile."""
    kept: list[tuple[Place, Head]] = []  # from the earliest to the latest
    while (more := await scan.some()) is not None:
        places = ((_place(head, wanted.sort), head) for head in more)
        kept += (one for one in places if _comes_after(one[0], after, descending=wanted.descending))
        kept.sort(key=_place_of)
        if wanted.descending:
            del kept[: -wanted.limit - 1]
        else:
            del kept[wanted.limit + 1 :]
    heads = [head for _, head in kept]
    return heads[::-1] if wanted.descending else heads


def _place_of(one: tuple[Place, Head]) -> Place:
    return one[0]


def _comes_after(place: Place, other: Place | None, *, descending: bool) -> bool:
    return other is None or (place < other if descending else place > other)


def _place(head: Head, sort: Sort) -> Place:
    match sort:
        case "program":
            return 0, head.program
        case "created":
            return head.created_ms, head.program
        case "updated":
            return head.updated_ms, head.program


def _fits(head: Head, wanted: Wanted) -> bool:
    return (
        not head.is_deleted
        and (wanted.tag is None or wanted.tag in head.tags)
        and (wanted.module is None or wanted.module == head.module)
    )


def _check(wanted: Wanted) -> None:
    check_prefix(wanted.prefix)
    if wanted.tag is not None:
        check_tag(wanted.tag)
    if not 1 <= wanted.limit <= MAX_PAGE:
        raise invalid_argument("limit", f"an integer from 1 to {MAX_PAGE}", wanted.limit)


# A cursor is `<sort>:<moment>:<id>`. It is opaque to clients, and nothing secret.


def _write_cursor(sort: Sort, place: Place) -> str:
    return f"{sort}:{place[0]}:{place[1]}"


def _read_cursor(text: str, sort: Sort) -> Place:
    by, _, rest = text.partition(":")
    moment, separator, program = rest.partition(":")
    if by == sort and separator and _MOMENT.fullmatch(moment):
        return int(moment), check_program(program, "after")
    raise invalid_argument("after", f"what `next` of a page sorted by {sort} said", text)
