"""Calls that a model wants by its provider's own means: a field that grows, though no text has it."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.support.hops import worker_here
from tests.support.raw_http import raw_server, saying
from tests.support.scripted import MODEL

_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
_WEATHER: Final = {"name": "weather", "desc": "Tells.", "args": {"city": {"type": "string"}}}


def _chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + json.dumps({"id": "a", "model": "m", "choices": [choice]}).encode() + b"\n\n"


def _piece(at: int, name: str | None, arguments: str) -> bytes:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return _chunk({"tool_calls": [{"index": at, "id": f"c{at}", "type": "function", "function": function}]})


async def test_the_field_grows_call_by_call() -> None:
    """What is there so far, each call when all of it has come; the last value is the prediction's."""
    pieces = [
        _piece(0, "nobodys", '{"city": '),
        _piece(0, None, '"Oslo"}'),
        _piece(1, "submit", '{"answer": "rain"}'),
        _chunk({}, "tool_calls"),
        b"data: [DONE]\n\n",
    ]
    # A pause, so that the first call has been sent when the second one comes.
    async with raw_server(saying(_HEAD, *pieces, pause_s=0.05)) as base, worker_here() as (hop, _):
        lm = {"model": MODEL, "api_base": base, "api_key_secret": "key"}
        offered = {"lms": {"default": lm}, "secrets": {"key": "sk-0123456789"}, "functions": ["weather"]}
        await hop.call("worker.configure", offered)
        agent = {"module": "ReActV2", "signature": "question -> answer", "options": {"tools": [_WEATHER]}}
        native = {"name": "chat", "options": {"use_native_function_calling": True}}
        payload = {"spec": agent, "inputs": {"question": "Oslo?"}, "adapter": native, "events": ["value"]}
        call = await hop.start("program.predict", payload, credit=1000)
        assert "rain" == (await hop.end(call)).value["fields"]["answer"]
    values = [item for item in hop.items(call) if item["field"] == "tool_calls"]
    names = [[wanted["name"] for wanted in item["value"].value["tool_calls"]] for item in values]
    assert [["nobodys"], ["nobodys", "submit"]] == [names[0], names[-1]]
    assert [False] * (len(values) - 1) + [True] == [item["last"] for item in values]
    assert {"city": "Oslo"} == values[0]["value"].value["tool_calls"][0]["args"]
