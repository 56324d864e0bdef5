"""Programs with everything in them that a program can have."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from dspex_protocol import FunctionReference, Tagged, Tensor

PIXEL: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)
IMAGE: Final = Tagged("image", {"url": "https://example.test/a.png"})
INLINE_IMAGE: Final = Tagged("image", {"url": PIXEL})
AUDIO: Final = Tagged("audio", {"data": "UklGRg==", "audio_format": "wav"})
FILE: Final = Tagged("file", {"file_data": "data:text/plain;base64,aGk=", "filename": "hi.txt"})
HISTORY: Final = Tagged("history", {"messages": [{"question": "Who?", "photo": IMAGE, "answer": "Ada"}]})
CODE: Final = Tagged("code", {"code": "say:\n```python\nx = 1\n```\n", "language": "python"})
JAVA: Final = Tagged("code", {"code": "int x = 1;", "language": "java"})
REASONING: Final = Tagged("reasoning", {"content": "because"})
DOCUMENT: Final = Tagged("document", {"data": "The sky is blue.", "title": "Sky", "media_type": "text/plain"})
CITATIONS: Final = Tagged(
    "citations",
    {
        "citations": [
            {
                "type": "char_location",
                "cited_text": "blue",
                "document_index": 0,
                "document_title": "Sky",
                "start_char_index": 11,
                "end_char_index": 15,
                "supported_text": None,
            }
        ]
    },
)
TOOL_CALLS: Final = Tagged(
    "tool_calls",
    {
        "tool_calls": [{"id": "call-1", "name": "search", "args": {"query": "sky", "k": 3}}],
        "tool_call_results": {
            "tool_call_results": [{"call_id": "call-1", "name": "search", "value": "blue", "is_error": False}]
        },
    },
)
PREDICTION: Final = Tagged("prediction", {"fields": {"answer": "42"}})

ANYTHING: Final[list[object]] = [
    None,
    True,
    2**100,
    -(2**90),
    1.5,
    float("inf"),
    "text",
    b"bytes",
    Decimal("1.50"),
    dt.date(2026, 1, 2),
    dt.datetime(2026, 1, 2, 3, 4, 5, 600),
    dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
    dt.time(3, 4, 5),
    dt.timedelta(days=1, microseconds=7),
    uuid.UUID(int=7),
    (1, ("two", b"3")),
    Tensor("f4", (1, 2), b"\0\0\x80?\0\0\0@"),
    FunctionReference("look_up"),
    {"a": [{"b": (1, 2)}]},
    Tagged("pairs", [[1, "one"], [(2, 3), "two and three"]]),
    Tagged("money", {"amount": 3}),
    Tagged("tool", {"name": "search", "desc": "searches"}),
]
"""A value of each type of the wire; sets have no order and so no place in a demo."""

OBJECTS: Final[list[object]] = [
    *(IMAGE, INLINE_IMAGE, AUDIO, FILE, HISTORY, CODE, JAVA, REASONING),
    *(DOCUMENT, CITATIONS, TOOL_CALLS, PREDICTION),
]
"""A value of each type of DSPy's that has a tag."""

PLACE: Final[dict[str, Any]] = {
    "kind": "object",
    "name": "Place",
    "fields": [
        {"name": "city", "min_length": 1},
        {"name": "kind", "enum": ["capital", "port"]},
        {"name": "since", "type": "date", "optional": True},
        {
            "name": "twin",
            "type": {"kind": "object", "name": "Twin", "fields": [{"name": "city"}]},
            "optional": True,
        },
    ],
}

RICH_SIGNATURE: Final[dict[str, Any]] = {
    "name": "Everything",
    "instructions": "Answer from all of this.\n\n- be brief\n  - very",
    "inputs": [
        {"name": "question", "desc": "what is asked", "max_length": 200},
        {"name": "history", "type": "history"},
        {"name": "photo", "type": "image"},
        {"name": "sound", "type": "audio", "optional": True},
        {"name": "paper", "type": "file", "optional": True},
        {"name": "program", "type": "code"},
        {"name": "count", "type": "int", "ge": 1, "le": 10},
        {"name": "amount", "type": "decimal", "ge": Decimal("0.1")},
        {"name": "raw", "type": "bytes", "max_length": 8},
        {"name": "day", "type": "date"},
        {"name": "moment", "type": "datetime"},
        {"name": "clock", "type": "time"},
        {"name": "anything", "type": "any"},
        {"name": "items", "type": {"kind": "list", "items": "image"}, "min_length": 1},
        {"name": "places", "type": {"kind": "map", "values": PLACE}},
        {"name": "mixed", "type": {"kind": "union", "types": ["int", "str"]}, "default": 3},
    ],
    "outputs": [
        {"name": "answer", "pattern": "^[A-Z]"},
        {"name": "thought", "type": "reasoning"},
        {"name": "label", "enum": ["a", "b"]},
        {"name": "score", "type": "float", "ge": 0, "le": 1},
        {"name": "place", "type": PLACE},
        {"name": "when", "type": "date", "optional": True},
    ],
}

_INPUTS: Final[dict[str, object]] = {
    "question": "Where?",
    "photo": IMAGE,
    "sound": AUDIO,
    "paper": FILE,
    "program": CODE,
    "count": 3,
    "amount": Decimal("1.50"),
    "raw": b"raw",
    "day": dt.date(2026, 1, 2),
    "moment": dt.datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=dt.UTC),
    "clock": dt.time(3, 4, 5),
    "items": [IMAGE, INLINE_IMAGE],
    "places": {
        "here": {"city": "Rome", "kind": "capital", "since": dt.date(1871, 2, 3), "twin": {"city": "Paris"}}
    },
    "mixed": "three",
}
RICH_INPUTS: Final[dict[str, object]] = {**_INPUTS, "history": HISTORY, "anything": [1, (2, "three")]}

_OUTPUTS: Final[dict[str, object]] = {
    "answer": "Rome",
    "thought": REASONING,
    "label": "a",
    "score": 0.5,
    "place": {"city": "Rome", "kind": "capital", "since": None, "twin": None},
    "when": dt.date(2026, 1, 2),
}


def rich_demos(values: Sequence[object], more: Mapping[str, object]) -> list[dict[str, object]]:
    """Demos of the rich signature.

    Args:
        values: For the field of the type `any`, a demo for each.
        more: Outputs that the module adds to the signature.
    """
    whole = [{**_INPUTS, "anything": value, **_OUTPUTS, **more} for value in values]
    return [*whole, {"question": "Why?", "augmented": True, "answer": "Because."}]


def rich_state(
    predictor: str, values: Sequence[object] = (ANYTHING, OBJECTS), **more: object
) -> dict[str, object]:
    """A state in which everything has been learned.

    Args:
        predictor: Its name.
        values: As for `rich_demos`.
        more: Outputs that the module puts before those of its signature, as the demos are to have them.
    """
    inputs, outputs = ([field["name"] for field in RICH_SIGNATURE[side]] for side in ("inputs", "outputs"))
    return {
        predictor: {
            "instructions": "Learned.\n\n- one\n  - indented",
            "fields": [
                {"prefix": f"{name.title()} is:", "description": f"the {name}"}
                for name in (*inputs, *more, *outputs)
            ],
            "demos": rich_demos(values, more),
            "train": [{"question": "What?", "answer": "That.", "weight": Decimal("0.5")}],
        }
    }
