"""What happens in a prediction that is streamed: DSPy's callbacks and its LMs' pieces, as items.

When a predictor ends, the text that came is compared with the text that was parsed, and what is
missing follows: a field that could not be streamed comes whole.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import dspy
from dspy.utils.callback import BaseCallback

from dspex_protocol import DSPexError

from ..failures import to_failure
from ..lms.conversation import wanted_call
from ..lms.growing_calls import GrowingCalls
from ..values.outgoing import to_wire
from ..worker.mailbox import Item, Mailbox, part_of
from .fieldtext import FieldText, JSONReader, Reader
from .fieldvalues import AnswerValues, FieldValue, SectionValues

ReaderClass: TypeAlias = Callable[[list[str]], Reader]

LABEL: Final = "_dspex_path"
"""Attribute with the name of a predictor in its program: copies of it have it too."""

TEXT_TYPES: Final = (str, dspy.Reasoning)
"""Types of output fields that come as tokens; the others come as values."""


def begin_again() -> None:
    """Say in a stream that the predictor at hand is asked again: what was sent of its run is void."""
    for callback in dspy.settings.callbacks:
        if isinstance(callback, Watcher):
            callback.begin_again()


def label(program: dspy.Module) -> None:
    """Give a program's predictors their names, also for the copies that some of DSPy's modules run."""
    for name, predictor in program.named_predictors():
        setattr(predictor, LABEL, name)


@dataclass(slots=True)
class _Completion:
    """One of the answers of a run: what of its fields has been sent."""

    number: int
    sent: dict[str, str]
    open: set[str]  # text fields that are not complete
    reader: Reader | None = None
    sections: SectionValues | None = None
    answer: AnswerValues | None = None
    calls: GrowingCalls = field(default_factory=GrowingCalls)
    called: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    values: dict[str, object] = field(default_factory=dict[str, object])
    fed: int = 0  # characters since the last value
    ended: bool = False


@dataclass(slots=True)
class _Run:
    """One run of a predictor."""

    name: str | None
    texts: list[str]
    types: Mapping[str, Any]
    number: int = 0
    completions: list[_Completion] = field(default_factory=list[_Completion])

    @property
    def calls_field(self) -> str | None:
        """The field with the calls that a model wants, where its type is just that."""
        return next((name for name, kind in self.types.items() if kind is dspy.ToolCalls), None)


_run: ContextVar[_Run | None] = ContextVar("dspex_streamed_run", default=None)


class Watcher(BaseCallback):
    """DSPy's callback and stream in one: everything that happens comes by here, in order.

    Args:
        mailbox: Where items go.
        reader: How the adapter's answers are read; None where no field is wanted.
        wanted: Kinds of items.
    """

    def __init__(self, mailbox: Mailbox, reader: ReaderClass | None, wanted: frozenset[str]) -> None:
        self._mailbox = mailbox
        self._reader = reader
        self._wanted = wanted
        self._runs: Counter[str | None] = Counter()
        self._tools: dict[str, int] = {}
        self._tool_numbers = itertools.count(1)
        self._running: dict[str, tuple[str, str, _Run | None, _Run | None]] = {}

    async def send(self, chunk: Any) -> None:
        """Take a piece of an LM's answer; waits while the caller is slow.

        Raises:
            HaltedError: when there is no caller any more.
        """
        self._mailbox.refuse()
        run = _run.get()
        if run is None or self._reader is None:
            return
        choice = chunk.choices[0]
        completion = self._completion(run, choice.index)
        if choice.delta.content:
            self._feed(run, completion, choice.delta.content)
        self._take_calls(run, completion, completion.calls.feed(getattr(choice.delta, "tool_calls", None)))
        if choice.finish_reason:
            completion.ended = True
            assert completion.reader is not None
            self._pass_on(run, completion, completion.reader.close())
            self._take_calls(run, completion, completion.calls.close())
        await self._mailbox.room()

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """A module begins; if it is a predictor, its fields may be streamed."""
        run = self._new_run(instance) if isinstance(instance, dspy.Predict) else None
        name = (run and run.name) or type(instance).__name__
        self._begin(call_id, "module", name, run)
        if run is not None:
            _run.set(run)

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """A module has ended; what of a predictor's fields was not sent follows."""
        _, _, run, outer = self._running[call_id]
        if run is not None:
            _run.set(outer)
            if exception is None:
                self._complete(run, outputs)
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
        number = self._tools[call_id] = next(self._tool_numbers)
        more: Item = {"arguments": _arguments(inputs)} if "tool_arguments" in self._wanted else {}
        self._tool("start", str(instance.name), number, more)

    def on_tool_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """A tool has ended."""
        name = self._running[call_id][1]
        self._tool("end", name, self._tools.pop(call_id), _outcome(exception))
        self._end(call_id)

    def begin_again(self) -> None:
        """The predictor at hand is asked again, which is another run of it."""
        run = _run.get()
        if run is None:
            return
        name = run.name or dspy.Predict.__name__
        if "status" in self._wanted:
            item = _status("module", "retry", name, f"module {name} is asked again")
            self._on_loop(self._mailbox.put_retry, {**item, "run": run.number})
        self._start(run)

    def _begin(self, call_id: str, stage: str, name: str, run: _Run | None = None) -> None:
        self._running[call_id] = (stage, name, run, _run.get())
        self._status(stage, "start", name)

    def _end(self, call_id: str) -> None:
        stage, name, _, _ = self._running.pop(call_id)
        self._status(stage, "end", name)

    def _status(self, stage: str, event: str, name: str) -> None:
        if "status" not in self._wanted:
            return
        message = f"{stage} {name} {'started' if event == 'start' else 'ended'}"
        self._on_loop(self._mailbox.put_status, _status(stage, event, name, message))

    def _tool(self, event: str, name: str, number: int, more: Item) -> None:
        if not self._wanted.isdisjoint(("tool", "tool_arguments")):
            item: Item = {"type": "tool", "event": event, "name": name, "call": number, **more}
            self._on_loop(self._mailbox.put_event, item, len(str(more)))

    def _new_run(self, predictor: Any) -> _Run:
        name: str | None = getattr(predictor, LABEL, None)
        outputs: dict[str, Any] = predictor.signature.output_fields
        typed = {key: info.annotation for key, info in outputs.items() if info.annotation not in TEXT_TYPES}
        texts = [key for key in outputs if key not in typed] if "token" in self._wanted else []
        run = _Run(name, texts, typed if "value" in self._wanted else {})
        self._start(run)
        return run

    def _start(self, run: _Run) -> None:
        """Nothing of it has been sent."""
        self._runs[run.name] += 1
        run.number = self._runs[run.name]
        run.completions = []

    def _completion(self, run: _Run, index: int) -> _Completion:
        """LiteLLM numbers the answers of a request; of DSPy's own client each is a request, and the first."""
        while index < len(run.completions) and run.completions[index].ended:
            index += 1
        while index >= len(run.completions):
            run.completions.append(self._new_completion(run))
        return run.completions[index]

    def _new_completion(self, run: _Run) -> _Completion:
        texts = run.texts
        completion = _Completion(len(run.completions), dict.fromkeys(texts, ""), set(texts))
        if self._reader is not None:
            in_one = self._reader is JSONReader
            completion.reader = self._reader([*texts, *(() if in_one else run.types)])
            if run.types and in_one:
                completion.answer = AnswerValues(run.types)
            elif run.types:
                completion.sections = SectionValues(run.types)
        return completion

    def _feed(self, run: _Run, completion: _Completion, piece: str) -> None:
        assert completion.reader is not None
        completion.fed += len(piece)
        self._pass_on(run, completion, completion.reader.feed(piece))
        if completion.answer is not None:
            self._give_values(run, completion, completion.answer.feed(piece))

    def _take_calls(self, run: _Run, completion: _Completion, calls: list[dict[str, Any]]) -> None:
        """Calls by the provider's own means: the value of a field, though no text has it."""
        name = run.calls_field
        if name is None:
            return
        for call in calls:
            completion.called.append(wanted_call(call))
            completion.fed += len(call["function"]["arguments"])
            value = dspy.ToolCalls.from_dict_list(completion.called)
            self._give_value(run, completion, FieldValue(name, value), last=False)

    def _complete(self, run: _Run, outputs: Any) -> None:
        """Send what is missing of the fields' final text, and the final values."""
        for number in range(len(getattr(outputs, "completions", None) or [outputs])):
            if number == len(run.completions):
                run.completions.append(self._new_completion(run))
            self._finish(run, run.completions[number], outputs)

    def _finish(self, run: _Run, completion: _Completion, outputs: Any) -> None:
        for name in [name for name in run.texts if name in completion.open]:
            final = _final(outputs, completion.number, name)
            text = str(getattr(final, "content", final)) if final is not None else ""
            sent = completion.sent[name]
            # Where they differ (a text mended by the parser), the REPLY is what counts.
            rest = text[len(sent) :] if text.startswith(sent) else ""
            self._pass_on(run, completion, [FieldText(name, rest, True)])
        for name in run.types:
            final = FieldValue(name, _final(outputs, completion.number, name))
            self._give_value(run, completion, final, last=True)

    def _pass_on(self, run: _Run, completion: _Completion, texts: list[FieldText]) -> None:
        for part in texts:
            if part.field in run.types:
                assert completion.sections is not None
                self._give_values(run, completion, completion.sections.feed(part))
                continue
            completion.sent[part.field] += part.text
            if part.last:
                completion.open.discard(part.field)
            if part.text or part.last:
                item = _item("token", run, completion, part.field, part.last, text=part.text)
                self._on_loop(self._mailbox.put_token, item)

    def _give_values(self, run: _Run, completion: _Completion, values: list[FieldValue]) -> None:
        for value in values:
            self._give_value(run, completion, value, last=False)

    def _give_value(self, run: _Run, completion: _Completion, given: FieldValue, *, last: bool) -> None:
        try:
            value = to_wire(given.value)
        except DSPexError:  # the REPLY will say so
            return
        if last or given.field not in completion.values or completion.values[given.field] != value:
            completion.values[given.field] = value
            item = _item("value", run, completion, given.field, last, value=value)
            self._on_loop(self._mailbox.put_value, item, completion.fed)
            completion.fed = 0

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


def _status(stage: str, event: str, name: str, message: str) -> Item:
    return {"type": "status", "message": message, "stage": stage, "event": event, "name": name}


def _item(kind: str, run: _Run, completion: _Completion, name: str, last: bool, **content: object) -> Item:
    where = {"field": name, "predictor": run.name, "run": run.number, **part_of(completion.number)}
    return {"type": kind, **where, **content, "last": last}


def _final(outputs: Any, completion: int, name: str) -> Any:
    """What a field has in the end."""
    if completion == 0:
        return getattr(outputs, name, None)
    values: Any = dict(outputs.completions.items()).get(name, ())
    return values[completion] if completion < len(values) else None


def _arguments(inputs: Mapping[str, Any]) -> object:
    """What the model gave to a tool; None where that has no form on the wire."""
    try:
        return to_wire(inputs.get("kwargs", inputs))
    except DSPexError:
        return None


def _outcome(exception: BaseException | None) -> Item:
    if exception is None:
        return {"outcome": "ok"}
    if isinstance(exception, asyncio.CancelledError):
        return {"outcome": "cancelled"}
    return {"outcome": "error", "code": to_failure(exception).code}
