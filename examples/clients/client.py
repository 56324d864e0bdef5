"""A DSPex client in plain Python, written from docs/protocol.md, to be read and copied into other languages.

It imports nothing of ours and nothing that must be installed.

    python client.py                                goes through the protocol against DSPEX_COMMAND
    python client.py --vectors protocol/vectors     holds the codec against the golden bytes
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shlex
import struct
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CALL, REPLY, FAIL, ITEM, CANCEL, CREDIT, NOTE = range(7)
LARGEST_FRAME, DEEPEST, MOST_ITEMS = 1 << 24, 64, 1 << 20


class Refused(Exception):
    """Bytes or a value that the protocol does not allow; the argument is a code of docs/errors.md."""


class Failed(Exception):
    """A FAIL. What is missing in it is empty, since it ends its call whatever is in it."""

    def __init__(self, payload: Any) -> None:
        fields: dict[Any, Any] = {}
        match payload:
            case {**known}:
                fields = known
            case _:
                pass
        self.code = str(fields.get("code", "internal"))
        self.details: dict[str, Any] = fields.get("details") or {}
        super().__init__(f"{self.code}: {fields.get('message', '')}")


@dataclass(frozen=True)
class Ext:
    """An extension that this client does not look into: an instant, a decimal, a tensor, a name."""

    code: int
    data: bytes


@dataclass(frozen=True)
class Tagged:
    """Extension 5; a prediction is one."""

    tag: str
    value: Any


# --- Values (section 3) and bodies (section 2) -----------------------------------------------------------


def _sized(number: int, first: int, *sizes: int) -> bytes:
    """The shortest of the headers that follow each other from `first`, one for each size of `number`."""
    for place, size in enumerate(sizes):
        if number < 1 << 8 * size:
            return bytes([first + place]) + number.to_bytes(size)
    raise Refused("value_unencodable")


def _integer(value: int) -> bytes:
    if not -(1 << 63) <= value < 1 << 64:
        return encode(Ext(1, value.to_bytes(max(value, ~value).bit_length() // 8 + 1, signed=True)))
    if -32 <= value < 128:
        return value.to_bytes(1, signed=True)
    if value >= 0:
        return _sized(value, 0xCC, 1, 2, 4, 8)
    for place, size in enumerate((1, 2, 4, 8)):
        if -value <= 1 << 8 * size - 1:
            return bytes([0xD0 + place]) + value.to_bytes(size, signed=True)
    raise Refused("value_unencodable")


def encode(value: Any) -> bytes:
    """One value in its shortest form; keys in order, so that equal values have equal bytes."""
    match value:
        case None | bool():
            return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
        case int():
            return _integer(value)
        case float():
            return struct.pack(">Bd", 0xCB, value)
        case str():
            data = value.encode()
            return (bytes([0xA0 | len(data)]) if len(data) < 32 else _sized(len(data), 0xD9, 1, 2, 4)) + data
        case bytes():
            return _sized(len(value), 0xC4, 1, 2, 4) + value
        case [*items]:
            head = bytes([0x90 | len(items)]) if len(items) < 16 else _sized(len(items), 0xDC, 2, 4)
            return head + b"".join(map(encode, items))
        case {**pairs}:
            head = bytes([0x80 | len(pairs)]) if len(pairs) < 16 else _sized(len(pairs), 0xDE, 2, 4)
            return head + b"".join(encode(key) + encode(item) for key, item in sorted(pairs.items()))
        case Ext(code, data):
            fixed = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}.get(len(data))
            head = bytes([fixed]) if fixed else _sized(len(data), 0xC7, 1, 2, 4)
            return head + code.to_bytes(1, signed=True) + data
        case Tagged(tag, content):
            return encode(Ext(5, encode([tag, content])))
        case _:
            raise Refused("value_unencodable")


class Decoder:
    """Reads values one after the other, and believes no length before it was checked."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.end, self.items = data, 0, len(data), 0

    def take(self, size: int) -> bytes:
        """The next bytes, if there are as many."""
        if size > self.end - self.at:
            raise Refused("value_truncated")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int, *, signed: bool = False) -> int:
        """An integer, which in MessagePack is always big-endian."""
        return int.from_bytes(self.take(size), signed=signed)

    def value(self, depth: int = 0) -> Any:
        """One value that stands `depth` containers deep."""
        self.items += 1
        if self.items > MOST_ITEMS:
            raise Refused("value_too_many_items")
        match self.number(1):
            case byte if byte < 0x80 or byte >= 0xE0:
                return byte if byte < 0x80 else byte - 256
            case byte if byte < 0x90 or byte in {0xDE, 0xDF}:
                return self.map(byte & 15 if byte < 0x90 else self.number(2 << byte - 0xDE), depth + 1)
            case byte if byte < 0xA0 or byte in {0xDC, 0xDD}:
                return self.array(byte & 15 if byte < 0xA0 else self.number(2 << byte - 0xDC), depth + 1)
            case byte if byte < 0xC0 or byte in {0xD9, 0xDA, 0xDB}:
                return self.text(byte & 31 if byte < 0xC0 else self.number(1 << byte - 0xD9))
            case 0xC0 | 0xC2 | 0xC3 as byte:
                return {0xC0: None, 0xC2: False, 0xC3: True}[byte]
            case 0xC4 | 0xC5 | 0xC6 as byte:
                return self.take(self.number(1 << byte - 0xC4))
            case 0xCA | 0xCB as byte:
                return struct.unpack(">f" if byte == 0xCA else ">d", self.take(4 << byte - 0xCA))[0]
            case byte if 0xCC <= byte <= 0xD3:
                return self.number(1 << (byte & 3), signed=byte >= 0xD0)
            case 0xC1:
                raise Refused("value_reserved_byte")
            case byte:
                size = self.number(1 << byte - 0xC7) if byte < 0xD4 else 1 << byte - 0xD4
                return self.extension(size, depth)

    def text(self, size: int) -> str:
        """UTF-8, checked."""
        try:
            return self.take(size).decode()
        except UnicodeDecodeError:
            raise Refused("value_bad_utf8") from None

    def array(self, count: int, depth: int) -> list[Any]:
        """As many values."""
        if depth > DEEPEST:
            raise Refused("value_too_deep")
        return [self.value(depth) for _ in range(count)]

    def map(self, count: int, depth: int) -> dict[str, Any]:
        """As many pairs; keys are strings and each is there once."""
        pairs: dict[str, Any] = {}
        if depth > DEEPEST:
            raise Refused("value_too_deep")
        for _ in range(count):
            key = self.value(depth)
            if not isinstance(key, str) or key in pairs:
                raise Refused("value_duplicate_key" if isinstance(key, str) else "value_bad_key")
            pairs[key] = self.value(depth)
        return pairs

    def extension(self, size: int, depth: int) -> Any:
        """A tagged value is read where it stands, so that the limits hold for what is in it as well."""
        code, data = self.number(1, signed=True), self.take(size)
        if code not in {-1, 1, 2, 3, 4, 5}:
            raise Refused("value_unknown_extension")
        if code == 1 and 1 <= size <= 4096:
            return int.from_bytes(data, signed=True)
        if code != 5:
            return Ext(code, data)
        outer, self.at, self.end = self.end, self.at - size, self.at
        content, rest, self.end = self.value(depth), self.end - self.at, outer
        match content:
            case [str(tag), value] if rest == 0 and 1 <= len(tag.encode()) <= 64:
                return Tagged(tag, value)
            case _:
                raise Refused("value_bad_extension")


def decode(data: bytes) -> Any:
    """The one value that these bytes are."""
    decoder = Decoder(data)
    value = decoder.value()
    if decoder.at != decoder.end:
        raise Refused("value_trailing")
    return value


def decode_body(body: bytes) -> tuple[int, int, str | None, dict[str, Any], bytes]:
    """Kind, id, method and meta; the payload stays bytes, so that a bad one fails only its own call."""
    decoder = Decoder(body)
    if decoder.take(1) != b"\x95":
        raise Refused("envelope_invalid")
    kind, id_, method, meta = (decoder.value(1) for _ in range(4))
    return kind, id_, method, meta, body[decoder.at :]


# --- Calls (sections 4 to 6) -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A call of ours. Its frames come through `frames`; None says that the connection ended."""

    client: Client
    id: int
    frames: asyncio.Queue[tuple[int, dict[str, Any], bytes] | None]

    def cancel(self) -> None:
        """Ask for its end: FAIL `cancelled`, or the REPLY if that was faster."""
        self.client.send(CANCEL, self.id, None, {}, None)

    async def result(self, on_item: Callable[[Any], None] = lambda item: None) -> Any:
        """The REPLY's value; each ITEM that was dealt with is made up for by one more credit."""
        while frame := await self.frames.get():
            kind, _, value = *frame[:2], decode(frame[2])
            if kind == REPLY:
                return value
            if kind == FAIL:
                raise Failed(value)
            on_item(value)
            self.client.send(CREDIT, self.id, None, {"n": 1}, None)
        raise Failed({"code": "connection_lost", "message": "the server has gone"})


class Client:
    """One server. `functions` are what it may call: with this client, the id of its call, the arguments."""

    def __init__(self, process: asyncio.subprocess.Process, functions: dict[str, Function]) -> None:
        self.process, self.functions, self.ids = process, functions, itertools.count(1)
        self.ours: dict[int, Call] = {}
        self.theirs: dict[int, asyncio.Task[Any]] = {}
        self.reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, functions: dict[str, Function]) -> Client:
        """Start the server; what it logs goes where our stderr goes."""
        command = shlex.split(os.environ.get("DSPEX_COMMAND", "dspex serve"))
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe), functions)

    def send(self, kind: int, id_: int, method: str | None, meta: dict[str, Any], payload: Any) -> None:
        """Write one frame, without waiting: the reader sends too, and must never stop reading."""
        body = encode([kind, id_, method, meta, payload])
        assert self.process.stdin is not None
        self.process.stdin.write(len(body).to_bytes(4) + body)

    def call(self, method: str, payload: Any, **meta: Any) -> Call:
        """Open a call; its `result` waits for the end."""
        call = Call(self, next(self.ids), asyncio.Queue())
        self.ours[call.id] = call
        self.send(CALL, call.id, method, meta, payload)
        return call

    async def _read(self) -> None:
        assert self.process.stdout is not None
        try:
            while True:
                size = int.from_bytes(await self.process.stdout.readexactly(4))
                if size > LARGEST_FRAME:
                    raise Refused("frame_too_large")
                self._take(*decode_body(await self.process.stdout.readexactly(size)))
        except asyncio.IncompleteReadError:
            pass  # the server has gone
        finally:
            for call in self.ours.values():
                call.frames.put_nowait(None)

    def _take(self, kind: int, id_: int, method: str | None, meta: dict[str, Any], payload: bytes) -> None:
        if kind == NOTE:
            print(f"  note {method}: {decode(payload)}")
        elif kind == CALL:
            task = self.theirs[id_] = asyncio.create_task(self._serve(method, id_, payload))
            task.add_done_callback(lambda task: self._answer(id_, task))
        elif kind == CANCEL and id_ in self.theirs:
            self.theirs[id_].cancel()
        elif kind in {REPLY, FAIL, ITEM} and id_ in self.ours:  # what is not open has lost a race
            call = self.ours[id_] if kind == ITEM else self.ours.pop(id_)
            call.frames.put_nowait((kind, meta, payload))

    async def _serve(self, method: str | None, id_: int, payload: bytes) -> Any:
        match method, decode(payload):
            case "function.call", {"function": str(name), "args": args} if name in self.functions:
                return await self.functions[name](self, id_, args)
            case "function.call", _:
                raise Failed({"code": "unknown_function", "message": "this client has no such function"})
            case _:
                raise Failed({"code": "unknown_method", "message": f"a client has no {method}"})

    def _answer(self, id_: int, task: asyncio.Task[Any]) -> None:
        """The one answer. Not in `_serve`, since a CANCEL may end that before its first line."""
        del self.theirs[id_]
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        match error:
            case None:
                self.send(REPLY, id_, None, {}, task.result())
            case asyncio.CancelledError():
                self.send(FAIL, id_, None, {}, {"code": "cancelled", "message": "the function has stopped"})
            case _:
                code = getattr(error, "code", "function_failed")
                self.send(FAIL, id_, None, {}, {"code": code, "message": str(error)})

    async def close(self) -> None:
        """End of file tells the server that we are gone; one that stays is killed."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), 10)
        except TimeoutError:
            self.process.kill()
        await self.reader


Function = Callable[[Client, int, Any], Awaitable[Any]]

# --- A walk through the protocol -------------------------------------------------------------------------

SPEC = {"module": "Predict", "signature": "question: str -> answer: str"}
TYPED = {"module": "ChainOfThought", "signature": "review: str -> stars: int, mood: literal['glad', 'sad']"}


def ask(question: str, **more: Any) -> dict[str, Any]:
    """The payload of a one-shot prediction."""
    return {"inputs": {"question": question}, "spec": SPEC, **more}


async def relay(client: Client, id_: int, args: Any) -> str:
    """A language model that has another one answer, in a call made within the server's call `id_`."""
    print(f"  {args['model']} was called, and asks in its turn")
    inner = await client.call("program.predict", ask("What would you say?"), parent=id_).result()
    # The text that a model would write, which is what the adapter asked for: here `json`.
    return json.dumps({"answer": f"relayed {inner.value['fields']['answer']!r}"})


async def failed(call: Call) -> Failed:
    """The FAIL of a call that must fail."""
    try:
        raise AssertionError(f"expected a FAIL, got {await call.result()}")
    except Failed as error:
        return error


async def walk() -> None:
    """Each part of the protocol once."""
    entered = asyncio.Event()

    async def sleep(client: Client, id_: int, args: Any) -> None:
        """A language model that never answers, for what has to end early."""
        entered.set()
        await asyncio.sleep(3600)

    client = await Client.start({"relay": relay, "sleep": sleep})
    try:
        lms = {name: {"model": f"host/{name}"} for name in client.functions}
        lms["default"] = {"model": os.environ.get("DSPEX_LM", "sim/demo")}
        hello = {"protocol": "dspex", "versions": [1], "functions": [*client.functions], "lms": lms}
        welcome = await client.call("system.hello", hello).result()
        assert welcome["protocol"] == "dspex", "something else writes to the wire"
        print(f"hello: {welcome['server']}, protocol {welcome['version']}")
        print(f"ping: {await client.call('system.ping', 'are you there?').result()}")

        typed = {"inputs": {"review": "It broke after two days."}, "spec": TYPED}
        fields = (await client.call("program.predict", typed).result()).value["fields"]
        print(f"typed: stars {fields['stars']!r}, mood {fields['mood']!r}")

        # Each question is asked twice, so that an answer given to the wrong call would show.
        calls = [client.call("program.predict", ask(f"What is {number % 25}?")) for number in range(50)]
        answers = [(await call.result()).value["fields"]["answer"] for call in calls]
        print(f"pipelined: {len(answers)} answers, each to its question: {answers[:25] == answers[25:]}")

        items: list[Any] = []
        whole = await client.call("program.predict", ask("Tell me more."), credit=2).result(items.append)
        text = "".join(item["text"] for item in items if item["type"] == "token")
        print(f"streamed: {len(items)} items, all there: {text == whole.value['fields']['answer']}")

        relayed = await client.call("program.predict", ask("Whom?", lm="relay", adapter="json")).result()
        print(f"callback: {relayed.value['fields']['answer']}")

        late = await failed(client.call("program.predict", ask("Now!", lm="sleep"), deadline_ms=300))
        print(f"deadline: {late.code}")

        entered.clear()
        call = client.call("program.predict", ask("Never mind.", lm="sleep"))
        await entered.wait()
        call.cancel()
        print(f"cancel: {(await failed(call)).code}")

        bad = (await failed(client.call("program.predict", ask("?", adapter="yaml")))).details
        print(f"bad argument: {bad['field']}: expected {bad['expected']}, got {bad['got']}")

        await client.call("system.goodbye", {}).result()
    finally:
        await client.close()
    print(f"goodbye: the server ended with {client.process.returncode}")


# --- The golden vectors (protocol/vectors/README.md) -----------------------------------------------------

NOTATION: dict[str, Callable[[Any], Any]] = {
    "$int": int,
    "$float": float,
    "$bin": bytes.fromhex,
    "$text": lambda of: of[0] * of[1],
    "$bytes": lambda of: bytes.fromhex(of[0]) * of[1],
    "$list": lambda of: [meaning(of[0])] * of[1],
    "$map": lambda of: {key: meaning(value) for key, value in of},
    "$function": lambda of: Ext(4, of.encode()),
    "$tagged": lambda of: Tagged(of[0], meaning(of[1])),
}


def meaning(note: Any) -> Any:
    """The value that a vector's JSON stands for; KeyError where this client has no such value."""
    match note:
        case [*items]:
            return [meaning(item) for item in items]
        case {**pairs} if len(pairs) == 1 and str(*pairs).startswith("$"):
            [(name, of)] = pairs.items()
            return NOTATION[str(name)](of)
        case {**pairs}:
            return {key: meaning(item) for key, item in pairs.items()}
        case _:
            return note


def check(vector: dict[str, Any], *, is_body: bool) -> bool | None:
    """Whether the codec agrees with one vector; None where it does not look so far."""
    pieces = vector.get("build") or [vector["hex"]]
    pairs = [(piece, 1) if isinstance(piece, str) else (piece["repeat"], piece["count"]) for piece in pieces]
    data = b"".join(bytes.fromhex(text) * count for text, count in pairs)
    try:
        *envelope, last = decode_body(data) if is_body else (data,)
        got = [*envelope, decode(last)]
    except Refused as refused:
        return refused.args[0] in [vector.get("error"), *vector.get("or", [])] or (None if is_body else False)
    if "error" in vector:  # an envelope's rules, or an extension's
        return None if is_body or vector["error"] == "value_bad_extension" else False
    frame = vector["frame"] if is_body else vector
    names = ["kind", "id", "method", "meta", "payload"] if is_body else ["value"]
    try:
        want = [meaning(frame[name]) for name in names]
        same = encode(got) == encode(want) or repr(got) == repr(want)  # a NaN may have any bits
    except (KeyError, Refused):
        return None
    return same and (vector["direction"] != "both" or data == encode(want if is_body else want[0]))


def check_vectors(folder: Path) -> int:
    """Print how many vectors agree, and which do not."""
    counts: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for path in sorted(folder.glob("*.json")):
        file = json.loads(path.read_text())
        if file["shape"] == "stream":
            continue  # how the bytes are cut is asyncio's concern here
        for vector in file["vectors"]:
            for step in vector.get("steps", [vector]):
                counts[check(step, is_body=file["shape"] != "value")].append(vector["id"])
    print(f"vectors: {len(counts[True])} agree, {len(counts[False])} differ, {len(counts[None])} left out")
    print("".join(f"  differs: {name}\n" for name in counts[False]), end="")
    return 1 if counts[False] or not counts[True] else 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            asyncio.run(walk())
        case ["--vectors", path]:
            sys.exit(check_vectors(Path(path)))
        case _:
            sys.exit(__doc__)
