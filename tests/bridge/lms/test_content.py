"""What a host function or an offline model is told of media in a message."""

from __future__ import annotations

from typing import Any

import pytest
from dspy.lm15 import AudioPart, DocumentPart, ImagePart, TextPart, ToolCallPart, ToolResultPart, VideoPart

from dspex_bridge.lms.content import content_of, text_of
from dspex_protocol import DSPexError, Tagged

PNG = "iVBORw0KGgo="


def test_text_alone_is_a_string() -> None:
    """However many parts it came in."""
    assert "ab" == content_of([TextPart("a"), TextPart("b")])
    assert "" == content_of([])


def test_media_stand_where_they_stood() -> None:
    """As their bytes, or by what names them."""
    parts: list[Any] = [
        TextPart("see "),
        ImagePart(data=PNG),
        ImagePart(url="https://example.test/a"),
        AudioPart(data="SUQz", media_type="audio/mpeg"),
        DocumentPart(file_id="file-1"),
    ]
    content = content_of(parts)
    assert [
        "see ",
        Tagged("image", {"bytes": b"\x89PNG\r\n\x1a\n", "media_type": "image/png"}),
        Tagged("image", {"url": "https://example.test/a"}),
        Tagged("audio", {"bytes": b"ID3", "media_type": "audio/mpeg"}),
        Tagged("file", {"file_id": "file-1"}),
    ] == content


def test_a_model_of_text_is_told_that_there_is_something_and_which() -> None:
    """The same picture by the same word, another one by another."""
    first, again, other = (
        text_of(content_of([TextPart("a"), ImagePart(data=data)])) for data in (PNG, PNG, "iVBORw0KGgpA")
    )
    assert first == again != other
    assert first.startswith("a<image ")


def test_tool_calls_and_their_results_go_by_the_tags_of_the_protocol() -> None:
    """So that a host function can hold a conversation with tools."""
    call = ToolCallPart(id="1", name="add", input={"a": 1})
    result = ToolResultPart(id="1", content=(TextPart("2"),), name="add")
    assert content_of([TextPart("so"), call]) == [
        "so",
        Tagged("tool_calls", {"tool_calls": [{"id": "1", "name": "add", "args": {"a": 1}}]}),
    ]
    told = {"call_id": "1", "name": "add", "value": "2", "is_error": False}
    assert content_of([result]) == [Tagged("tool_call_results", {"tool_call_results": [told]})]


def test_other_parts_are_refused_by_their_kind() -> None:
    """A video has no words here."""
    with pytest.raises(DSPexError) as refused:
        content_of([VideoPart(url="https://example.test/a")])
    assert "lm_invalid_request" == refused.value.code
    assert "video" in refused.value.message
