"""Functions of the host, called from within a call: by tools, by rewards, as language models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from dspex_protocol.errors import DSPexError, describe_value, error

from .values.incoming import from_wire

T = TypeVar("T")

HostCall: TypeAlias = Callable[[str, Mapping[str, object]], Awaitable[object]]
"""Calls a host function by name with its arguments."""

HostStream: TypeAlias = Callable[[str, Mapping[str, object]], AsyncGenerator[object]]
"""Does the same, and gives the pieces of the answer before a `Returned`; closing it ends the function."""

_END: Final = object()


@dataclass(frozen=True, slots=True)
class Returned:
    """What a host function returned, after its pieces."""

    value: object


class HostFunctions:
    """Those that the host offers.

    Args:
        call_host: How one is called; runs on `loop`, in the context of a call.
        loop: The worker's event loop.
        stream_host: How one is called that may answer in pieces; as `call_host`.
    """

    def __init__(
        self,
        call_host: HostCall | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        stream_host: HostStream | None = None,
    ) -> None:
        self._call_host = call_host
        self._loop = loop
        self._stream_host = stream_host
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
            raise _late(name, timeout_s) from None

    async def astream(
        self, name: str, args: Mapping[str, object], timeout_s: float | None = None
    ) -> AsyncGenerator[object]:
        """Call one that may answer in pieces; closing this ends it.

        Args:
            name: Of the function.
            args: Its arguments.
            timeout_s: How long it may take to each next piece.

        Returns:
            The pieces as they came over the wire, and then a `Returned`.

        Raises:
            DSPexError: as `acall`, also after pieces.
        """
        assert self._stream_host is not None
        async with aclosing(self._stream_host(name, args)) as pieces:
            while True:
                try:
                    async with asyncio.timeout(timeout_s):
                        piece = await anext(pieces, _END)
                except TimeoutError:
                    raise _late(name, timeout_s) from None
                if piece is _END:
                    return
                yield Returned(from_wire(piece.value, "answer")) if isinstance(piece, Returned) else piece

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

    def iterate(self, name: str, pieces: AsyncGenerator[T]) -> Generator[T]:
        """What one gives in pieces, in a thread that may wait for them.

        Raises:
            DSPexError: as `wait`.
        """
        try:
            while (piece := self.wait(name, lambda: _next(pieces))) is not None:
                yield piece
        finally:
            self.wait(name, lambda: _close(pieces))

    def _on_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


async def _next(pieces: AsyncGenerator[T]) -> T | None:
    """The next piece, or None at the end."""
    return await anext(pieces, None)


async def _close(pieces: AsyncGenerator[Any]) -> None:
    await pieces.aclose()


def _late(name: str, timeout_s: float | None) -> DSPexError:
    return error("function_timeout", f"the host function {name} did not answer in {timeout_s} s")
