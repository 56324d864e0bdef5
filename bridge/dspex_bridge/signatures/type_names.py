"""The words of a signature's description: plain types, and which constraints each kind takes.

docs/protocol.md section 7.4 is the text; this knows nothing of DSPy.
"""

from __future__ import annotations

from typing import Final

NUMBERS: Final = ("int", "float", "decimal")
MOMENTS: Final = ("date", "datetime", "time")
DSPY_TYPES: Final = (
    *("image", "audio", "file", "history", "code", "reasoning"),
    *("document", "citations", "tool_calls"),
)

PLAIN_TYPES: Final = (
    *("str", "int", "float", "bool", "bytes"),
    *MOMENTS,
    *("duration", "uuid"),
    *("decimal", "any", "dict", "list"),
    *DSPY_TYPES,
)
"""Types that are one word, in the order in which they are listed to people."""

KINDS: Final = ("list", "map", "object", "union", "enum", "optional")
"""What a type that is a map may be, besides a plain type with constraints."""

NUMBER_CONSTRAINTS: Final = ("ge", "gt", "le", "lt", "multiple_of")
LENGTH_CONSTRAINTS: Final = ("min_length", "max_length")
CONSTRAINTS: Final = (*NUMBER_CONSTRAINTS, *LENGTH_CONSTRAINTS, "pattern")

FITTING: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(NUMBERS, NUMBER_CONSTRAINTS),
    "str": (*LENGTH_CONSTRAINTS, "pattern"),
    **dict.fromkeys(("bytes", "list", "dict", "map"), LENGTH_CONSTRAINTS),
}
"""Which constraints a type or kind takes; the others take none."""


def describe_types() -> list[dict[str, object]]:
    """The types of a signature's fields, for `system.describe`.

    Returns:
        Rows of `name`, `form` (`word` or `map`), `dspy` (a class of DSPy's own) and the
        `constraints` that it takes.
    """
    words = [(name, "word") for name in PLAIN_TYPES]
    maps = [(kind, "map") for kind in KINDS]
    return [
        {"name": name, "form": form, "dspy": name in DSPY_TYPES, "constraints": list(FITTING.get(name, ()))}
        for name, form in words + maps
    ]
