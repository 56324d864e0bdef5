"""Pipelines: modules whose fields feed one another, as one module of DSPy.

The nodes are attributes of the module by their names, as in a class that is written by hand, so
that predictors are called the same, and states of one fit the other.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import anyio
import anyio.to_thread
import dspy
import pydantic

from dspex_protocol.errors import error

from ..failures import NodeFailed
from ..signatures.annotations import refused_by
from ..signatures.signatures import check_outputs
from .nodes import Nodes, Wires
from .plans import Feed, Source, Step, plan

MAX_THREADS: Final = 8
"""Of one call, for nodes that have no async form. None of them waits for another one's thread."""

Values = Mapping[Source, Any]


class Pipeline(dspy.Module):
    """Runs modules whose outputs feed one another; those that need nothing of each other, at once.

    Args:
        signature: Of the whole.
        nodes: The modules, by name.
        wires: Node to input to what feeds it, where that is not what has the same name.
        outputs: Likewise of the outputs.

    Raises:
        CallerError: `invalid_argument`, as `plans.plan`.
    """

    minds_threads: ClassVar = True
    """Nodes that have no async form are run in threads by `aforward` itself."""

    def __init__(
        self,
        signature: type[dspy.Signature],
        nodes: Nodes,
        wires: Wires | None = None,
        outputs: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__()
        self.plan = plan(signature, nodes, wires or {}, outputs or {})
        for step in self.plan.steps:
            setattr(self, step.name, nodes.parts[step.name].module)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Run the nodes one after the other, always in the same order."""
        values, extras = self._begin(inputs)
        for step in self.plan.steps:
            with _told(step.name):
                module = getattr(self, step.name)
                values |= _given_by(step, module(**_inputs_of(step, values), **extras))
        return self._result(values)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """Run each node as soon as what it needs is there. When one fails the others are cancelled."""
        values, extras = self._begin(inputs)
        threads = anyio.CapacityLimiter(MAX_THREADS)
        waiting = dict.fromkeys(self.plan.steps)
        running: dict[asyncio.Task[dict[Source, Any]], Step] = {}
        ended = set[str]()
        try:
            while waiting or running:
                for step in [step for step in waiting if step.needs <= ended]:
                    del waiting[step]
                    work = self._run(step, values, extras, threads)
                    running[asyncio.ensure_future(work)] = step
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in running if task.done()]:
                    ended.add(running.pop(task).name)
                    values |= task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return self._result(values)

    # What it tells of itself

    def graph_feeds(self) -> Iterator[tuple[dspy.Module, dspy.Module, str]]:
        """What feeds what, for a drawing: giver, taker, and the giver's field."""
        for step in self.plan.steps:
            yield from self._feeds(step.feeds, getattr(self, step.name))
        yield from self._feeds(self.plan.outputs, self)

    def _feeds(
        self, feeds: tuple[Feed, ...], taker: dspy.Module
    ) -> Iterator[tuple[dspy.Module, dspy.Module, str]]:
        for source in (feed.source for feed in feeds if feed.source is not None):
            yield self if source.node is None else getattr(self, source.node), taker, source.name

    def dump_memory(self) -> dict[str, object] | None:
        """What nodes keep beside their predictors, by name; None where none does."""
        keeping = [step.name for step in self.plan.steps if hasattr(getattr(self, step.name), "dump_memory")]
        kept = {name: getattr(self, name).dump_memory() for name in keeping}
        return {name: memory for name, memory in kept.items() if memory is not None} or None

    def load_memory(self, memory: Mapping[str, object]) -> None:
        """Give nodes back what they kept."""
        for name, kept in memory.items():
            getattr(self, name).load_memory(kept)

    async def _run(
        self, step: Step, values: Values, extras: Mapping[str, Any], threads: anyio.CapacityLimiter
    ) -> dict[Source, Any]:
        with _told(step.name):
            module: Any = getattr(self, step.name)
            inputs = {**_inputs_of(step, values), **extras}
            if step.is_async:
                return _given_by(step, await module.acall(**inputs))
            # One of anyio's threads, by which DSPy hands over what it streams; see `streaming`.
            work = functools.partial(module, **inputs)
            return _given_by(
                step, await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=threads)
            )

    def _begin(self, inputs: Mapping[str, Any]) -> tuple[dict[Source, Any], dict[str, Any]]:
        """The inputs as sources, those that have a default among them, and what goes to every node."""
        fields: dict[str, Any] = self.plan.signature.input_fields
        unknown = inputs.keys() - fields.keys() - {"config"}
        if unknown:
            raise TypeError(f"the pipeline has no inputs {', '.join(sorted(unknown))}")
        defaults = {name: field.get_default() for name, field in fields.items() if not field.is_required()}
        given = {name: value for name, value in inputs.items() if name in fields}
        extras = {"config": inputs["config"]} if "config" in inputs else {}
        return {Source(None, name): value for name, value in {**defaults, **given}.items()}, extras

    def _result(self, values: Values) -> dspy.Prediction:
        return dspy.Prediction(**{feed.field: _fed(feed, values) for feed in self.plan.outputs})


@contextmanager
def _told(node: str) -> Generator[None]:
    """Have the errors of a node say which it was."""
    try:
        yield
    except Exception as cause:
        raise NodeFailed(node) from cause


def _inputs_of(step: Step, values: Values) -> dict[str, Any]:
    # What is not there is an optional input that the call did not give; the node may do without it.
    given = (feed for feed in step.feeds if feed.source is None or feed.source in values)
    return {feed.field: _fed(feed, values) for feed in given}


def _given_by(step: Step, prediction: Any) -> dict[Source, Any]:
    """What a node's prediction has for others."""
    if prediction is None:  # of BestOfN and Refine, when each attempt has raised
        raise error("prediction_failed", "no attempt gave a prediction")
    outputs: dict[str, Any] = dict(prediction.items())
    check_outputs(step.signature, outputs)
    absent = [name for name in step.gives if name not in outputs]
    if absent:
        raise error(
            "prediction_failed", f"the prediction lacks: {', '.join(absent)}", details={"missing": absent}
        )
    return {Source(step.name, name): outputs[name] for name in step.gives}


def _fed(feed: Feed, values: Values) -> Any:
    """The value of a field, made into what that field holds."""
    if feed.source is None:
        return feed.constant
    value = values[feed.source]
    if feed.check is None:
        return value
    try:
        return feed.check.adapter.validate_python(_plain(value))
    except pydantic.ValidationError as failure:
        expected = refused_by(failure, feed.field).details["expected"]
        raise error(
            "prediction_failed",
            f"the value of {feed.source} does not fit {feed.field}: expected {expected}",
            details={"field": feed.field, "source": str(feed.source), "expected": expected},
        ) from None


def _plain(value: Any) -> Any:
    """Objects as maps: each signature has classes of its own for them."""
    match value:
        case dspy.Type() | dspy.History():
            return value
        case pydantic.BaseModel():
            return {name: _plain(member) for name, member in value.__dict__.items()}
        case list():
            return [_plain(member) for member in value]  # pyright: ignore[reportUnknownVariableType]
        case dict():
            return {name: _plain(member) for name, member in value.items()}  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value
