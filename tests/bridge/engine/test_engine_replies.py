"""Events out of bytes, and what the head of a reply says: without any connection."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime
from typing import Any

import pytest
from dspy.lm15 import LM15Error, OpenAIChatLM, ProviderError, Request, request_from_openai_chat
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from dspex_bridge.engine.events import MAX_EVENT_BYTES, EventReader
from dspex_bridge.engine.replies import read_answer, retry_after_s

# Not as import statements: the vendored package is typed, and hides from mypy that DSPy is not.
parse_sse: Any = importlib.import_module("dspy._vendor.lm15.sse").parse_sse
coalesce_stream: Any = importlib.import_module("dspy._vendor.lm15.result").coalesce_stream
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LINES = st.sampled_from(
    [
        b"data: x",
        b"data:y",
        b"data:  \xc3\xa4",
        b"data: \xff",
        b"event: e",
        b": ping",
        b"id: 1",
        b"",
        b"",
        b"junk",
    ]
)


@given(st.lists(LINES), st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.data())
def test_events_are_those_of_dspys_reader_however_the_bytes_are_cut(
    lines: list[bytes], end: bytes, ended: bool, data: st.DataObject
) -> None:
    """Whole, byte by byte or anyhow: the same events as DSPy's own parser finds."""
    whole = end.join(lines) + (end if ended else b"")
    expected = [event.data for event in parse_sse(iter(whole.splitlines(keepends=True)))]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[low:high] for low, high in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    for chunks in (pieces, [whole[at : at + 1] for at in range(len(whole))]):
        reader = EventReader()
        found = [event.data for chunk in chunks for event in reader.feed(chunk)]
        assert found + [event.data for event in reader.finish()] == expected


@pytest.mark.parametrize(
    "piece", [b"x" * 65_536, b"data: " + b"x" * 60_000 + b"\n", b": " + b"x" * 60_000 + b"\n"]
)
def test_an_event_without_an_end_is_refused(piece: bytes) -> None:
    """Whether it is one line or many, memory stays bounded."""
    reader = EventReader()
    for _ in range(MAX_EVENT_BYTES // len(piece) - 1):
        reader.feed(piece)
    with pytest.raises(ProviderError):
        reader.feed(piece * 3)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": "0.25"}, 0.25),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "9" * 5000}, None),
        ({"Retry-After": "Fri, 02 Jan 2026 03:04:15 GMT"}, 10.0),
        ({"Retry-After": "Fri, 02 Jan 2026 03:04:00 GMT"}, 0.0),
        ({"Retry-After": "Fri, 99 Jan 2026 03:04:00 GMT"}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"Retry-After": "3", "retry-after-ms": "1500"}, 3.0),
        ({"Retry-After": "Fri, 02 Jan 2026 03:04:15 GMT", "Date": "Fri, 02 Jan 2026 03:04:13 GMT"}, 2.0),
        ({"Retry-After": "Fri, 02 Jan 2026 03:04:15 GMT", "Date": "today"}, 10.0),
    ],
)
def test_when_to_come_back_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, dates and milliseconds; a date by the clock of the one who wrote it."""
    assert retry_after_s(CIMultiDict(headers), lambda: NOW) == seconds


def request() -> Request:
    """What was asked."""
    return request_from_openai_chat({"model": "m", "messages": [{"role": "user", "content": "hi"}]})


SHAPES = (
    *(
        b"",
        b"{",
        b"null",
        b"7",
        b'"text"',
        b"[]",
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"choices": 7}',
        b'{"usage": 7}',
    ),
    *(b'{"choices": [{"message": {"tool_calls": 7}}]}', b'{"choices": [{}, {}]}'),
    b'{"choices": [{"message": {"tool_calls": [{"function": {}}]}}]}',
    *(b'{"usage": {"prompt_tokens": "x"}}', b'{"error": {"message": "no", "code": "x"}}'),
    b'{"model": 7, "usage": {"prompt_tokens": -3}}',
)


@pytest.mark.parametrize("status", [200, 307, 400, 429, 500])
@pytest.mark.parametrize("body", SHAPES, ids=lambda body: repr(body[:40]))
def test_whatever_comes_is_an_answer_or_one_of_dspys_errors(body: bytes, status: int) -> None:
    """Nothing else leaves the reader, whatever the provider sends."""
    dialect = OpenAIChatLM(api_key="none", base_url="http://127.0.0.1:9/v1")
    headers = CIMultiDict({"Retry-After": "2", "X-Request-Id": "r1"})
    try:
        answer = read_answer(dialect, request(), status, headers, body, lambda: NOW)
    except LM15Error as failure:
        assert (failure.status, failure.retry_after, failure.request_id) == (status, 2.0, "r1")
    else:
        assert status < 400
        assert answer.model
