"""Clients that do to programs and sessions what nobody should: the server answers, goes on, keeps nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, Final, cast

import pytest
import pytest_asyncio
from tests.support.servers import count, has_ready, serving, wait_for, workers
from tests.support.state_load import CHAT, PLAIN

from dspex_pool.client import Client
from dspex_pool.handling import AT_ONCE
from dspex_pool.operations import HOP_METHODS
from dspex_pool.stored_calls import MAX_WAITING
from dspex_protocol import CANCEL, NIL, NOTE, DSPexError, encode

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

ODD: Final[list[Any]] = [
    *("", "\0", "a\0b", "x" * 128, "x" * 129, "é" * 64, "é" * 65, "🦀" * 32, "🦀" * 33, "\x1f", "\x7f"),
    *("../a", "/", "%", "*", "\\", "'", "$", "{}", "\u202e", " ", "p", "s"),
    *("program:0:p", "created:99999999999999999999:p", "updated:x:p", "created:-1:p"),
    *(0, -1, 1, 2**31, 2**63 - 1, 1.5, float("nan"), float("inf"), True, None),
]
ODDER: Final[list[Any]] = [*ODD, 2**64, 10**30, [], {}, [1], {"a": 1}, b"x", ["p"], [["x"]], [[]] * 1000]

NAMED: Final = {"program": "p"}
TALK: Final = {"session": "s"}
METHODS: Final[list[tuple[str, dict[str, Any], dict[str, Any], tuple[str, ...]]]] = [
    ("program.create", {"spec": PLAIN}, {}, ("spec", "state", "note", "tags")),
    ("program.update", {}, NAMED, ("spec", "state", "note", "tags")),
    ("program.get", {}, NAMED, ("x",)),
    ("program.list", {}, {}, ("prefix", "tag", "module", "sort", "descending", "limit", "after")),
    ("program.delete", {}, {"program": "q"}, ("x",)),
    ("program.versions", {}, NAMED, ("limit", "before")),
    ("program.diff", {"old": 1, "new": 1}, NAMED, ("old", "new")),
    ("program.rollback", {}, {**NAMED, "version": 1}, ("note", "newest")),
    ("program.tag", {"tag": "t"}, {**NAMED, "version": 1}, ("tag",)),
    ("program.untag", {"tag": "t"}, NAMED, ("tag",)),
    ("program.export", {}, NAMED, ("format", "versions")),
    ("program.import", {"document": "{}"}, NAMED, ("document", "format", "spec", "note")),
    ("session.open", {}, NAMED, ("ttl_s",)),
    ("session.get", {}, TALK, ("x",)),
    ("session.list", {}, {}, ("prefix", "limit", "after")),
    ("session.fork", {}, TALK, ("session", "ttl_s")),
    ("session.close", {}, {"session": "t"}, ("x",)),
    ("state.migrate", {"worker": 1}, TALK, ("worker",)),
    ("program.predict", {"inputs": {"question": "?"}}, NAMED, ("inputs", "lm", "config", "adapter")),
    ("program.predict", {"inputs": {"question": "?"}}, TALK, ("inputs", "lm", "config", "spec")),
]
META: Final = ("program", "version", "tag", "session", "write_id", "deadline_ms", "tenant", "lane")


class Victim:
    """A server over a file, with programs `p` and `chat` and the session `s`.

    Attributes:
        client: Of it.
        address: Where others find it.
        log: What it says on stderr.
    """

    def __init__(self, client: Client, folder: Path) -> None:
        self.client = client
        self.address = f"unix:{folder}/socket"
        self.log = folder / "log"

    async def becomes_calm(self) -> None:
        """Nothing is open, nothing waits, nobody is at work, and nothing has broken; that is soon."""
        async with asyncio.timeout(20):
            await wait_for(self.client, is_calm)
        assert await self.client.predict("p", {"question": "?"})
        assert "Traceback" not in self.log.read_text()


def is_calm(now: dict[str, Any]) -> bool:
    return (
        not now["waiting"]
        and not now["open_bytes"]
        and now["ready_workers"] == 2
        and not any(row["calls"] for row in now["workers"])
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def victim(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Victim]:
    """One for all of these tests."""
    folder = tmp_path_factory.mktemp("hostile")
    async with serving(
        *("--listen", f"stdio,unix:{folder}/socket"),
        environment={"DSPEX_STORE": f"sqlite:{folder}/state.db"},
        limit_s=300,
        stderr=folder / "log",
    ) as one:
        await wait_for(one, has_ready(2))
        await one.call("program.create", {"spec": PLAIN}, program="p")
        await one.call("program.create", {"spec": CHAT}, program="chat")
        await one.call("session.open", {}, program="chat", session="s")
        yield Victim(one, folder)


async def code_of(call: Awaitable[object]) -> str:
    """How a call ends: `ok`, or the code of its error."""
    try:
        await call
    except DSPexError as failure:
        return failure.code
    return "ok"


def odd_call(random: Random) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """A method with one or two odd things in its payload or meta."""
    method, payload, meta, fields = random.choice(METHODS)
    payload, meta = dict(payload), dict(meta)
    for _ in range(random.randint(1, 2)):
        if random.random() < 0.6:
            payload[random.choice(fields)] = random.choice(ODDER)
        else:
            meta[random.choice(META)] = random.choice(ODD)
    return method, payload, meta


async def test_odd_arguments(victim: Victim) -> None:
    """Each is taken or refused for what it is, never with a fault of ours or of the store's."""
    client = victim.client
    random, ends = Random(5), Counter[str]()
    for _ in range(count("odd_calls", 1500) // 50):
        calls = [odd_call(random) for _ in range(50)]
        outcomes = await asyncio.gather(
            *(code_of(client.call(method, payload, **meta)) for method, payload, meta in calls)
        )
        strange = [
            (code, call)
            for code, call in zip(outcomes, calls, strict=True)
            if code == "internal" or code.startswith(("store_", "worker_"))
        ]
        assert [] == strange
        ends.update(outcomes)
    assert ends["invalid_argument"] > ends.total() / 4
    assert ends["ok"] > ends.total() / 20
    await victim.becomes_calm()


async def test_words_of_the_other_hop(victim: Victim) -> None:
    """What supervisor and worker say to each other is nobody else's to say."""
    client = victim.client
    checkpoint = {"history": [{"question": "forged"}], "state": None, "schema": 1}
    for method in sorted(HOP_METHODS):
        talk: dict[str, Any] = {"session": "s", "turn": 0} if "session" in method else {}
        meta: dict[str, Any] = {"program": "p", "version": 1, **talk}
        assert "unknown_method" == await code_of(client.call(method, checkpoint, **meta)), method
    for call in range(20):
        note = encode(NOTE, 0, "session.checkpoint", {"call": call, "session": "s", "turn": 1}, NIL)
        client.send_raw(note)
        client.send_raw(encode(NOTE, 0, "call.started", {"up_to": 2**40}, NIL))
        client.send_raw(encode(CANCEL, call, None, {}, NIL))
    got = cast("dict[str, Any]", await client.call("session.get", {}, session="s"))
    assert [] == [turn for turn in got["history"] if turn["question"] == "forged"]
    await victim.becomes_calm()


async def test_documents_that_are_none(victim: Victim) -> None:
    """However deep, wide or long; the server answers others meanwhile."""
    client = victim.client
    exported = cast("dict[str, str]", await client.call("program.export", {}, program="p"))["document"]
    documents = [
        *("", "\0", "null", "[]", "7", '"x"', "{", "[" * 100_000, '{"a":' * 100_000, '{"format": NaN}'),
        '{"format":"dspex","schema":' + "9" * 100_000 + "}",
        '{"format":"dspex","format":"dspex"}',
        "[" + "[]," * 1_500_000 + "[]]",
        exported.replace('"p"', '"\\ud800"'),
        exported[: len(exported) // 2],
        json.dumps({**json.loads(exported), "versions": json.loads(exported)["versions"] * 5000}),
    ]
    for document in documents:
        for format_ in ("dspex", "dspy"):
            asked = {"document": document, "format": format_, "spec": PLAIN}
            importing = asyncio.ensure_future(code_of(client.call("program.import", asked, program="i")))
            assert None is await client.call("system.ping", None)
            assert "invalid_argument" == await importing
    await victim.becomes_calm()


async def test_a_flood(victim: Victim) -> None:
    """What cannot wait is refused, the rest is answered, and the server answers others meanwhile."""
    client = victim.client
    predict = {"inputs": {"question": "?"}}
    floods: list[tuple[str, object, dict[str, Any], set[str]]] = [
        ("program.get", {}, {"program": "p"}, {"ok", "overloaded"}),
        ("program.predict", predict, {"program": "none"}, {"unknown_program", "overloaded"}),
        ("program.predict", predict, {"session": "none"}, {"unknown_session", "overloaded"}),
        ("program.predict", predict, {"session": "s", "deadline_ms": 300}, {"ok", "deadline", "overloaded"}),
    ]
    for method, payload, meta, codes in floods:
        calls = [
            asyncio.ensure_future(code_of(client.call(method, payload, **meta)))
            for _ in range(MAX_WAITING + 10 * AT_ONCE)
        ]
        assert "s" == cast("dict[str, Any]", await client.call("session.get", {}, session="s"))["session"]
        ends = Counter(await asyncio.gather(*calls))
        assert codes >= ends.keys(), ends
        assert ends.total() - ends["overloaded"] > MAX_WAITING / 2
    await victim.becomes_calm()


async def test_sixty_changes_at_once(victim: Victim) -> None:
    """Of one program, by clients that name no version: none is refused, and none is lost."""
    client = victim.client
    await client.call("program.create", {"spec": PLAIN}, program="busy")
    changes = [client.call("program.update", {"note": str(n)}, program="busy") for n in range(60)]
    made = [cast("dict[str, int]", one)["version"] for one in await asyncio.gather(*changes)]
    assert list(range(2, 62)) == sorted(made)


async def test_a_thousand_versions_and_sessions(victim: Victim) -> None:
    """They are listed in pages, exported as far as a document goes, and gone when they are deleted."""
    client = victim.client
    await client.call("program.create", {"spec": CHAT}, program="long")
    await client.call("session.open", {}, program="long", session="one of them")
    for _ in range(20):
        await asyncio.gather(
            *(client.call("program.rollback", {}, program="long", version=1) for _ in range(50)),
            *(client.call("session.open", {}, program="long") for _ in range(50)),
        )
    versions = cast("dict[str, Any]", await client.call("program.versions", {"limit": 1000}, program="long"))
    assert list(range(1001, 1, -1)) == [row["version"] for row in versions["versions"]]
    assert 2 == versions["next"]
    sessions = cast("dict[str, Any]", await client.call("session.list", {"limit": 1000}))
    assert 1000 == len({row["session"] for row in sessions["sessions"]})
    whole = code_of(client.call("program.export", {"versions": "all"}, program="long"))
    assert "result_too_large" == await whole
    await client.call("program.delete", {}, program="long")
    made = cast("dict[str, int]", await client.call("program.create", {"spec": PLAIN}, program="long"))
    assert 1002 == made["version"]
    gone = client.call("program.predict", {"inputs": {"question": "?"}}, session="one of them")
    assert "unknown_program" == await code_of(gone)


# Calls that are given up at any moment


async def give_up_or_not(client: Client, random: Random) -> str:
    """A call of some kind, often with little time, or cancelled soon."""
    program, session = f"p{random.randrange(4)}", f"s{random.randrange(6)}"
    choices: list[tuple[str, object, dict[str, Any]]] = [
        ("program.create", {"spec": CHAT}, {"program": program}),
        ("program.update", {"note": "x"}, {"program": program}),
        ("program.update", {"note": "y"}, {"program": program, "write_id": f"w{random.randrange(30)}"}),
        ("program.rollback", {}, {"program": program, "version": 1}),
        ("program.delete", {}, {"program": program}),
        ("program.export", {"versions": "all"}, {"program": program}),
        ("session.open", {}, {"program": program, "session": session}),
        ("session.fork", {"session": f"s{random.randrange(6)}"}, {"session": session}),
        ("session.close", {}, {"session": session}),
        ("state.migrate", {"worker": random.randrange(1, 4)}, {"session": session}),
        *[("program.predict", {"inputs": {"question": "?"}}, {"session": session})] * 4,
    ]
    method, payload, meta = random.choice(choices)
    if random.random() < 0.3:
        meta["deadline_ms"] = random.choice([1, 2, 3, 5, 8, 13, 30])
    call = asyncio.ensure_future(code_of(client.call(method, payload, **meta)))
    if random.random() < 0.3:
        await asyncio.sleep(random.random() * random.choice([0.001, 0.01, 0.03]))
        call.cancel()
    with suppress(asyncio.CancelledError):
        return await call
    return "given up"


async def come_and_go(address: str, random: Random, ends: Counter[str], calls: int) -> None:
    """A client after the other; many hang up with their calls open."""
    while ends.total() < calls:
        async with Client.connect(address) as client:
            tasks = [
                asyncio.ensure_future(give_up_or_not(client, random)) for _ in range(random.randrange(1, 60))
            ]
            if random.random() < 0.4:
                await asyncio.sleep(random.random() * 0.05)
            else:
                await asyncio.gather(*tasks)
        ends.update(await asyncio.gather(*tasks))


async def test_calls_that_are_given_up_leave_nothing(victim: Victim) -> None:
    """By deadline, by cancel, by a client that hangs up, and with workers that die."""
    client = victim.client
    random, ends = Random(3), Counter[str]()
    visitors = asyncio.gather(
        *(come_and_go(victim.address, random, ends, count("given_up", 2000)) for _ in range(4))
    )
    while not visitors.done():
        await asyncio.sleep(0.4)
        with suppress(ProcessLookupError):
            os.kill(random.choice(await workers(client))["pid"], signal.SIGKILL)
    await visitors
    expected = {
        *("ok", "given up", "connection_lost", "deadline", "unknown_program", "unknown_session"),
        *("program_exists", "session_exists", "write_id_reused", "invalid_argument", "session_busy"),
        *("version_conflict", "poisoned", "worker_died"),
    }
    assert set() == ends.keys() - expected
    assert ends["ok"] > 100
    await victim.becomes_calm()
    for session in range(6):  # each of them can still be talked to, or is not there
        turn = client.call(
            "program.predict", {"inputs": {"question": "?"}}, session=f"s{session}", deadline_ms=10_000
        )
        assert await code_of(turn) in {"ok", "unknown_session", "unknown_program"}
