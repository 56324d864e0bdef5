"""Running a prediction so that its caller sees it grow: tokens of text fields, and status.

DSPy sends what the LM streams to the object in its setting `send_stream`; that object is
here, reads the fields out of the pieces (`fieldtext`), and puts items into a mailbox, from
which one task sends them as fast as the caller takes them. DSPy's `streamify` does not
serve: its status messages block the event loop until somebody reads, and its listeners
give other text than the prediction has.

When a predictor ends, the text that came is compared with the text that was parsed, and
what is missing follows: a field that could not be streamed comes whole.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

import anyio
import anyio.to_thread
import dspy
from dspy.utils.callback import BaseCallback

from dspex_protocol.errors import invalid_argument

from .fieldtext import ChatReader, FieldText, JSONReader, Reader, XMLReader
from .running import runs_async

Item: TypeAlias = dict[str, object]
"""What docs/protocol.md section 7.2 calls an item."""

Emit: TypeAlias = Callable[[Item], Awaitable[None]]
"""Sends an item; returns when there was credit for it."""

MAX_WAITING_CHARACTERS: Final = 65_536
"""Text that may wait for a slow caller; beyond it the LM's answer is not read on."""

MAX_WAITING_STATUS: Final = 256
"""Status items that may wait; later ones are dropped, since they only inform."""


async def run_streaming(
    program: dspy.Module, inputs: dict[str, Any], emit: Emit, *, is_async: bool | None = None
) -> dspy.Prediction:
    """Run a program and send items while it runs.

    Cancelling ends the LM's request as well. Of several completions the first is streamed.

    Args:
        program: Called with `acall`, or in a thread where it has no async form.
        inputs: Its keyword arguments.
        is_async: As `run_module`.
        emit: Never called twice at once; all calls have ended when this returns.

    Raises:
        DSPexError: `invalid_argument` for an adapter whose answers cannot be streamed.
        Exception: what the program or `emit` raised.
    """
    reader = _reader_of(dspy.settings.adapter)
    mailbox = _Mailbox(asyncio.get_running_loop())
    watcher = _Watcher(mailbox, reader, {id(part): name for name, part in program.named_predictors()})
    with dspy.context(
        send_stream=watcher, stream_listeners=[], callbacks=[*dspy.settings.callbacks, watcher]
    ):
        producing = asyncio.ensure_future(_run(program, inputs, is_async))
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
        producing.cancel()
        sending.cancel()
        await asyncio.gather(producing, sending, return_exceptions=True)


async def _run(program: dspy.Module, inputs: dict[str, Any], is_async: bool | None) -> dspy.Prediction:
    if runs_async(program) if is_async is None else is_async:
        return await program.acall(**inputs)
    # From a thread DSPy hands over what it streams by anyio, so it must be a thread of anyio's.
    # One by one: `dspy.asyncify` would let eight run at once, and those that wait for calls
    # within them would keep these from beginning.
    work = functools.partial(program, **inputs)
    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))


def _reader_of(adapter: object) -> type[ChatReader | JSONReader | XMLReader]:
    match adapter:
        case dspy.JSONAdapter():
            return JSONReader
        case dspy.XMLAdapter():
            return XMLReader
        case None | dspy.ChatAdapter():
            return ChatReader
        case _:
            raise invalid_argument(
                "adapter", "chat, json or xml, which can be streamed", type(adapter).__name__
            )


class _Mailbox:
    """Items that wait for the caller; touched on the event loop only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: deque[Item] = deque()
        self._open: dict[tuple[object, object], Item] = {}  # waiting tokens that more may join
        self._characters = 0
        self._status = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._closed = False

    def put_token(self, predictor: str, field: str, text: str, last: bool) -> None:
        """Add text; it joins what waits of the same field."""
        self._characters += len(text)
        key = (predictor, field)
        waiting: Item | None = self._open.get(key)
        if waiting is None:
            waiting = self._open[key] = _new_token(predictor, field)
            self._waiting.append(waiting)
        waiting["text"] = str(waiting["text"]) + text
        if last:
            waiting["last"] = True
            del self._open[key]
        self._filled.set()

    def put_status(self, item: Item) -> None:
        """Add a status item, if there is room."""
        if self._status < MAX_WAITING_STATUS:
            self._status += 1
            self._waiting.append(item)
            self._filled.set()

    async def room(self) -> None:
        """Wait until the caller has taken enough."""
        while self._characters > MAX_WAITING_CHARACTERS:
            self._emptied.clear()
            await self._emptied.wait()

    def close(self) -> None:
        """No more items come."""
        self._closed = True
        self._filled.set()

    async def deliver(self, emit: Emit) -> None:
        """Send everything, in order, until the mailbox is closed and empty."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                await emit(self._take())
            if self._closed:
                return

    def _take(self) -> Item:
        item = self._waiting.popleft()
        if item["type"] == "status":
            self._status -= 1
        else:
            self._open = {key: waiting for key, waiting in self._open.items() if waiting is not item}
            self._characters -= len(str(item["text"]))
            self._emptied.set()
        return item


def _new_token(predictor: str, field: str) -> Item:
    return {"type": "token", "field": field, "text": "", "predictor": predictor, "last": False}


class _Prediction:
    """One call of a predictor: what of its text fields has been sent."""

    __slots__ = ("name", "reader", "sent", "values")

    def __init__(self, name: str, fields: list[str], reader: Callable[[list[str]], Reader]) -> None:
        self.name = name
        self.reader: Reader | None = reader(fields)
        self.sent = dict.fromkeys(fields, "")
        self.values = set(fields)  # not complete yet


_prediction: ContextVar[_Prediction | None] = ContextVar("dspex_streamed_prediction", default=None)


class _Watcher(BaseCallback):
    """DSPy's callback and stream in one: everything that happens comes by here, in order."""

    def __init__(
        self, mailbox: _Mailbox, reader: Callable[[list[str]], Reader], names: dict[int, str]
    ) -> None:
        self._mailbox = mailbox
        self._reader = reader
        self._names = names
        self._running: dict[str, tuple[str, str, _Prediction | None, _Prediction | None]] = {}

    async def send(self, chunk: Any) -> None:
        """Take a piece of an LM's answer; waits while the caller is slow."""
        prediction = _prediction.get()
        if prediction is None or prediction.reader is None:
            return
        choice = chunk.choices[0]
        if choice.delta.content:
            self._pass_on(prediction, prediction.reader.feed(choice.delta.content))
        if choice.finish_reason:
            self._pass_on(prediction, prediction.reader.close())
            prediction.reader = None
        await self._mailbox.room()

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """A module begins; if it is a predictor, its fields may be streamed."""
        name = self._names.get(id(instance)) or type(instance).__name__
        prediction = None
        if isinstance(instance, dspy.Predict):
            fields = _text_fields(instance.signature)
            prediction = _Prediction(name, fields, self._reader)
        self._begin(call_id, "module", name, prediction)
        if prediction is not None:
            _prediction.set(prediction)

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """A module has ended; what of a predictor's text was not sent follows."""
        _, _, prediction, outer = self._running[call_id]
        if prediction is not None:
            _prediction.set(outer)
            if exception is None:
                self._complete(prediction, outputs)
        self._end(call_id)

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """A request to an LM begins."""
        self._begin(call_id, "lm", str(instance.model))

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """A request to an LM has ended."""
        self._end(call_id)

    def on_tool_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """A tool is called."""
        self._begin(call_id, "tool", str(instance.name))

    def on_tool_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """A tool has ended."""
        self._end(call_id)

    def _begin(self, call_id: str, stage: str, name: str, prediction: _Prediction | None = None) -> None:
        self._running[call_id] = (stage, name, prediction, _prediction.get())
        self._status(stage, "start", name)

    def _end(self, call_id: str) -> None:
        stage, name, _, _ = self._running.pop(call_id)
        self._status(stage, "end", name)

    def _status(self, stage: str, event: str, name: str) -> None:
        item: Item = {
            "type": "status",
            "message": f"{stage} {name} {'started' if event == 'start' else 'ended'}",
            "stage": stage,
            "event": event,
            "name": name,
        }
        self._on_loop(self._mailbox.put_status, item)

    def _complete(self, prediction: _Prediction, outputs: Any) -> None:
        """Send what is missing of the fields' final text."""
        for field in list(prediction.sent):
            if field not in prediction.values:
                continue
            final = getattr(outputs, field, None)
            text = str(getattr(final, "content", final)) if final is not None else ""
            sent = prediction.sent[field]
            # Where they differ (a text mended by the parser), the REPLY is what counts.
            rest = text[len(sent) :] if text.startswith(sent) else ""
            self._pass_on(prediction, [FieldText(field, rest, True)])

    def _pass_on(self, prediction: _Prediction, texts: list[FieldText]) -> None:
        for field, text, last in texts:
            prediction.sent[field] += text
            if last:
                prediction.values.discard(field)
            if text or last:
                self._on_loop(self._mailbox.put_token, prediction.name, field, text, last)

    def _on_loop(self, put: Callable[..., None], *arguments: object) -> None:
        """Programs without an async form run in threads, and so do their callbacks."""
        try:
            on_loop = asyncio.get_running_loop() is self._mailbox.loop
        except RuntimeError:
            on_loop = False
        if on_loop:
            put(*arguments)
        else:
            self._mailbox.loop.call_soon_threadsafe(put, *arguments)


def _text_fields(signature: Any) -> list[str]:
    """The output fields whose values are text, in order."""
    outputs: dict[str, Any] = signature.output_fields
    return [name for name, info in outputs.items() if info.annotation in (str, dspy.Reasoning)]
