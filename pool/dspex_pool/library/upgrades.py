"""From the body of an older schema to today's, one step at a time.

A step is a function that takes the decoded body of schema N and returns that of N + 1; it must
never be changed once it has shipped. `tests/golden/library` has records of every schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

Body = dict[str, object]
Step = Callable[[Body], Body]

HEAD_SCHEMA: Final = 1
VERSION_SCHEMA: Final = 1
WRITE_SCHEMA: Final = 1

HEAD_STEPS: Final[Mapping[int, Step]] = {}
VERSION_STEPS: Final[Mapping[int, Step]] = {}
WRITE_STEPS: Final[Mapping[int, Step]] = {}


def upgrade(body: Body, schema: int, newest: int, steps: Mapping[int, Step]) -> Body:
    """A body in the form of the newest schema.

    Args:
        body: As it was decoded.
        schema: Its own, at most the newest.
        newest: What this DSPex writes.
        steps: By the schema that they start from, all from 1 to `newest` - 1.
    """
    for number in range(schema, newest):
        body = steps[number](body)
    return body
