"""A store in Redis whose server is not as it should be: refused, read-only, full, or gone back in time."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager

import pytest
from tests.support.database_servers import PASSWORD, RedisServer, free_port
from tests.support.stores import LONG_S, append, body_of, delete, key, outcome, put

from dspex_pool.store import (
    Damaged,
    Fence,
    Full,
    ReadOnly,
    Refused,
    Rewound,
    Store,
    StoreError,
    Unavailable,
)
from dspex_pool.store.redis import RedisStore

PATIENT_S = 10.0
BACK_S = 20.0

Start = Callable[..., RedisServer]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers of one test."""
    servers: list[RedisServer] = []

    def start_one(options: Mapping[str, str] | None = None) -> RedisServer:
        servers.append(RedisServer(options))
        servers[-1].start()
        return servers[-1]

    yield start_one
    for server in servers:
        server.remove()


@asynccontextmanager
async def opened(server: RedisServer, secret: str = "") -> AsyncGenerator[RedisStore]:
    store = RedisStore(server.url(secret=secret), timeout_s=PATIENT_S)
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


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
async def test_a_policy_that_drops_any_key_is_refused(start: Start, policy: str) -> None:
    """With the name of it; also where it is set while the store is in use, at the next connection."""
    server = start()
    async with opened(server) as store:
        server.ask("CONFIG", "SET", "maxmemory-policy", policy)
        server.ask("CLIENT", "KILL", "TYPE", "normal")
        with pytest.raises(Refused, match=policy):
            await store.get([key()])
        server.ask("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
        assert [1] == await store.commit([put()])


async def test_a_cluster_is_refused(start: Start) -> None:
    """A commit must be able to touch any key."""
    server = start({"cluster-enabled": "yes", "cluster-port": str(free_port()), "databases": "1"})
    with pytest.raises(Refused, match="Cluster"):
        async with opened(server):
            pass


@pytest.mark.parametrize("secret", ["", ":wrong", "dspex:wrong"])
async def test_wrong_credentials_are_refused(start: Start, secret: str) -> None:
    """Without a word of them."""
    server = start({"requirepass": PASSWORD})
    with pytest.raises(Refused, match="credentials") as caught:
        async with opened(server, secret):
            pass
    assert "wrong" not in str(caught.value)
    async with opened(server, f":{PASSWORD}") as store:
        assert [1] == await store.commit([put()])
        assert PASSWORD not in f"{store.name}{store!r}{store._address!r}{store._connections!r}"


async def test_a_user_with_the_documented_permissions(start: Start) -> None:
    """What docs/store.md says is enough, and without one of them the store says so."""
    server = start()
    permissions = [
        *("~dspex:*", "+eval", "+evalsha", "+info", "+select", "+time", "+hmget", "+hget", "+hset", "+hdel"),
        *("+hincrby", "+zadd", "+zrem", "+zrangebylex", "+zrevrangebylex", "+zrangebyscore", "+lrange"),
        *("+llen", "+rpush", "+del", "+unlink"),
    ]
    server.ask("ACL", "SETUSER", "dspex", "on", f">{PASSWORD}", *permissions)
    secret = f"dspex:{PASSWORD}"
    async with opened(server, secret) as store:
        lease = await store.lease("s", "me", LONG_S)
        await store.commit([put(ttl_s=0.001), append(), put("kept")], [Fence("s", lease.epoch)])
        await store.commit([delete("kept")])
        await store.release(lease)
        await asyncio.sleep(0.01)
        assert 1 == await store.expire()
        assert [] == await store.scan("thing") + await store.scan("thing", newest_first=True)
        server.ask("ACL", "SETUSER", "dspex", "-hset")
        with pytest.raises(Refused, match="permit"):
            await store.commit([put()])


async def test_a_full_memory_takes_no_more(start: Start) -> None:
    """Reads, deletes and leases go on, and deleting makes room; nothing has happened of what failed."""
    server = start({"maxmemory": "8mb", "maxmemory-policy": "noeviction"})
    async with opened(server) as store:
        kept = 0
        while await outcome(store.commit([put(f"{kept}", b"x" * 100_000), append()])) is not Full:
            kept += 1
        assert (None, kept) == (await body_of(store, f"{kept}"), len(await store.entries("j")))
        lease = await store.lease("s", "me", LONG_S)
        await store.release(lease)
        await store.commit([delete(f"{number}") for number in range(kept)])
        assert [1] == await store.commit([put("again", b"x" * 100_000)])


async def test_a_disk_that_cannot_be_written(start: Start) -> None:
    """Redis takes no changes when it cannot save; reads go on, also on new connections."""
    server = start({"save": "3600 1"})
    async with opened(server) as store:
        await store.commit([put()])
        (server.folder / "dump.rdb").unlink(missing_ok=True)
        (server.folder / "dump.rdb").mkdir()
        server.ask("BGSAVE")
        until_s = time.monotonic() + BACK_S
        while await outcome(store.commit([put()])) is not Full:
            assert time.monotonic() < until_s
            await asyncio.sleep(0.02)
        server.ask("CLIENT", "KILL", "TYPE", "normal")
        assert b"body" == await body_of(store)
        (server.folder / "dump.rdb").rmdir()
        server.ask("SAVE")
        assert isinstance(await store.commit([put()]), list)


async def test_a_replica_is_read_only(start: Start) -> None:
    """Reads go on; as soon as it is a master again it takes writes."""
    master, replica = start({"repl-diskless-sync-delay": "0"}), start()
    async with opened(master) as there:
        await there.commit([put(body=b"from the master")])
        replica.ask("REPLICAOF", "127.0.0.1", str(master.port))
        while b"master_link_status:up" not in replica.ask("INFO", "replication"):
            await asyncio.sleep(0.02)
        async with opened(replica) as store:
            assert b"from the master" == await body_of(store)
            with pytest.raises(ReadOnly):
                await store.commit([put()])
            assert b"from the master" == await body_of(store)
            replica.ask("REPLICAOF", "NO", "ONE")
            assert [2] == await store.commit([put()])


async def test_an_empty_replica_is_read_only(start: Start) -> None:
    """There is nothing to read there."""
    server = start({"replicaof": "127.0.0.1 1", "replica-serve-stale-data": "yes"})
    with pytest.raises(ReadOnly):
        async with opened(server):
            pass


async def test_somebodys_script_holds_redis_up(start: Start) -> None:
    """It is unavailable as long as that takes."""
    server = start({"busy-reply-threshold": "10"})
    async with opened(server) as store:
        endless = threading.Thread(target=server.ask, args=("EVAL", "while true do end", "0"))
        endless.start()
        await asyncio.sleep(0.2)
        with pytest.raises(Unavailable, match="busy") as caught:
            await store.commit([put()])
        assert not caught.value.maybe_applied
        server.ask("SCRIPT", "KILL")
        endless.join()
        assert [1] == await store.commit([put()])


@pytest.mark.parametrize("where", ["dspex:record:thing\0k", "dspex:journal:j", "dspex:store"])
async def test_a_key_of_another_kind_is_damage(start: Start, where: str) -> None:
    """And nothing of the commit that met it has happened."""
    server = start()
    async with opened(server) as store:
        await store.commit([put("warm")])
        server.ask("DEL", where)
        server.ask("SET", where, "something else")
        with pytest.raises(Damaged):
            await store.commit([put("a"), append(journal="other"), put("k"), append()])
        server.ask("DEL", where)
        answer = server.ask("EXISTS", "dspex:record:thing\0a", then=["EXISTS", "dspex:journal:other"])
        assert b":0\r\n" == answer[-4:]


async def test_redis_that_has_never_seen_our_scripts(start: Start) -> None:
    """They are sent again after somebody has removed them, and a commit happens once."""
    server = start()
    async with opened(server) as store:
        assert [1] == await store.commit([append()])
        server.ask("SCRIPT", "FLUSH")
        assert [2] == await store.commit([append()])


async def rewound(store: Store) -> None:
    """It says so to every call, and to opening it again, until it was closed."""
    for _ in range(2):
        assert Rewound is await when_back(lambda: store.get([key()]))
        assert Rewound is await outcome(store.commit([put()]))
        assert Rewound is await outcome(store.open())
    await store.close()
    await store.open()
    assert isinstance(await store.commit([put()]), list)


async def test_an_emptied_redis_is_found_out(start: Start) -> None:
    """At the next answer, although no connection was lost."""
    server = start()
    async with opened(server) as store:
        await store.commit([put()])
        server.ask("FLUSHALL")
        await rewound(store)


async def test_a_redis_without_its_file_is_found_out(start: Start) -> None:
    """It was restarted, and kept nothing."""
    server = start()
    async with opened(server) as store:
        await store.commit([put()])
        server.kill()
        server.start()
        await rewound(store)


def go_back(server: RedisServer, to: bytes) -> None:
    """Restart a Redis from an older file."""
    server.kill()
    (server.folder / "dump.rdb").write_bytes(to)
    server.start()


async def test_an_older_file_is_found_out(start: Start) -> None:
    """It has a store, but not the last commit."""
    server = start()
    async with opened(server) as store:
        await store.commit([put()])
        server.ask("SAVE")
        older = (server.folder / "dump.rdb").read_bytes()
        await store.commit([put()])
        go_back(server, older)
        await rewound(store)


async def test_an_older_file_is_found_out_although_others_wrote(start: Start) -> None:
    """There are more commits than before by now, and yet not those."""
    server = start()
    async with opened(server) as store:
        await store.commit([put()])
        server.ask("SAVE")
        older = (server.folder / "dump.rdb").read_bytes()
        await store.commit([put()])
        go_back(server, older)
        async with opened(server) as other:
            for _ in range(10):
                await other.commit([put("other")])
        await rewound(store)


async def test_a_restart_that_loses_nothing_is_none(start: Start) -> None:
    """However often, and whoever writes meanwhile."""
    server = start({"save": "3600 1"})
    async with opened(server) as store:
        for number in range(3):
            await store.commit([put()])
            server.ask("SAVE")
            server.kill()
            server.start()
            async with opened(server) as other:
                await other.commit([put("other")])
            assert isinstance(await when_back(lambda: store.commit([put()])), list), number
            server.ask("SAVE")


async def test_a_replica_that_lagged_behind_and_took_over(start: Start) -> None:
    """While it is a replica it is only late; as a master it has lost what it does not have."""
    server = start()
    async with opened(server) as store:
        await store.commit([put()])
        server.ask("SAVE")
        older = server.folder / "dump.rdb"
        kept = server.folder / "kept"
        shutil.copy(older, kept)
        await store.commit([put()])
        server.options["replicaof"] = "127.0.0.1 1"
        go_back(server, kept.read_bytes())
        with pytest.raises(Unavailable, match="lags"):
            await store.get([key()])
        server.ask("REPLICAOF", "NO", "ONE")
        await rewound(store)


def test_what_is_no_address_is_refused() -> None:
    """Without a word of it."""
    for url in (
        "redis://:canary@host:port/0",
        "redis://canary:1/2@host/0",
        "http://canary@host",
        "redis://h/canary",
        "unix://",
        "redis://h?socket_timeout=canary",
    ):
        with pytest.raises(ValueError) as caught:
            RedisStore(url)
        assert "canary" not in str(caught.value)


async def test_answers_are_store_errors_only(start: Start) -> None:
    """Whatever a server says that is none."""

    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    store = RedisStore(f"redis://127.0.0.1:{port}/0", timeout_s=PATIENT_S)
    with pytest.raises(StoreError):
        await store.open()
    await store.close()
    server.close()
