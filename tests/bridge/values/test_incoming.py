"""Tagged maps that came: what is in them is checked, and what has no class here stays as it is."""

from __future__ import annotations

import pytest

from dspex_bridge.values.incoming import from_wire
from dspex_protocol import DSPexError, Tagged


@pytest.mark.parametrize(
    ("tag", "content", "field"),
    [
        ("image", {"url": "/etc/passwd"}, "value[0].url"),
        ("image", {"url": "https://example.test/a", "download": True}, "value[0].download"),
        ("image", 3, "value[0]"),
        ("image", {"url": b"\x89PNG"}, "value[0].url"),
        ("tool_calls", {"tool_calls": 3}, "value[0]"),
        ("code", {"code": "x", "language": []}, "value[0]"),
        ("history", {"messages": "x"}, "value[0]"),
        ("prediction", {"fields": []}, "value[0].fields"),
        ("prediction", {"fields": {}, "completions": [{"a": 1}, {}]}, "value[0].completions"),
        ("example", {"inputs": []}, "value[0].fields"),
        ("example", {"fields": {}, "inputs": [3]}, "value[0].inputs"),
        ("tool_call_results", {"tool_call_results": 3}, "value[0]"),
    ],
)
def test_content_that_does_not_fit_its_tag_is_refused(tag: str, content: object, field: str) -> None:
    """By the path of the part; no file is read and nothing is downloaded."""
    with pytest.raises(DSPexError) as refused:
        from_wire([Tagged(tag, content)])
    assert "invalid_argument" == refused.value.code
    assert field == refused.value.details["field"]


def test_an_unknown_tag_stays_a_pair() -> None:
    """So does a tool: its function lives in the host."""
    for value in (Tagged("future", {"a": 1}), Tagged("tool", {"name": "x"})):
        assert value is from_wire(value)
