"""Module classes: what stands in a spec's place for each, and how a call treats it.

All public module classes of the installed DSPy are found, and their options read from their
constructors (`options`), so a module of a newer DSPy needs no line here while its arguments are
plain or have names that DSPy uses already. What a constructor does not tell stands in the tables
below.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import dspy

from ..code.code_act import CodeAct
from ..code.flex import Flex
from ..pipelines.pipeline import Pipeline
from .completions import read_completions
from .ensemble import Ensemble
from .host_module import Host
from .knn import KNN
from .majority import Majority
from .nearest_demos import KNNFewShot
from .options import Option, arguments_of, options_of
from .retrievers import SIGNATURE, Retrieve


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleClass:
    """A class that programs can be built of.

    Attributes:
        name: In a spec.
        make: The class; its constructor takes a signature class, unless it has that of its part,
            and the options by name.
        options: Arguments by name. `config` is spread, as DSPy's constructors take it.
        taken_inputs: Names that its signature's inputs cannot have.
        call_inputs: Inputs of a call that are not in its signature, with what reads each:
            `(value, module, path) -> input`.
        keeps_state: Calls change it. Each call then works on a copy of its own, and a session
            keeps what its turns have made of it. If it has `dump_memory() -> object` and
            `load_memory(value)`, that value is kept beside the state of its predictors.
        wants_trace: It reads and extends DSPy's trace of the call.
        signature: What all of its kind take and give, where they have that in common.
        own_outputs: Types of fields that its predictions have beside those of its signature.
        gives: Outputs that it has in place of its signature's, with their types.
    """

    name: str
    make: Callable[..., dspy.Module]
    options: Mapping[str, Option] = field(default_factory=dict[str, Option])
    taken_inputs: frozenset[str] = frozenset()
    call_inputs: Mapping[str, Callable[[object, Any, str], object]] = field(
        default_factory=dict[str, Callable[[object, Any, str], object]]
    )
    keeps_state: bool = True
    wants_trace: bool = False
    signature: str | None = None
    own_outputs: Mapping[str, object] = field(default_factory=dict[str, object])
    gives: Mapping[str, object] = field(default_factory=dict[str, object])

    @property
    def takes_signature(self) -> bool:
        """Whether it is built with a signature of its own; else it has that of its part or its kind."""
        if self.signature is not None:
            return False
        return "module" not in self.options or "signature" in arguments_of(self.make)


_TAKEN: Final[Mapping[str, frozenset[str]]] = {
    "ChainOfThought": frozenset({"reasoning"}),
    "ReAct": frozenset({"trajectory", "max_iters", "next_thought", "next_tool_name", "next_tool_args"}),
    "ReActV2": frozenset({"max_iters"}),
    "MultiChainComparison": frozenset({"completions", "rationale"}),
    "ProgramOfThought": frozenset(
        {"previous_code", "error", "generated_code", "final_generated_code", "code_output", "reasoning"}
    ),
    "Flex": frozenset({"config"}),
    "CodeAct": frozenset({"trajectory", "max_iters", "generated_code", "finished", "reasoning"}),
}
"""Inputs that a module's own fields or keywords would hide."""

_CALL_INPUTS: Final[Mapping[str, Mapping[str, Callable[[object, Any, str], object]]]] = {
    "MultiChainComparison": {"completions": read_completions}
}
"""What a module takes at a call beside its signature's inputs."""

_OWN_OUTPUTS: Final[Mapping[str, Mapping[str, object]]] = {
    "ChainOfThought": {"reasoning": "str"},
    "ReAct": {"reasoning": "str", "trajectory": "dict"},
    "MultiChainComparison": {"rationale": "str"},
}
"""What predictions have beside a signature's outputs, for other nodes of a pipeline."""

_SIGNATURES: Final[Mapping[str, str]] = {"Retrieve": SIGNATURE}
"""Of modules that are all of one kind."""

_GIVES: Final[Mapping[str, Mapping[str, object]]] = {"KNN": KNN.GIVES}
"""Of modules whose signature is that of something else: of the examples in which KNN searches."""

_STATELESS: Final = frozenset(
    (
        *("Predict", "ChainOfThought", "ReAct", "ReActV2", "MultiChainComparison", "Majority"),
        *("ProgramOfThought", "CodeAct", "RLM", "Flex", "Host", "Retrieve", "Pipeline", "KNN"),
        *("Ensemble", "KNNFewShot"),
    )
)
"""Modules that a call does not change, but for what is in them. Of others nobody knows, so that each call
has a copy."""


@functools.cache
def found_classes() -> Mapping[str, Callable[..., Any]]:
    """Every module class in DSPy's namespace, and our own, by name."""
    found = {
        name: class_
        for name, class_ in sorted(vars(dspy).items())
        if inspect.isclass(class_) and issubclass(class_, dspy.Module) and class_ is not dspy.Module
    }
    ours = (Ensemble, Host, KNN, KNNFewShot, Majority, Pipeline, Retrieve)
    return {**found, "CodeAct": CodeAct, "Flex": Flex, **{class_.__name__: class_ for class_ in ours}}


@functools.cache
def buildable() -> Mapping[str, ModuleClass]:
    """Those that programs can be built of."""
    return {
        name: _row(name, make, options)
        for name, make in found_classes().items()
        if not isinstance(options := options_of(make), str)
    }


@functools.cache
def unavailable() -> Mapping[str, str]:
    """Why not, of the others."""
    return {
        name: reason for name, make in found_classes().items() if isinstance(reason := options_of(make), str)
    }


def _row(name: str, make: Callable[..., Any], options: Mapping[str, Option]) -> ModuleClass:
    return ModuleClass(
        name=name,
        make=make,
        options=options,
        taken_inputs=_TAKEN.get(name, frozenset()),
        call_inputs=_CALL_INPUTS.get(name, {}),
        keeps_state=name not in _STATELESS,
        wants_trace="reward_fn" in options,
        signature=_SIGNATURES.get(name),
        own_outputs=_OWN_OUTPUTS.get(name, {}),
        gives=_GIVES.get(name, {}),
    )
