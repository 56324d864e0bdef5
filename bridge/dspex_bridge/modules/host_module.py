"""A module whose `forward` is a function of the host, which may call parts of the module by name.

The parts are modules of DSPy's in this worker: their predictors are the module's own, with names,
demos and instructions, so that an optimizer can tune a program whose control flow is the host's.
The host calls one by `part.predict` from within its function; that goes to the worker where the
module runs, and runs with the settings that hold there: language models, trace, stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Protocol

import dspy

from dspex_protocol.errors import DSPexError, describe_value, error
from dspex_protocol.records import Doc, Length, Range, read

from ..host_functions import HostFunctions
from ..refusals import refusal
from ..signatures.signatures import demo_checks
from ..values.outgoing import to_wire
from .rewards import CALL_SETTINGS

MAX_PARTS: Final = 64


class PartOf(Protocol):
    """What is needed of a part."""

    @property
    def module(self) -> dspy.Module:
        """What runs."""
        ...

    @property
    def signature(self) -> type[dspy.Signature]:
        """What it takes and gives."""
        ...


@dataclass(frozen=True, slots=True)
class Running:
    """A module of the host's while its function runs.

    Attributes:
        module: Whose parts may be called.
        settings: Of this call, that its parts are to have too.
    """

    module: Host | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


running: Final[ContextVar[Running]] = ContextVar("dspex_host_module")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardDescription:
    """A `forward`, as it stands in a spec."""

    function: Annotated[str, Length(1, 128), Doc("name of the host function")]
    timeout_s: Annotated[float, Range(0.001, 86_400), Doc("of one call")] | None = None


class HostForward:
    """A host function that takes a module's inputs and gives its outputs."""

    def __init__(self, description: ForwardDescription, functions: HostFunctions) -> None:
        self.function = description.function
        self._timeout_s = description.timeout_s
        self.functions = functions

    def __deepcopy__(self, memo: dict[int, Any]) -> HostForward:
        return self  # nothing in it changes, and what it calls cannot be copied

    async def outputs(self, signature: type[dspy.Signature], inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What the function gives, checked against the signature.

        Raises:
            DSPexError: what became of the call, or `function_failed` naming the output.
        """
        given = {name: to_wire(value) for name, value in inputs.items()}
        answer = await self.functions.acall(self.function, given, self._timeout_s)
        if isinstance(answer, dspy.Prediction):
            answer = dict(answer.items())
        if not isinstance(answer, dict):
            raise self._misfit("answer", "a map of output field to value", describe_value(answer))
        return self._checked(signature, answer)

    def _checked(self, signature: type[dspy.Signature], answer: dict[str, Any]) -> dict[str, Any]:
        fields: dict[str, Any] = signature.output_fields
        for name in answer:
            if name not in fields:
                known = f"one of the fields {', '.join(fields)}"
                raise self._misfit("answer", known, f"unknown field {str(name)[:128]!r}")
        checks = demo_checks(signature, signature)
        outputs: dict[str, Any] = {}
        for name, info in fields.items():
            if name in answer:
                outputs[name] = self._converted(checks[name], name, answer[name])
            elif info.is_required():
                raise self._misfit(f"answer.{name}", "a value", "nothing")
            else:
                outputs[name] = info.get_default(call_default_factory=True)
        return outputs

    def _converted(self, check: Any, name: str, value: object) -> object:
        try:
            return check.convert(value, f"answer.{name}")
        except DSPexError as refused:
            told = {key: str(refused.details.get(key)) for key in ("field", "expected", "got")}
            raise self._misfit(told["field"], told["expected"], told["got"]) from None

    def _misfit(self, path: str, expected: str, got: str) -> DSPexError:
        return error(
            "function_failed",
            f"the host function {self.function} gave no outputs: {path}: expected {expected}, got {got}",
            details={"field": path, "expected": expected, "got": got},
        )


class Host(dspy.Module):
    """Runs a function of the host as `forward`; it may call parts by name.

    Args:
        signature: What it takes and gives.
        forward: The function.
        parts: Modules that it may call; each is an attribute of that name, as in a module of DSPy's.
    """

    def __init__(
        self,
        signature: type[dspy.Signature],
        forward: HostForward,
        parts: Mapping[str, PartOf] | None = None,
    ) -> None:
        super().__init__()
        self.signature = signature
        self.host_forward = forward
        self.part_signatures = {name: part.signature for name, part in (parts or {}).items()}
        for name, part in (parts or {}).items():
            setattr(self, name, part.module)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Call the function from a thread, and wait for it."""
        forward = self.host_forward
        return forward.functions.wait(forward.function, lambda: self.aforward(**inputs))

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """Call the function."""
        settings = {name: value for name, value in inputs.items() if name in CALL_SETTINGS}
        fields = {name: value for name, value in inputs.items() if name not in CALL_SETTINGS}
        token = running.set(Running(self, settings))
        try:
            return dspy.Prediction(**await self.host_forward.outputs(self.signature, fields))
        finally:
            running.reset(token)

    def part(self, name: str) -> tuple[dspy.Module, type[dspy.Signature]]:
        """One of its parts, and what that takes and gives.

        Raises:
            CallerError: `invalid_argument`, naming those that there are.
        """
        signature = self.part_signatures.get(name)
        if signature is None:
            known = ", ".join(self.part_signatures) or "none"
            raise refusal("part", f"one of the parts: {known}", describe_value(name))
        return getattr(self, name), signature


TAKEN_NAMES: Final = frozenset(
    (*dir(Host), *vars(dspy.Module()), "signature", "host_forward", "part_signatures")
)
"""Names that a part cannot have."""


def read_forward(value: object, path: str, functions: HostFunctions) -> HostForward:
    """The `forward` of a spec: a function's name, or a map with more.

    Raises:
        CallerError: `invalid_argument` or `unknown_function` naming the part.
    """
    given = {"function": value} if isinstance(value, str) else value
    description = read(ForwardDescription, given, path)
    functions.require(description.function, path if isinstance(value, str) else f"{path}.function")
    return HostForward(description, functions)
