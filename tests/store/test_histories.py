"""What counts as a loss of acknowledged state, and what does not. No server is asked."""

from __future__ import annotations

import pytest

from dspex_pool.store import Rewound, Unavailable
from dspex_pool.store.postgres_history import REMEMBERED
from dspex_pool.store.postgres_history import History as PostgresHistory
from dspex_pool.store.redis_history import Greeting, History
from dspex_pool.store.server_clock import ServerClock, microseconds


def greeting(
    commits: int, *eras: bytes, era: int = 1, store: bytes | None = b"s", is_replica: bool = False
) -> Greeting:
    return Greeting(store=store, commits=commits, era=era, eras=eras, is_replica=is_replica)


@pytest.fixture
def history() -> History:
    """One that has seen ten commits in the first era."""
    history = History("redis:h:1/0")
    history.greet(greeting(0, b"0:run"), 0)
    history.answer(b"s", 10, 0)
    return history


def lost(history: History) -> bool:
    """Whether it has found a loss, which it then says for good."""
    try:
        history.check()
    except Rewound:
        return True
    return False


def test_more_commits_are_no_loss(history: History) -> None:
    """Nor is the same server, or a later era that begins where the first one was."""
    history.greet(greeting(12, b"0:run"), 10)
    history.greet(greeting(15, b"0:run", b"12:other", era=2), 12)
    assert (15, 2) == (history.commits, history.era)


def test_an_answer_may_be_overtaken(history: History) -> None:
    """What counts is what was seen when it was asked for."""
    history.answer(b"s", 9, 9)
    history.greet(greeting(9, b"0:run"), 9)
    assert 10 == history.commits


@pytest.mark.parametrize(
    ("store", "commits"), [(b"s", 9), (None, 0), (b"other", 50)], ids=["fewer", "emptied", "another"]
)
def test_an_answer_shows_a_loss(history: History, store: bytes | None, commits: int) -> None:
    """For good."""
    with pytest.raises(Rewound):
        history.answer(store, commits, 10)
    with pytest.raises(Rewound):
        history.answer(b"s", 99, 10)
    with pytest.raises(Rewound):
        history.greet(greeting(99, b"0:run"), 10)
    history.forget()
    history.greet(greeting(1, b"0:run"), 0)
    assert not lost(history)


@pytest.mark.parametrize(
    "eras",
    [(b"0:run", b"8:other"), (b"0:run", b"12:x", b"9:y"), (b"0:another",), ()],
    ids=["began before", "one of them did", "another first", "none"],
)
def test_eras_show_a_loss(history: History, eras: tuple[bytes, ...]) -> None:
    """Although there are more commits than before."""
    with pytest.raises(Rewound):
        history.greet(greeting(99, *eras, era=2), 10)


def test_a_replica_may_be_late(history: History) -> None:
    """That is no loss; another store is."""
    with pytest.raises(Unavailable):
        history.greet(greeting(9, is_replica=True), 10)
    assert not lost(history)
    history.greet(greeting(10, b"0:run", is_replica=True), 10)
    with pytest.raises(Rewound):
        history.greet(greeting(10, store=b"other", is_replica=True), 10)


def test_postgres_counts_by_connection() -> None:
    """The last ones must be there, each at least as far as it was told."""
    history = PostgresHistory("postgresql:h/d")
    history.greet("s", {}, {})
    for number in range(REMEMBERED + 4):
        history.acknowledged(f"w{number}", number + 1)
    known = history.known()
    assert REMEMBERED == len(known)
    assert "w0" not in known
    history.greet("s", {**known, "w19": 99}, known)
    with pytest.raises(Rewound):
        history.greet("s", {**known, "w19": 19}, known)
    with pytest.raises(Rewound):
        history.check()


@pytest.mark.parametrize("store", ["s", "other"])
def test_postgres_that_lacks_a_row_has_lost_it(store: str) -> None:
    """Or it is another store altogether."""
    history = PostgresHistory("postgresql:h/d")
    history.greet("s", {}, {})
    history.acknowledged("w", 1)
    with pytest.raises(Rewound):
        history.greet(store, {"v": 5}, history.known())


def test_a_commit_has_two_limits_to_arrive() -> None:
    """By the server's clock, as an answer told it; a later answer corrects it."""
    now_s = 100.0
    clock = ServerClock(0.5, lambda: now_s)
    clock.heard(7_000_000)
    now_s = 103.0
    assert 11_000_000 == clock.deadline_us()
    clock.heard(1_000_000)
    assert 2_000_000 == clock.deadline_us()


def test_times_to_live_are_whole_microseconds() -> None:
    """At least one, and not more than servers can add up."""
    assert [1, 1_500_000, 1 << 51] == [microseconds(seconds) for seconds in (1e-9, 1.5, 1e300)]
