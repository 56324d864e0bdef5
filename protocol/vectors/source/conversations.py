"""Whole conversations, frame by frame; packed by `notation`."""

from __future__ import annotations

from typing import Any

from .messages import (
    ANSWER,
    ASK_MODEL,
    CALLBACK,
    HELLO,
    SPEC,
    WELCOME,
    body,
    call,
    cancel,
    credit,
    fail,
    failure,
    fields,
    item,
    note,
    reply,
)
from .notation import Vector


def client(*parts: Any, about: str = "") -> Vector:
    """A frame that the client sends."""
    return _step("client", parts, about)


def server(*parts: Any, about: str = "") -> Vector:
    """A frame that the server sends."""
    return _step("server", parts, about)


def _step(sender: str, parts: tuple[Any, ...], about: str) -> Vector:
    told = {"about": about} if about else {}
    return {"from": sender, **told, "hex": body(*parts), "frame": fields(*parts), "direction": "both"}


def conversation(name: str, spec: str, about: str, *steps: Vector) -> Vector:
    """Steps in their order."""
    return {"id": f"conversation.{name}", "spec": spec, "about": about, "steps": list(steps)}


def token(text: str, last: bool = False) -> dict[str, Any]:
    """An item of a token stream."""
    return {"field": "answer", "last": last, "predictor": "self", "text": text, "type": "token"}


def status(event: str) -> dict[str, Any]:
    """An item that says what the program does."""
    return {
        "event": event,
        "message": f"module self {event}ed",
        "name": "self",
        "stage": "module",
        "type": "status",
    }


GREETING = (client(*call(1, "system.hello", HELLO)), server(*reply(1, WELCOME)))
PREDICT = {"inputs": {"question": "6 x 7?"}, "spec": SPEC}
PREDICT_WITH_HOST = {"inputs": {"question": "?"}, "lm": "mine", "spec": SPEC}
HELLO_HOST = {
    "functions": ["answer", "lookup"],
    "lms": {"mine": {"model": "host/answer"}},
    "protocol": "dspex",
    "versions": [1],
}
# A model's answer has the form that the adapter asked for.
IN_FORM = "[[ ## answer ## ]]\n42\n\n[[ ## completed ## ]]"
GREETING_HOST = (client(*call(1, "system.hello", HELLO_HOST)), server(*reply(1, WELCOME)))
EARLY = failure("handshake_required", "call system.hello first")
NO_VERSION = failure("handshake_failed", "no common version", details={"versions": [1]})

VECTORS = [
    conversation(
        "hello",
        "4",
        "a connection from its first frame to its last",
        *GREETING,
        client(*call(2, "system.ping", "are you there?")),
        server(*reply(2, "are you there?")),
        client(*call(3, "system.goodbye", {})),
        server(*reply(3, None), about="the server closes and exits now"),
    ),
    conversation(
        "hello.late",
        "4",
        "a call before hello fails and changes nothing",
        client(*call(1, "system.ping", None)),
        server(*fail(1, EARLY)),
        client(*call(1, "system.hello", HELLO), about="id 1 is free again"),
        server(*reply(1, WELCOME)),
        client(*call(2, "system.hello", HELLO)),
        server(*fail(2, failure("handshake_repeated", "system.hello was called before"))),
        client(*call(3, "system.ping", 7), about="the connection is open as before"),
        server(*reply(3, 7)),
    ),
    conversation(
        "hello.version",
        "4",
        "no common version; the client may try again",
        client(*call(1, "system.hello", {"protocol": "dspex", "versions": [99]})),
        server(*fail(1, NO_VERSION)),
        client(*call(2, "system.hello", HELLO)),
        server(*reply(2, WELCOME)),
    ),
    conversation(
        "predict",
        "5",
        "a prediction",
        *GREETING,
        client(*call(2, "program.predict", PREDICT, deadline_ms=30_000)),
        server(*reply(2, ANSWER, attempt=1, lm_calls=1, worker=1)),
    ),
    conversation(
        "predict.order",
        "5",
        "two calls at once; the second ends first",
        *GREETING,
        client(*call(2, "program.predict", PREDICT)),
        client(*call(3, "system.echo", "quick")),
        server(*reply(3, "quick", attempt=1, worker=2)),
        server(*reply(2, ANSWER, attempt=1, worker=1)),
    ),
    conversation(
        "program",
        "7.2",
        "a stored program",
        *GREETING,
        client(*call(2, "program.create", {"spec": SPEC}, program="qa")),
        server(*reply(2, {"program": "qa", "version": 1})),
        client(*call(3, "program.predict", {"inputs": {"question": "6 x 7?"}}, program="qa")),
        server(*reply(3, ANSWER, program="qa", version=1, worker=1)),
        client(*call(4, "program.create", {"spec": SPEC}, program="qa")),
        server(*fail(4, failure("program_exists", "there is a program qa already"))),
    ),
    conversation(
        "stream",
        "5",
        "credit 2, then 2 more: the server waits in between",
        *GREETING,
        client(*call(2, "program.predict", PREDICT, credit=2)),
        server(*item(2, 0, status("start"))),
        server(*item(2, 1, token("for")), about="the credit is used up"),
        client(*credit(2, 2)),
        server(*item(2, 2, token("ty-tw")), about="what came meanwhile, joined"),
        server(*item(2, 3, token("o", last=True))),
        server(*reply(2, ANSWER, worker=1), about="the REPLY needs no credit"),
        client(*credit(2, 2), about="too late: ignored"),
    ),
    conversation(
        "stream.cancel",
        "5",
        "a stream that the client has had enough of",
        *GREETING,
        client(*call(2, "program.predict", PREDICT, credit=64)),
        server(*item(2, 0, token("for"))),
        client(*cancel(2)),
        server(*item(2, 1, token("ty")), about="it was under way already"),
        server(*fail(2, failure("cancelled", "cancelled", details={"rung": "asked"}))),
        client(*cancel(2), about="a second one is ignored"),
    ),
    conversation(
        "cancel.lost_race",
        "5",
        "the REPLY won",
        *GREETING,
        client(*call(2, "system.echo", 1)),
        client(*cancel(2)),
        server(*reply(2, 1, worker=1)),
        client(*call(2, "system.echo", 2), about="the id is free again"),
        server(*reply(2, 2, worker=1)),
    ),
    conversation(
        "id_reused",
        "5",
        "an id that is open already: the frame is dropped, the first call goes on",
        *GREETING,
        client(*call(2, "program.predict", PREDICT)),
        client(*call(2, "system.ping", None)),
        server(
            *note(
                "system.fault", {"code": "call_id_reused", "details": {"id": 2}, "message": "call 2 is open"}
            )
        ),
        server(*reply(2, ANSWER, worker=1)),
    ),
    conversation(
        "callback",
        "5",
        "a language model that is a host function",
        *GREETING_HOST,
        client(*call(2, "program.predict", PREDICT_WITH_HOST)),
        server(*call(1, "function.call", ASK_MODEL, parent=2), about="id 1 of the other direction"),
        client(*reply(1, {"text": IN_FORM, "tokens_in": 9, "tokens_out": 1})),
        server(*reply(2, ANSWER, lm_calls=1, worker=1)),
    ),
    conversation(
        "callback.stream",
        "7.3",
        "a stream whose language model is a host function that writes piece by piece",
        *GREETING_HOST,
        client(*call(2, "program.predict", PREDICT_WITH_HOST, credit=8)),
        server(*call(1, "function.call", ASK_MODEL, credit=2, parent=2), about="two ITEMs may come"),
        client(*item(1, 0, "[[ ## answer ## ]]\nforty")),
        client(*item(1, 1, "-two")),
        server(*credit(1, 1), about="one of them was taken"),
        server(*item(2, 0, token("forty-"))),
        client(*item(1, 2, "\n\n[[ ## completed ## ]]")),
        client(*reply(1, {"tokens_in": 9, "tokens_out": 3}), about="the text is what it has sent"),
        server(*item(2, 1, token("two", last=True))),
        server(*reply(2, {"$tagged": ["prediction", {"fields": {"answer": "forty-two"}}]}, lm_calls=1)),
    ),
    conversation(
        "callback.stream.joined",
        "7.3",
        "the same function where nobody wants a stream: no credit, so it answers at once",
        *GREETING_HOST,
        client(*call(2, "program.predict", PREDICT_WITH_HOST)),
        server(*call(1, "function.call", ASK_MODEL, parent=2)),
        client(*reply(1, {"text": IN_FORM, "tokens_in": 9, "tokens_out": 3})),
        server(*reply(2, ANSWER, lm_calls=1, worker=1)),
    ),
    conversation(
        "callback.stream.exceeded",
        "5",
        "the client sends more than it has credit for: the function's call ends, and the prediction with it",
        *GREETING_HOST,
        client(*call(2, "program.predict", PREDICT_WITH_HOST, credit=8)),
        server(*call(1, "function.call", ASK_MODEL, credit=1, parent=2)),
        client(*item(1, 0, "forty")),
        client(*item(1, 1, "-two")),
        server(*cancel(1)),
        server(
            *note("system.fault", {"code": "credit_exceeded", "details": {"id": 1}, "message": "out of turn"})
        ),
        server(*fail(2, failure("credit_exceeded", "out of turn", maybe_executed=True))),
    ),
    conversation(
        "callback.nested",
        "5",
        "within the callback the client makes a call of its own",
        *GREETING_HOST,
        client(*call(2, "program.predict", PREDICT_WITH_HOST)),
        server(*call(1, "function.call", ASK_MODEL, parent=2)),
        client(*call(3, "program.predict", PREDICT, parent=1), about="never queued behind other work"),
        server(*reply(3, ANSWER, worker=1)),
        client(*reply(1, IN_FORM)),
        server(*reply(2, ANSWER, worker=1)),
    ),
    conversation(
        "callback.cancel",
        "5",
        "the client cancels the parent while its own function is running",
        *GREETING_HOST,
        client(*call(2, "program.predict", PREDICT_WITH_HOST)),
        server(*call(1, "function.call", ASK_MODEL, parent=2)),
        client(*cancel(2)),
        server(*cancel(1)),
        server(*fail(2, failure("cancelled", "cancelled", details={"rung": "asked"}, maybe_executed=True))),
        client(*fail(1, failure("cancelled", "cancelled")), about="the call is gone: ignored"),
    ),
    conversation(
        "callback.unknown",
        "5",
        "a function that the client does not have",
        *GREETING_HOST,
        client(*call(2, "program.predict", PREDICT_WITH_HOST)),
        server(*call(1, "function.call", CALLBACK, parent=2)),
        client(*fail(1, failure("unknown_function", "there is no function lookup"))),
        server(*fail(2, failure("function_failed", "the host function lookup failed", maybe_executed=True))),
    ),
    conversation(
        "fault",
        "2",
        "a misspelt field fails its call and no other",
        *GREETING,
        client(*call(2, "program.predict", {"inputs": {}, "spec": SPEC, "wrong": 1})),
        server(
            *fail(
                2,
                failure(
                    "invalid_argument",
                    "wrong: there is no such field",
                    details={
                        "expected": "one of: inputs, spec",
                        "field": "wrong",
                        "got": "unknown field 'wrong'",
                    },
                ),
            )
        ),
        client(*call(3, "system.ping", 1)),
        server(*reply(3, 1)),
    ),
]
