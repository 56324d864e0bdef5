"""Functions of the host, called from within a call: by tools, by rewards, as language models."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

from dspex_protocol.errors import describe_value, error

from .values.incoming import from_wire

T = TypeVar("T")

HostCall: TypeAlias = Callable[[str, Mapping[str, object]], Awaitable[object]]
"""Calls a host function by name with its arguments."""


class HostFunctions:
    """Those that the host offers.

    Args:
        call_host: How one is called; runs on `loop`, in the context of a call.
        loop: The worker's event loop.
    """

    def __init__(
        self, call_host: HostCall | None = None, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._call_host = call_host
        self._loop = loop
        self._names: frozenset[str] = frozenset()

    def configure(self, names: Iterable[str]) -> None:
        """Replace the names of those that there are."""
        self._names = frozenset(names)

    def require(self, name: str, path: str, prefix: str = "") -> None:
        """See that the host offers a function.

        Args:
            name: Of the function.
            path: Where it stands, for messages.
            prefix: What stands before the name there, such as `host/`.

        Raises:
            CallerError: `unknown_function`, naming those that it offers.
        """
        if name in self._names:
            return
        known = ", ".join(prefix + offered for offered in sorted(self._names)) or "none"
        raise error(
            "unknown_function",
            f"{path}: the host offers no function {name[:128]!r}; its functions are: {known}",
            details={"field": path, "expected": f"one of: {known}", "got": describe_value(prefix + name)},
        )

    @property
    def names(self) -> frozenset[str]:
        """Those that the host offers now."""
        return self._names

    async def acall(self, name: str, args: Mapping[str, object], timeout_s: float | None = None) -> Any:
        """Call one; cancelling this cancels it.

        Returns:
            What it answered, with DSPy's types in it.

        Raises:
            DSPexError: what the function's FAIL said, or `function_timeout`.
        """
        assert self._call_host is not None
        try:
            async with asyncio.timeout(timeout_s):
                return from_wire(await self._call_host(name, args), "answer")
        except TimeoutError:
            raise error(
                "function_timeout", f"the host function {name} did not answer in {timeout_s} s"
            ) from None

    def call(self, name: str, args: Mapping[str, object], timeout_s: float | None = None) -> Any:
        """Call one from where DSPy happens to run a module.

        Returns:
            On the worker's event loop a coroutine; in a thread, which then waits, the result.
        """
        coroutine = self.acall(name, args, timeout_s)
        return coroutine if self._on_loop() else self._wait(coroutine)

    def wait(self, name: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of what calls one, in a thread that may wait for it.

        Raises:
            DSPexError: what `work` raises; `program_failed` on the event loop, which would never end.
        """
        if self._on_loop():
            raise error(
                "program_failed",
                f"the host function {name} was called without await on the event loop, and would never end",
            )
        return self._wait(work())

    def _on_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
