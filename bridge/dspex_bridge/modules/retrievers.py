"""Retrievers: functions of the host that find passages for a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

import dspy

from dspex_protocol.errors import describe_value, error
from dspex_protocol.records import Doc, Length, Range, read

from ..host_functions import HostFunctions

SIGNATURE: Final = "query -> passages: list[str]"
"""What the module `Retrieve` takes and gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverDescription:
    """A retriever, as it stands in a spec."""

    function: Annotated[str, Length(1, 128), Doc("name of the host function")]
    timeout_s: Annotated[float, Range(0.001, 86_400), Doc("of one call")] | None = None


class HostRetriever:
    """A host function in the form that DSPy wants of its setting `rm`.

    The function gets `{query, k}` and answers with a list of texts, or of maps with `long_text`.
    """

    def __init__(self, description: RetrieverDescription, functions: HostFunctions) -> None:
        self.function = description.function
        self._timeout_s = description.timeout_s
        self._functions = functions

    def __deepcopy__(self, memo: dict[int, Any]) -> HostRetriever:
        return self  # nothing in it changes, and what it calls cannot be copied

    def __call__(self, query: str, k: int | None = None, **more: Any) -> list[dspy.Example]:
        """The passages; waits for them in this thread.

        Raises:
            DSPexError: what became of the call, or `function_failed` for no passages.
        """
        return self._functions.wait(self.function, lambda: self.passages(query, k, **more))

    async def passages(self, query: str, k: int | None = None, **more: Any) -> list[dspy.Example]:
        """The same, on the event loop."""
        found = await self._functions.acall(self.function, {"query": query, "k": k, **more}, self._timeout_s)
        if not isinstance(found, list):
            raise self._misfit("answer", "an array of passages", found)
        return [self._passage(passage, f"answer[{n}]") for n, passage in enumerate(found)]

    def _passage(self, passage: object, path: str) -> dspy.Example:
        told: Any = {"long_text": passage} if isinstance(passage, str) else passage
        if not isinstance(told, dict) or not isinstance(told.get("long_text"), str):
            raise self._misfit(path, "a string, or a map with a string long_text", passage)
        return dspy.Example(told)

    def _misfit(self, path: str, expected: str, got: object) -> Exception:
        told = {"field": path, "expected": expected, "got": describe_value(got)}
        return error(
            "function_failed",
            f"the host function {self.function} gave no passages: {path}: expected {expected},"
            f" got {told['got']}",
            details=told,
        )


class Retrieve(dspy.Module):
    """Passages that a function of the host finds for a query, by `dspy.Retrieve`.

    Args:
        function: The retriever.
        k: How many passages it is asked for.
    """

    def __init__(self, function: HostRetriever, k: int = 3) -> None:
        super().__init__()
        self.function = function
        self.retrieve = dspy.Retrieve(k=k)

    def forward(self, query: str, **_settings: Any) -> dspy.Prediction:
        """Retrieve in a thread, as DSPy does it; settings of a call are for language models."""
        with dspy.context(rm=self.function):
            found: Any = self.retrieve(query)
        return dspy.Prediction(passages=found.passages)

    async def aforward(self, query: str, **_settings: Any) -> dspy.Prediction:
        """The same on the event loop: DSPy's own has no async form."""
        found = await self.function.passages(query, self.retrieve.k)
        return dspy.Prediction(passages=[passage.long_text for passage in found])


def read_retriever(value: object, path: str, functions: HostFunctions) -> HostRetriever:
    """The retriever of a spec or of a call: a function's name, or a map with more.

    Raises:
        CallerError: `invalid_argument` or `unknown_function` naming the part.
    """
    given = {"function": value} if isinstance(value, str) else value
    description = read(RetrieverDescription, given, path)
    functions.require(description.function, path if isinstance(value, str) else f"{path}.function")
    return HostRetriever(description, functions)
