"""Frames as they are in use: calls, streams, callbacks, failures; packed by `notation`."""

from __future__ import annotations

from typing import Any

from .notation import Vector, pack, vector

CALL, REPLY, FAIL, ITEM, CANCEL, CREDIT, NOTE = range(7)


def fields(kind: int, call_id: int, method: str | None, meta: dict[str, Any], payload: Any) -> dict[str, Any]:
    """The `frame` of a vector."""
    return {"kind": kind, "id": call_id, "method": method, "meta": meta, "payload": payload}


def body(kind: int, call_id: int, method: str | None, meta: dict[str, Any], payload: Any) -> str:
    """The bytes of a frame's body."""
    return (b"\x95" + b"".join(map(pack, (kind, call_id, method, meta, payload)))).hex()


def example(name: str, spec: str, about: str, *parts: Any) -> Vector:
    """A frame by kind, id, method, meta and payload."""
    return vector(name, spec, body(*parts), about, frame=fields(*parts), direction="both")


def call(call_id: int, method: str, payload: Any, **meta: Any) -> tuple[Any, ...]:
    """The parts of a CALL."""
    return CALL, call_id, method, meta, payload


def reply(call_id: int, payload: Any, **meta: Any) -> tuple[Any, ...]:
    """The parts of a REPLY."""
    return REPLY, call_id, None, meta, payload


def item(call_id: int, seq: int, payload: Any) -> tuple[Any, ...]:
    """The parts of an ITEM."""
    return ITEM, call_id, None, {"seq": seq}, payload


def failure(code: str, message: str, *, retryable: bool = False, **more: Any) -> dict[str, Any]:
    """The payload of a FAIL."""
    written = {"details": {}, "maybe_executed": False, "retry_after_ms": None} | more
    return dict(sorted({"code": code, "message": message, "retryable": retryable, **written}.items()))


def fail(call_id: int, payload: dict[str, Any], **meta: Any) -> tuple[Any, ...]:
    """The parts of a FAIL."""
    return FAIL, call_id, None, meta, payload


def cancel(call_id: int) -> tuple[Any, ...]:
    """The parts of a CANCEL."""
    return CANCEL, call_id, None, {}, None


def credit(call_id: int, n: int) -> tuple[Any, ...]:
    """The parts of a CREDIT."""
    return CREDIT, call_id, None, {"n": n}, None


def note(method: str, payload: Any) -> tuple[Any, ...]:
    """The parts of a NOTE that belongs to no call."""
    return NOTE, 0, method, {}, payload


HELLO = {"protocol": "dspex", "versions": [1]}
HELLO_FULL = {
    "client": "example/1.0",
    "functions": ["exact_match", "lookup"],
    "lms": {
        "default": {"model": "sim/echo"},
        "smart": {"api_key_env": "OPENAI_API_KEY", "max_tokens": 500, "model": "openai/gpt-4o-mini"},
    },
    "max_frame_bytes": 1_048_576,
    "notes": ["event", "log"],
    "protocol": "dspex",
    "require": ["callbacks", "streams"],
    "secrets": {"other": "not a real key"},
    "tenant": "acme",
    "tenants": {"acme": 3, "example": 1},
    "versions": [1, 2],
}
REPRO = {
    "ago_s": {"$float": "12.5"},
    "deaths": [{"reason": "SIGSEGV", "worker": 3}, {"reason": "SIGSEGV", "worker": 5}],
    "fingerprint": "9f86d081",
    "meta": {"deadline_ms": 30_000, "program": "qa", "version": 1},
    "meta_names": ["tenant"],
    "method": "program.predict",
    "payload_bytes": 35,
    "shape": "map{inputs: map{question: str(13)}}",
}
WELCOME = {
    "capabilities": ["callbacks", "programs", "streams"],
    "default_deadline_ms": 120_000,
    "instance": "5f2b9c",
    "max_frame_bytes": 16_777_216,
    "max_queue": 4096,
    "protocol": "dspex",
    "server": "dspex/0.1.0",
    "version": 1,
    "workers": 2,
}
SPEC = {"module": "Predict", "signature": "question: str -> answer: str"}
SPEC_MAP = {
    "module": "ChainOfThought",
    "options": {},
    "signature": {
        "inputs": [{"desc": "what is asked", "name": "question", "type": "str"}],
        "instructions": "Answer briefly.",
        "name": "Answer",
        "outputs": [
            {"name": "answer", "type": "str"},
            {"ge": 0, "le": {"$float": "1.0"}, "name": "confidence", "type": "float"},
            {"name": "sources", "type": {"items": "str", "kind": "list"}},
        ],
    },
}
ANSWER = {"$tagged": ["prediction", {"fields": {"answer": "42"}}]}

CALLS = [
    example("call.hello", "4", "the least that a client says", *call(1, "system.hello", HELLO)),
    example("call.hello.full", "4", "everything that a client may say", *call(1, "system.hello", HELLO_FULL)),
    example("call.welcome", "4", "the reply to hello", *reply(1, WELCOME)),
    example(
        "call.ping", "7.1", "any value comes back", *call(2, "system.ping", [1, {"$float": "2.0"}, None])
    ),
    example("call.pong", "7.1", "the reply to ping", *reply(2, [1, {"$float": "2.0"}, None])),
    example(
        "call.echo", "7.1", "through a worker", *call(3, "system.echo", {"$bin": "00ff"}, deadline_ms=5000)
    ),
    example("call.echo.reply", "7.1", "with its worker", *reply(3, {"$bin": "00ff"}, attempt=1, worker=1)),
    example("call.describe", "7.1", "what the server can do", *call(4, "system.describe", {})),
    example("call.info", "7.1", "a snapshot", *call(5, "system.info", {})),
    example("call.goodbye", "7.1", "end when open calls have ended", *call(6, "system.goodbye", {})),
    example("call.goodbye.reply", "7.1", "nil, then the server exits", *reply(6, None)),
    example(
        "call.predict",
        "7.2",
        "one-shot: the program stands in the payload",
        *call(7, "program.predict", {"inputs": {"question": "6 x 7?"}, "spec": SPEC}, deadline_ms=30_000),
    ),
    example(
        "call.predict.options",
        "7.2",
        "with a language model, its settings and an adapter",
        *call(
            8,
            "program.predict",
            {
                "adapter": "json",
                "config": {"max_tokens": 100, "temperature": {"$float": "0.5"}},
                "inputs": {"question": "6 x 7?"},
                "lm": "smart",
                "spec": SPEC_MAP,
            },
            lane="batch",
            priority=9,
            tenant="acme",
        ),
    ),
    example(
        "call.predict.stored",
        "7.2",
        "a stored program, by id and version in meta",
        *call(9, "program.predict", {"inputs": {"question": "6 x 7?"}}, program="qa", version=3),
    ),
    example(
        "call.predict.reply",
        "7.2",
        "the prediction, and what it cost",
        *reply(
            9,
            ANSWER,
            attempt=1,
            lm_calls=1,
            lm_ms={"$float": "812.25"},
            program="qa",
            queue_ms={"$float": "0.5"},
            tokens_in=120,
            tokens_out=8,
            version=3,
            worker=2,
            worker_ms={"$float": "815.0"},
        ),
    ),
    example(
        "call.create",
        "7.2",
        "a program with an id of the caller's",
        *call(10, "program.create", {"spec": SPEC}, program="qa"),
    ),
    example("call.create.reply", "7.2", "its first version", *reply(10, {"program": "qa", "version": 1})),
    example(
        "call.get", "7.2", "a version of a program", *call(11, "program.get", {}, program="qa", version=1)
    ),
    example("call.list", "7.2", "all programs", *call(12, "program.list", {})),
    example("call.list.reply", "7.2", "one program", *reply(12, [{"program": "qa", "version": 1}])),
    example("call.delete", "7.2", "with its versions", *call(13, "program.delete", {}, program="qa")),
    example(
        "call.signature",
        "7.2",
        "a signature read",
        *call(14, "signature.describe", {"signature": "a, b -> c: int"}),
    ),
    example("call.lms", "7.2", "the language models", *call(15, "lm.list", {})),
    example(
        "call.lms.control",
        "5",
        "beyond every limit, and never in a queue",
        *call(16, "lm.list", {}, lane="control"),
    ),
    example("call.recycle", "7.1", "replace one worker", *call(17, "pool.recycle", {"worker": 2})),
    example("call.recycle.reply", "7.1", "it will be", *reply(17, {"workers": [2]})),
    example("call.recycle.all", "7.1", "replace all that serve", *call(18, "pool.recycle", {})),
    example("call.drain", "7.1", "let all open calls end, then end", *call(19, "pool.drain", {})),
    example("call.quarantine", "7.1", "calls that are refused", *call(20, "pool.quarantine", {})),
    example("call.quarantine.reply", "7.1", "one call, without its words", *reply(20, [REPRO])),
    example(
        "call.release", "7.1", "let it run again", *call(21, "pool.release", {"fingerprint": "9f86d081"})
    ),
    example("call.release.reply", "7.1", "it was there", *reply(21, {"released": 1})),
    example(
        "note.closing",
        "4",
        "the server's last frame",
        *note(
            "system.closing",
            {"code": "frame_too_large", "message": "a frame of 1214606444 bytes was announced"},
        ),
    ),
    example(
        "note.fault",
        "2",
        "a fault that no call can be blamed for",
        *note(
            "system.fault",
            {"code": "envelope_invalid", "details": {}, "message": "kind must be an integer from 0 to 6"},
        ),
    ),
    example("note.log", "7.1", "a log line", *note("log.line", {"event": "worker started", "level": "info"})),
    example(
        "note.event",
        "7.1",
        "a pool event",
        *note("pool.event", {"event": "worker_ready", "pid": 4711, "worker": 3}),
    ),
]

CALLBACK = {"args": {"city": "Paris"}, "function": "lookup"}
ASK_MODEL = {
    "args": {"config": {}, "messages": [{"content": "?", "role": "user"}], "model": "host/answer"},
    "function": "answer",
}

STREAMS = [
    example(
        "stream.call",
        "5",
        "credit asks for ITEMs",
        *call(20, "program.predict", {"inputs": {"question": "?"}, "spec": SPEC}, credit=8),
    ),
    example(
        "stream.item.token",
        "7.2",
        "what was added to an output field",
        *item(20, 0, {"field": "answer", "last": False, "predictor": "self", "text": "fo", "type": "token"}),
    ),
    example(
        "stream.item.last",
        "7.2",
        "the field is complete",
        *item(
            20, 1, {"field": "answer", "last": True, "predictor": "self", "text": "rty-two", "type": "token"}
        ),
    ),
    example(
        "stream.item.status",
        "7.2",
        "what the program is doing",
        *item(
            20,
            2,
            {
                "event": "start",
                "message": "Calling the model",
                "name": "sim/echo",
                "stage": "lm",
                "type": "status",
            },
        ),
    ),
    example("stream.item.seq.128", "2.1", "numbers grow", *item(20, 128, "x")),
    example("stream.item.seq.65536", "2.1", "without end", *item(20, 65536, "x")),
    example("stream.credit.1", "5", "one more", *credit(20, 1)),
    example("stream.credit.64", "5", "64 more", *credit(20, 64)),
    example("stream.credit.most", "2.1", "the most in one frame", *credit(20, 1_000_000)),
    example(
        "stream.credit.none", "2.1", "credit 0 asks for no ITEMs", *call(21, "system.echo", None, credit=0)
    ),
    example(
        "stream.credit.call.most",
        "2.1",
        "the most in a CALL",
        *call(22, "system.echo", None, credit=1_000_000),
    ),
    example("cancel", "5", "stop call 20", *cancel(20)),
    example("cancel.large_id", "5", "a call with a large id", *cancel(2**40)),
    example(
        "callback.call",
        "5",
        "the server calls a host function within the client's call 20; ids of this direction count by themselves",
        *call(1, "function.call", CALLBACK, deadline_ms=29_000, parent=20),
    ),
    example(
        "callback.call.credit",
        "5",
        "a host function that is a language model may send 32 ITEMs before its answer",
        *call(2, "function.call", ASK_MODEL, credit=32, deadline_ms=29_000, parent=20),
    ),
    example("callback.item", "7.3", "text that it has written", *item(2, 0, "forty")),
    example("callback.item.map", "7.3", "the same as a map", *item(2, 1, {"text": "-two"})),
    example(
        "callback.item.reasoning",
        "7.3",
        "what it thinks before it answers",
        *item(2, 2, {"reasoning": "6 x 7 is"}),
    ),
    example("callback.credit", "5", "16 more ITEMs for a callback", *credit(2, 16)),
    example("callback.reply.joined", "7.3", "the items are the answer", *reply(2, None)),
    example(
        "callback.reply.tokens",
        "7.3",
        "the items are the text; this is the rest",
        *reply(2, {"tokens_in": 9, "tokens_out": 3}),
    ),
    example(
        "callback.fault",
        "5",
        "an ITEM beyond the credit has ended callback 2",
        *note(
            "system.fault",
            {
                "code": "credit_exceeded",
                "details": {"id": 2},
                "message": "the host function sent item 32 out of turn: 32 was next, and it had credit for 0",
            },
        ),
    ),
    example("callback.reply", "5", "the client answers", *reply(1, {"population": 2_100_000})),
    example(
        "callback.fail",
        "5",
        "the function raised",
        *fail(1, failure("function_failed", "lookup raised KeyError")),
    ),
    example(
        "callback.nested",
        "5",
        "within the callback the client makes a call of its own",
        *call(23, "program.predict", {"inputs": {"question": "?"}, "spec": SPEC}, parent=1),
    ),
    example("callback.cancel", "5", "the parent ended early", *cancel(1)),
]


def failed(name: str, about: str, call_id: int, payload: dict[str, Any], **meta: Any) -> Vector:
    """A FAIL."""
    return example(f"fail.{name}", "6", about, *fail(call_id, payload, **meta))


FAILURES = [
    failed(
        "invalid_argument",
        "the field, what was expected, what came",
        30,
        failure(
            "invalid_argument",
            "config.temperature: expected a number, got string 'hot'",
            details={"expected": "a number", "field": "config.temperature", "got": "string 'hot'"},
        ),
    ),
    failed(
        "unknown_method", "no such method", 31, failure("unknown_method", "there is no method program.dream")
    ),
    failed(
        "unknown_program", "no such program", 32, failure("unknown_program", "there is no program nosuch")
    ),
    failed(
        "handshake_required",
        "a call before hello",
        1,
        failure("handshake_required", "call system.hello first"),
    ),
    failed(
        "handshake_repeated",
        "a second hello",
        9,
        failure("handshake_repeated", "system.hello was called before"),
    ),
    failed(
        "handshake_failed",
        "no common version",
        1,
        failure("handshake_failed", "no common version", details={"versions": [1]}),
    ),
    failed(
        "overloaded",
        "come back later",
        33,
        failure("overloaded", "4,096 calls are waiting", retryable=True, retry_after_ms=250),
        queue_ms={"$float": "0.0"},
    ),
    failed(
        "deadline",
        "the time was over",
        34,
        failure("deadline", "the call's 30000 ms were over", retryable=True),
    ),
    failed(
        "cancelled",
        "it was running and ended when asked",
        35,
        failure("cancelled", "cancelled", details={"rung": "asked"}),
    ),
    failed(
        "cancelled.queued",
        "it never started",
        36,
        failure("cancelled", "cancelled", details={"rung": "queued"}),
    ),
    failed(
        "overloaded.shed",
        "it was in the queue and is no longer",
        33,
        failure(
            "overloaded",
            "program.predict was taken out of the queue after 30.4 s: it waited longer than 30 s",
            details={"waited_ms": 30_400, "where": "queue"},
            retryable=True,
            retry_after_ms=1000,
        ),
    ),
    failed(
        "worker_died",
        "after the third ITEM of a stream",
        37,
        failure(
            "worker_died",
            "worker 2 was killed by signal 9",
            retryable=True,
            maybe_executed=True,
            details={"last_seq": 2},
        ),
        attempt=1,
        worker=2,
    ),
    failed(
        "poisoned",
        "two workers died of it",
        38,
        failure("poisoned", "it was running in two workers that died"),
    ),
    failed(
        "draining", "after goodbye", 39, failure("draining", "the server is shutting down", retryable=True)
    ),
    failed(
        "frame_too_large",
        "the CALL was thrown away",
        40,
        failure("frame_too_large", "a frame of 20000000 bytes"),
    ),
    failed(
        "value_bad_utf8", "the payload was refused", 41, failure("value_bad_utf8", "a string is not UTF-8")
    ),
    failed(
        "prediction_failed",
        "the model's answer did not fit",
        42,
        failure("prediction_failed", "the answer has no field `answer`", retryable=True, maybe_executed=True),
        lm_calls=2,
    ),
    failed(
        "lm_rate_limited",
        "the provider says when",
        43,
        failure("lm_rate_limited", "429", retryable=True, retry_after_ms=2000),
    ),
    failed(
        "unknown_code",
        "a code that this version does not have: treat it as internal",
        44,
        failure("no_such_code", "from a later version"),
    ),
    example(
        "fail.further_field",
        "6",
        "fields that a receiver does not know are ignored",
        *fail(45, {**failure("internal", "a fault"), "zzz": 1}),
    ),
    example(
        "fail.least",
        "6",
        "fields that are missing: the error is still an error",
        *fail(46, {"code": "internal"}),
    ),
]
