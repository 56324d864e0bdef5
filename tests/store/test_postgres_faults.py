"""A store in PostgreSQL whose server is not as it should be: refused, read-only, full, gone back in time."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from tests.support.database_servers import PASSWORD, PostgresServer
from tests.support.stores import LONG_S, append, body_of, delete, drop, key, outcome, put

from dspex_pool.store import (
    Change,
    Damaged,
    Fence,
    Full,
    ReadOnly,
    Refused,
    Rewound,
    StoreError,
    Unavailable,
)
from dspex_pool.store.postgres import PostgresStore

PATIENT_S = 20.0
BACK_S = 20.0


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database of the server that tests share, made for one test."""
    name = f"faulty{time.monotonic_ns()}"
    postgres_server.sql(f"CREATE DATABASE {name} OWNER dspex")
    yield name
    postgres_server.sql(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[PostgresStore]:
    store = PostgresStore(url, timeout_s=PATIENT_S)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


async def when_back(ask: Callable[[], Awaitable[object]]) -> object:
    """What a call answers or raises, once the store is no longer unavailable."""
    until_s = time.monotonic() + BACK_S
    while (answer := await outcome(ask())) is Unavailable:
        assert time.monotonic() < until_s
        await asyncio.sleep(0.02)
    return answer


def end_connections(server: PostgresServer, database: str) -> None:
    server.sql(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'")


async def test_connections_that_were_ended_are_made_again(
    postgres_server: PostgresServer, database: str
) -> None:
    """Nobody who asks later notices."""
    async with opened(postgres_server.url(database)) as store:
        await asyncio.gather(*(store.commit([put(str(number))]) for number in range(20)))
        end_connections(postgres_server, database)
        await asyncio.sleep(0.1)
        assert [[2]] * 20 == await asyncio.gather(*(store.commit([put(str(number))]) for number in range(20)))


@pytest.mark.parametrize("password", ["wrong-canary", PASSWORD])
async def test_wrong_credentials_are_refused(
    postgres_server: PostgresServer, database: str, password: str
) -> None:
    """Without a word of them, nor of right ones that permit too little."""
    url = postgres_server.url(database, user=f"guarded:{password}")
    store = PostgresStore(url, timeout_s=PATIENT_S)
    with pytest.raises(Refused) as caught:
        await store.open()
    told = "".join(traceback.format_exception(caught.value)) + f"{store.name}{store!r}{store._address!r}"
    assert password not in told
    assert "guarded" not in told
    await store.close()


async def test_a_database_that_is_not_there_is_refused(postgres_server: PostgresServer) -> None:
    """It is not made."""
    with pytest.raises(Refused, match="no such database"):
        async with opened(postgres_server.url("nowhere")):
            pass


async def test_a_user_with_the_documented_permissions(postgres_server: PostgresServer, database: str) -> None:
    """Whoever made the tables may let another use them, who may do no more than docs/store.md says."""
    async with opened(postgres_server.url(database)):
        pass
    postgres_server.sql(
        "GRANT USAGE ON SCHEMA dspex TO guarded",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA dspex TO guarded",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA dspex TO guarded",
        database=database,
    )
    async with opened(postgres_server.url(database, user=f"guarded:{PASSWORD}")) as store:
        lease = await store.lease("s", "me", LONG_S)
        await store.commit([put(ttl_s=0.001), append(), put("kept")], [Fence("s", lease.epoch)])
        await store.commit([delete("kept"), drop()])
        await store.release(lease)
        await asyncio.sleep(0.01)
        assert 1 == await store.expire()
        postgres_server.sql("REVOKE UPDATE ON dspex.leases FROM guarded", database=database)
        with pytest.raises(Refused, match="permit"):
            await store.lease("s", "me", LONG_S)


async def test_a_schema_that_is_not_ours_is_refused(postgres_server: PostgresServer, database: str) -> None:
    """And one of a newer server of ours is left alone."""
    postgres_server.sql(
        "CREATE SCHEMA dspex AUTHORIZATION dspex", "CREATE TABLE dspex.store (x int)", database=database
    )
    with pytest.raises(Refused):
        async with opened(postgres_server.url(database)):
            pass
    postgres_server.sql("DROP SCHEMA dspex CASCADE", database=database)
    async with opened(postgres_server.url(database)):
        postgres_server.sql("UPDATE dspex.store SET schema = 99", database=database)
    with pytest.raises(Refused, match="schema 99"):
        async with opened(postgres_server.url(database)):
            pass


async def test_a_schema_that_an_administrator_made(postgres_server: PostgresServer, database: str) -> None:
    """For a user who may not make any."""
    postgres_server.sql(
        f"REVOKE CREATE ON DATABASE {database} FROM dspex, PUBLIC",
        f"ALTER DATABASE {database} OWNER TO admin",
        "CREATE SCHEMA dspex AUTHORIZATION dspex",
        database=database,
    )
    async with opened(postgres_server.url(database)) as store:
        assert [1] == await store.commit([put()])


async def test_a_user_with_one_connection(postgres_server: PostgresServer, database: str) -> None:
    """Those that are refused take nothing from the one that works."""
    postgres_server.sql(f"ALTER DATABASE {database} CONNECTION LIMIT 1")
    async with opened(postgres_server.url(database)) as store:
        answers = await asyncio.gather(*(store.commit([put(str(number))]) for number in range(50)))
        assert [[1]] * 50 == answers
        other = PostgresStore(postgres_server.url(database), timeout_s=PATIENT_S)
        with pytest.raises(Unavailable):
            await other.open()
        await other.close()


async def test_a_read_only_database(postgres_server: PostgresServer, database: str) -> None:
    """Reads go on; writes too, as soon as they may."""
    async with opened(postgres_server.url(database)) as store:
        await store.commit([put()])
        for state in ("on", "off"):
            postgres_server.sql(f"ALTER DATABASE {database} SET default_transaction_read_only = {state}")
            if state == "on":
                end_connections(postgres_server, database)
                await asyncio.sleep(0.1)
                assert ReadOnly is await outcome(store.commit([put()]))
                assert ReadOnly is await outcome(store.lease("s", "me", LONG_S))
                assert ReadOnly is await outcome(store.expire())
            assert b"body" == await body_of(store)
        assert [2] == await store.commit([put()])


SQLSTATES = {
    "53100": Full,
    "53200": Full,
    "25006": ReadOnly,
    "42501": Refused,
    "57014": Unavailable,
    "55P03": Unavailable,
    "58030": Unavailable,
    "XX000": Unavailable,
    "XX001": Damaged,
    "22000": Refused,
}


@pytest.mark.parametrize(("state", "kind"), SQLSTATES.items())
async def test_what_a_write_meets(
    postgres_server: PostgresServer, database: str, state: str, kind: type[StoreError]
) -> None:
    """Each as what it means, nothing of the commit happens, and the server's words are not told."""
    async with opened(postgres_server.url(database)) as store:
        await store.commit([put("before")])
        postgres_server.sql(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" RAISE 'canary' USING ERRCODE = '{state}'; END $$",
            "CREATE TRIGGER fail AFTER INSERT ON dspex.entries EXECUTE FUNCTION public.fail()",
            database=database,
        )
        with pytest.raises(kind) as caught:
            await store.commit([put(), append(), put("before")])
        assert not getattr(caught.value, "maybe_applied", False)
        assert "canary" not in "".join(traceback.format_exception(caught.value))
        assert [None, b"body"] == [await body_of(store, id_) for id_ in ("k", "before")]
        postgres_server.sql("DROP TRIGGER fail ON dspex.entries", database=database)
        assert [1] == await store.commit([append()])


async def test_commits_that_meet_are_done_one_after_the_other(
    postgres_server: PostgresServer, database: str
) -> None:
    """Of two stores, over the same few keys in any order: none fails, none is lost, none waits in a ring."""
    urls = [postgres_server.url(database)] * 2
    async with opened(urls[0]) as one, opened(urls[1]) as two:
        moments = random.Random(3)

        async def work(store: PostgresStore) -> None:
            for _ in range(40):
                ids = moments.sample("abcdefgh", 4)
                changes: list[Change] = [put(id_) for id_ in ids[:3]]
                changes += [
                    append(journal=ids[0]),
                    delete(ids[3]) if moments.random() < 0.3 else drop(ids[3]),
                ]
                moments.shuffle(changes)
                await store.commit([*changes, append(journal="all")])

        await asyncio.gather(*(work(store) for store in (one, two) for _ in range(4)))
        assert 320 == len(await one.entries("all"))


async def test_a_ring_of_locks_is_broken_and_tried_again(
    postgres_server: PostgresServer, database: str
) -> None:
    """Where others lock our rows in an order of theirs, PostgreSQL ends one; a commit begins again."""
    async with opened(postgres_server.url(database)) as store:
        await store.commit([put("a"), put("b")])
        postgres_server.sql(
            "CREATE FUNCTION once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF nextval('public.tries') < 4 THEN RAISE deadlock_detected; END IF; RETURN NULL; END $$",
            "CREATE SEQUENCE tries",
            "GRANT ALL ON SEQUENCE tries TO dspex",
            "CREATE TRIGGER once AFTER UPDATE ON dspex.records EXECUTE FUNCTION public.once()",
            database=database,
        )
        assert [2, 2] == await store.commit([put("a"), put("b")])


async def rewound(store: PostgresStore) -> None:
    """It says so to every call, and to opening it again, until it was closed."""
    assert Rewound is await when_back(lambda: store.commit([put()]))
    for _ in range(2):
        assert Rewound is await outcome(store.get([key()]))
        assert Rewound is await outcome(store.open())
    await store.close()
    await store.open()
    assert isinstance(await store.commit([put()]), list)


async def test_tables_that_are_gone_are_found_out(postgres_server: PostgresServer, database: str) -> None:
    """At the next call; and also where somebody has made them anew meanwhile."""
    async with opened(postgres_server.url(database)) as store:
        await store.commit([put()])
        postgres_server.sql("DROP SCHEMA dspex CASCADE", database=database)
        await rewound(store)
        postgres_server.sql("DROP SCHEMA dspex CASCADE", database=database)
        async with opened(postgres_server.url(database)):
            end_connections(postgres_server, database)
            await rewound(store)


async def test_tables_that_were_emptied_are_found_out(postgres_server: PostgresServer, database: str) -> None:
    """By whoever writes."""
    async with opened(postgres_server.url(database)) as store:
        await store.commit([put()])
        postgres_server.sql("TRUNCATE dspex.records, dspex.writers", database=database)
        await rewound(store)


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """One that tests stop and start; it waits for the disk as it does by default."""
    server = PostgresServer({"fsync": "on", "full_page_writes": "on", "wal_level": "replica"})
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.mark.slow
async def test_an_older_backup_is_found_out_although_others_wrote(own_server: PostgresServer) -> None:
    """There may be more of everything than before, and yet not the last commits."""
    database = own_server.new_database()
    async with opened(own_server.url(database)) as store:
        await store.commit([put()])
        own_server.stop()
        shutil.copytree(own_server.data, own_server.folder / "older")
        own_server.start()
        assert [2] == await when_back(lambda: store.commit([put()]))
        own_server.stop()
        shutil.rmtree(own_server.data)
        shutil.move(own_server.folder / "older", own_server.data)
        own_server.take_over_files()
        own_server.start()
        async with opened(own_server.url(database)) as other:
            for _ in range(10):
                await other.commit([put()])
        await rewound(store)


@pytest.mark.slow
async def test_a_standby_is_read_only(own_server: PostgresServer) -> None:
    """It has what was committed, and says so; when it takes over, it takes writes."""
    database = own_server.new_database()
    standby = PostgresServer({"hot_standby": "on"})
    try:
        async with opened(own_server.url(database)) as store:
            await store.commit([put()])
        standby.follow(own_server)
        async with opened(standby.url(database)) as store:
            assert b"body" == await when_back(lambda: body_of(store))
            assert ReadOnly is await outcome(store.commit([put()]))
            assert b"body" == await body_of(store)  # on a connection that is one for reading
            standby.sql("SELECT pg_promote(true, 30)")
            assert [2] == await when_back(lambda: store.commit([put()]))
    finally:
        standby.remove()


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"N", b"R\0\0\0\x04", b"\xff" * 99]
)
async def test_a_server_that_is_none(answer: bytes) -> None:
    """Whatever it says, those who ask hear that the store cannot be used."""

    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    for option in ("disable", "prefer"):
        store = PostgresStore(
            f"postgresql://canary:canary@127.0.0.1:{port}/db?sslmode={option}", timeout_s=2.0
        )
        with pytest.raises((Unavailable, Refused)) as caught:
            await store.open()
        assert "canary" not in "".join(traceback.format_exception(caught.value))
        await store.close()
    server.close()


def test_what_is_no_address_is_refused() -> None:
    """Without a word of it."""
    for url in (
        "postgresql://user:canary/x@host/db",
        "postgresql://canary:x@host:port/db",
        "http://canary@host/db",
        "postgresql://u@h:1,canary:y/db",
        "canary",
    ):
        with pytest.raises(ValueError) as caught:
            PostgresStore(url)
        assert "canary" not in str(caught.value)


def test_names_of_addresses() -> None:
    """Where it is, and not how to get in."""
    names = {
        "postgresql://u:secret@h:1/db": "postgresql:h:1/db",
        "postgres://h/db?sslmode=require": "postgresql:h/db",
        "postgresql://u@a:1,b:2/db": "postgresql:a:1,b:2/db",
        "postgresql://u@[::1]:5/db": "postgresql:[::1]:5/db",
        "postgresql:///db?host=/run/postgresql": "postgresql:/run/postgresql/db",
    }
    assert list(names.values()) == [PostgresStore(url).name for url in names]
