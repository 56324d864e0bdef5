"""DSPy's Flex, whose implementation is source code: what of it is state, and what may be.

Source is text to a worker. DSPy parses it there, to find the name of its class, and gives it to the
interpreter of a call; nothing of it is compiled, imported or run in the worker. What it builds and
calls from within the sandbox is held to what `sandboxed.check_sub_agent` allows.
"""

from __future__ import annotations

import ast
import warnings
from typing import Any, Final

import dspy
from dspy.primitives.code_interpreter import CodeInterpreterError

from ..refusals import refusal

MAX_SOURCE_BYTES: Final = 65_536
"""Far more than GEPA writes, and parsed in a few milliseconds."""

_EXPECTED: Final = "Python source with a class that has a method forward"


_FLEX: Final[Any] = dspy.Flex  # its decorator hides from checkers that it is a class


class Flex(_FLEX):
    """A module whose implementation is source code, which runs in the sandbox and may be learned."""

    def forward(self, config: dict[str, Any] | None = None, **inputs: Any) -> Any:
        """As DSPy's; settings of the call hold for every model that the source asks."""
        if not config:
            return super().forward(**inputs)
        lm: Any = self.lm or dspy.settings.lm
        with dspy.context(lm=lm.copy(**config)):
            return self._bridge.forward(inputs)


def keeps_source(part: object) -> bool:
    """Whether what a part of a module learns is source code."""
    return isinstance(part, _FLEX)


def check_source(source: str, path: str) -> str:
    """See that source is some that a Flex can be given; not what it does.

    Raises:
        CallerError: `invalid_argument`, without a word of the source.
    """
    if len(source.encode(errors="surrogatepass")) > MAX_SOURCE_BYTES:
        raise refusal(path, f"source of at most {MAX_SOURCE_BYTES} bytes", "more")
    try:
        source.encode()
        with warnings.catch_warnings(action="ignore"):  # they would show its lines
            classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    except SyntaxError as reason:
        raise refusal(path, _EXPECTED, f"source with a mistake in line {reason.lineno}") from None
    except (ValueError, RecursionError, MemoryError):  # null bytes, surrogates, too much nesting
        raise refusal(path, _EXPECTED, "text that Python cannot parse") from None
    if not any(_has_forward(found) for found in classes):
        raise refusal(path, _EXPECTED, "source without one")
    return source


def bind_source(part: Any, source: str, path: str) -> None:
    """Give a Flex its implementation; it is run at calls only.

    Raises:
        CallerError: as `check_source`.
    """
    lm = part.lm
    try:
        part.load_state({"module_src": check_source(source, path)})
    except CodeInterpreterError:
        raise refusal(path, _EXPECTED, "source that DSPy does not take") from None
    part.lm = lm


def _has_forward(found: ast.ClassDef) -> bool:
    return any(isinstance(member, ast.FunctionDef) and member.name == "forward" for member in found.body)
