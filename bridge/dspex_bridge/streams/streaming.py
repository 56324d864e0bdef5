"""Running a prediction so that its caller sees it grow: text, values, tools, and status.

DSPy sends what the LM streams to the object in its setting `send_stream`; that object is the
watcher, which reads the fields out of the pieces (`fieldtext`, `fieldvalues`) and puts items into
a mailbox, from which one task sends them as fast as the caller takes them. DSPy's `streamify`
does not serve: docs/streaming.md has what is wrong with it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Collection
from typing import Any, Final, Literal, TypeAlias

import anyio
import anyio.to_thread
import dspy

from ..adapters.classes import reader_of
from ..modules.running import runs_async
from ..worker.mailbox import Emit, Mailbox
from .watcher import Watcher, label

Event: TypeAlias = Literal["token", "status", "tool", "tool_arguments", "value"]
"""A kind of items. `tool_arguments` are tool events that have what the model gave to the tool."""

DEFAULT_EVENTS: Final[tuple[Event, ...]] = ("token", "status")


async def run_streaming(
    program: dspy.Module,
    inputs: dict[str, Any],
    emit: Emit,
    *,
    events: Collection[str] = DEFAULT_EVENTS,
    is_async: bool | None = None,
) -> dspy.Prediction:
    """Run a program and send items while it runs.

    Cancelling ends the LM's request as well.

    Args:
        program: Called with `acall`, or in a thread where it has no async form.
        inputs: Its keyword arguments.
        emit: Never called twice at once; all calls have ended when this returns.
        events: The kinds of items that are wanted, as `Event` has them.
        is_async: As `run_module`.

    Raises:
        DSPexError: `invalid_argument` for an adapter whose answers cannot be streamed.
        Exception: what the program or `emit` raised.
    """
    wanted = frozenset[str](events)
    # Where no field is wanted, the LM is not asked to stream.
    reader = None if wanted.isdisjoint(("token", "value")) else reader_of(dspy.settings.adapter)
    mailbox = Mailbox(asyncio.get_running_loop())
    watcher = Watcher(mailbox, reader, wanted)
    label(program)
    with dspy.context(
        send_stream=reader and watcher,
        stream_listeners=[],
        callbacks=[*dspy.settings.callbacks, watcher],
    ):
        producing = asyncio.ensure_future(run_in_stream(program, inputs, is_async=is_async))
    sending = asyncio.ensure_future(mailbox.deliver(emit))
    try:
        await asyncio.wait((producing, sending), return_when=asyncio.FIRST_COMPLETED)
        if not producing.done():
            await sending  # it ends before the mailbox is closed only by an exception
        prediction = producing.result()
        mailbox.close()
        await sending
        return prediction
    finally:
        mailbox.abandon()
        producing.cancel()
        sending.cancel()
        await asyncio.gather(producing, sending, return_exceptions=True)


async def run_in_stream(
    program: dspy.Module, inputs: dict[str, Any], *, is_async: bool | None = None
) -> dspy.Prediction:
    """Run a program, or a part of one, where what it streams is taken."""
    if runs_async(program) if is_async is None else is_async:
        return await program.acall(**inputs)
    # From a thread DSPy hands over what it streams by anyio, so it must be a thread of anyio's.
    # One by one: `dspy.asyncify` would let eight run at once, and those that wait for calls
    # within them would keep these from beginning.
    work = functools.partial(program, **inputs)
    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
