"""Programs that can be called, and what of them is the same for many."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any

import dspy

from dspex_protocol import encode_value

from ..adapters.choices import AdapterChoice
from ..modules.catalog import Built, ModuleClass
from ..modules.options import Part
from ..modules.running import runs_async, runs_code
from ..signatures.signatures import normal_of
from .records import DSPY_VERSION, Origin
from .state import copy_module, dump_state, named_learners
from .upgrades import SCHEMA


class Template:
    """What a spec describes, before anything is learned.

    Attributes:
        spec: As it is stored: the signature in normal form.
        module_class: Its row in the catalog.
        runs_code: It or one of its parts runs code that a model writes.
        module: Never called where it keeps state, and never changed.
        signature: The program's own, from which those of its predictors may be derived.
        functions: Names of the host's functions that it calls.
        outputs: The fields of its predictions, in normal form.
        keeps_state: Whether a call may change its module.
        wants_trace: Whether a call needs DSPy's trace.
        runs_async: It and all its parts have an async form.
        adapter: That it chose, if any.
        retries: How often its models are asked again for an answer that does not fit.
        has_predictors: It has parts that ask language models, as far as can be seen.
    """

    def __init__(self, spec: dict[str, Any], module_class: ModuleClass, built: Built) -> None:
        self.spec = spec
        self.module_class = module_class
        self.runs_code = runs_code(built.module)
        self.module = built.module
        self.signature = built.signature
        self.functions = built.functions
        self.outputs = built.outputs
        self.keeps_state = built.keeps_state
        self.wants_trace = built.wants_trace
        self.runs_async = runs_async(built.module)
        self.adapter = AdapterChoice(**spec["adapter"]) if "adapter" in spec else None
        self.retries: int = spec.get("on_violation", {}).get("retry", 0)
        self.has_predictors = bool(named_learners(built.module))

    @cached_property
    def program(self) -> LiveProgram:
        """The program that has learned nothing."""
        return LiveProgram(self, self.module, {})


def template_of(
    module: str,
    signature: dict[str, object] | None,
    module_class: ModuleClass,
    built: Built,
    choices: Mapping[str, object] | None = None,
) -> Template:
    """The template of a module that was built.

    Args:
        module: Its name.
        signature: In normal form; None for that of its part.
        module_class: Its row in the catalog.
        built: It.
        choices: What the spec says of how models are asked, in normal form.
    """
    spec: dict[str, object] = {
        "module": module,
        "signature": signature or normal_of(built.signature),
        "options": built.options,
        **(choices or {}),
    }
    return Template(spec, module_class, built)


def part_of(template: Template, module: dspy.Module, origin: Origin | None) -> Part:
    """A program as a part of another.

    Args:
        template: Of the part.
        module: Its module, which becomes the other's own.
        origin: The stored program that it was, or None.
    """
    noted = {} if origin is None else {"origin": asdict(origin)}
    return Part(
        module=module,
        spec={**{key: template.spec[key] for key in ("module", "signature", "options")}, **noted},
        signature=template.signature,
        functions=template.functions,
        outputs=template.outputs,
        call_inputs=frozenset(template.module_class.call_inputs),
        keeps_state=template.keeps_state,
        wants_trace=template.wants_trace,
    )


class LiveProgram:
    """A program that can be called.

    Attributes:
        template: What it was built from.
        module: Shared by calls where it keeps no state; else calls get copies.
        lms: Predictor to the name of its language model, where it has one of its own.
    """

    def __init__(self, template: Template, module: dspy.Module, lms: Mapping[str, str]) -> None:
        self.template = template
        self.module = module
        self.lms = lms

    @property
    def signature(self) -> type[dspy.Signature]:
        """What calls give and get."""
        return self.template.signature

    @property
    def keeps_state(self) -> bool:
        """Whether a call may change its module."""
        return self.template.keeps_state

    def for_one_call(self) -> LiveProgram:
        """The program that a call may run: a copy where it would change this one."""
        if not self.keeps_state:
            return self
        return LiveProgram(self.template, copy_module(self.module), self.lms)

    @property
    def state(self) -> dict[str, object]:
        """What it has learned, written anew each time: it would double the memory that a program takes."""
        return dump_state(self.module, self.lms)

    @cached_property
    def digests(self) -> dict[str, bytes]:
        """Of each predictor's state, to compare with."""
        return digests_of(self.state)

    def record(self) -> dict[str, object]:
        """What the supervisor stores."""
        return {
            "spec": self.template.spec,
            "state": self.state,
            "dspy": DSPY_VERSION,
            "schema": SCHEMA,
        }


def digests_of(state: Mapping[str, object]) -> dict[str, bytes]:
    """A digest of each predictor's state."""
    return {name: hashlib.blake2b(encode_value(own)).digest() for name, own in state.items()}
