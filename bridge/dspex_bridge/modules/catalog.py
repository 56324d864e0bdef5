"""The modules that programs can be built of, by name: DSPy's own and those of plug-ins.

A plug-in of the host may add classes, under names that DSPy does not have. Names and options only
choose; nothing is imported or called by a name from the wire.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dspy

from dspex_protocol.errors import describe_value

from ..pipelines.fitting import Field
from ..pipelines.nodes import Nodes
from ..refusals import missing, refusal, unknown_field
from ..signatures.descriptions import normalize_type
from ..signatures.signatures import build_signature, normal_of
from .classes import ModuleClass, buildable, found_classes, unavailable
from .host_module import HostForward
from .options import CONFIG, NamedParts, Option, Part, Parts, arguments_of
from .retrievers import HostRetriever
from .rewards import HostReward
from .tools import Tools
from .vectorizers import Vectorizer

__all__ = ["CONFIG", "Built", "Catalog", "ModuleClass", "Option"]


@dataclass(frozen=True, slots=True)
class Built:
    """A module as its constructor leaves it.

    Attributes:
        module: Of its class.
        signature: What it takes and gives.
        options: As they are stored: specs inside are in normal form.
        functions: Of the host, that it calls.
        outputs: The fields of its predictions, in normal form.
        keeps_state: Whether a call may change it, or what is in it.
        wants_trace: Whether it, or what is in it, reads DSPy's trace of the call.
    """

    module: dspy.Module
    signature: type[dspy.Signature]
    options: dict[str, object]
    functions: frozenset[str]
    outputs: Mapping[str, Field]
    keeps_state: bool
    wants_trace: bool


class Catalog:
    """DSPy's modules and those of the host's plug-ins.

    Args:
        plugged: Of plug-ins.

    Raises:
        TypeError: for a name that is taken.
    """

    def __init__(self, plugged: Iterable[ModuleClass] = ()) -> None:
        self._classes = dict(buildable())
        for row in plugged:
            if row.name in self._classes or row.name in found_classes():
                raise TypeError(f"a plug-in's module is called {row.name!r}, which is taken")
            self._classes[row.name] = row

    def find(self, name: str, path: str = "spec") -> ModuleClass:
        """A class by its name.

        Args:
            name: In a spec.
            path: Where the spec stands in the call, for messages.

        Raises:
            CallerError: `invalid_argument`, naming those that there are; for one that cannot be
                built here, with the reason.
        """
        found = self._classes.get(name)
        if found is not None:
            return found
        expected = f"one of the modules {', '.join(self._classes)}"
        reason = unavailable().get(name)
        if reason is not None:
            raise refusal(f"{path}.module", expected, f"{name!r}: {reason}")
        raise refusal(f"{path}.module", expected, describe_value(name))

    def build(
        self,
        name: str,
        signature: type[dspy.Signature] | None,
        options: Mapping[str, object],
        parts: Parts,
        path: str = "spec",
    ) -> Built:
        """Make a module.

        Args:
            name: Such as `ChainOfThought`.
            signature: A signature class; None for a module that has that of its part.
            options: By the names of the constructor's arguments.
            parts: Where parts and host functions come from.
            path: Where the spec stands in the call, for messages.

        Raises:
            CallerError: `invalid_argument` naming the part of the spec; `unknown_function`.
        """
        found = self.find(name, path)
        read = _read_options(found, options, path, parts)
        own = _signature_of(found, signature, read, path)
        _refuse_taken_names(found, own, path)
        arguments: dict[str, Any] = {
            key: value.module if isinstance(value, Part) else value for key, value in read.items()
        }
        arguments.update(_spread(found, arguments.pop("config", {}), f"{path}.options.config"))
        try:
            module = found.make(*([own] if found.takes_signature else []), **arguments)
        except ValueError as reason:
            raise refusal(path, f"what {name} takes ({reason})", "something else") from None
        _tell_rewards(module, read)
        own = _answering(found, own)
        inside = [value for value in read.values() if isinstance(value, Part | NamedParts | Nodes)]
        return Built(
            module=module,
            signature=own,
            options=_stored_options(options, read),
            functions=_functions_of(read),
            outputs=_outputs_of(found, own, read, options),
            keeps_state=found.keeps_state or any(part.keeps_state for part in inside),
            wants_trace=found.wants_trace or any(part.wants_trace for part in inside),
        )

    def describe(self) -> list[dict[str, object]]:
        """Every module of the installed DSPy and of plug-ins, for `system.describe`.

        Returns:
            Rows of `name`, `doc`, `available` (it can be built), `async` (it runs without a
            thread); for available ones `options`: name to `{type, doc, required}`, and
            `signature` (it takes one); for others the `reason`.
        """
        classes = dict(found_classes())
        classes.update({name: row.make for name, row in self._classes.items()})
        return [self._describe_one(name, class_) for name, class_ in sorted(classes.items())]

    def _describe_one(self, name: str, class_: Any) -> dict[str, object]:
        row: dict[str, object] = {
            "name": name,
            "doc": _told(class_),
            "available": name in self._classes,
            "async": hasattr(class_, "aforward") and "interpreter_factory" not in arguments_of(class_),
        }
        if name in self._classes:
            row["signature"] = self._classes[name].takes_signature
            row["options"] = {
                key: {"type": option.type, "doc": option.doc, "required": option.required}
                for key, option in self._classes[name].options.items()
            }
        else:
            row["reason"] = unavailable()[name]
        return row


def _told(class_: Any) -> str:
    """The first line that says what a class does; that of its base class says nothing of it."""
    told = vars(class_).get("__doc__") or vars(class_).get("__init__", class_).__doc__ or ""
    notes = ("..", "Experimental:", " ")  # of releases, not of what it does; and what belongs to these
    lines = inspect.cleandoc(told).splitlines()
    return next((line for line in lines if line and not line.startswith(notes)), "")


def _read_options(
    found: ModuleClass, options: Mapping[str, object], path: str, parts: Parts
) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for key, value in options.items():
        option = found.options.get(key)
        if option is None:
            raise unknown_field(f"{path}.options", key, found.options)
        read[key] = option.read(value, f"{path}.options.{key}", parts)
    for key, option in found.options.items():
        if option.required and key not in read:
            raise missing(f"{path}.options.{key}", option.type)
    return read


def _signature_of(
    found: ModuleClass, signature: type[dspy.Signature] | None, read: Mapping[str, Any], path: str
) -> type[dspy.Signature]:
    if found.takes_signature:
        if signature is None:
            raise missing(f"{path}.signature", "a string or a map")
        return signature
    if found.signature is not None:
        has, whose = build_signature(found.signature, f"{path}.signature"), "its own"
    else:
        has, whose = read["module"].signature, "that of options.module"
    if signature is not None and normal_of(signature) != normal_of(has):
        raise refusal(f"{path}.signature", f"none: {found.name} has {whose}", "another")
    return has


def _answering(found: ModuleClass, signature: type[dspy.Signature]) -> type[dspy.Signature]:
    """What it takes and gives, where its outputs are not those of the signature it is built with."""
    if not found.gives:
        return signature
    outputs = [{"name": name, "type": type_} for name, type_ in found.gives.items()]
    return build_signature({**normal_of(signature), "outputs": outputs})


def _tell_rewards(module: Any, read: Mapping[str, Any]) -> None:
    """Give a module that shows a reward's code to a model the words of the host in its place."""
    reward = read.get("reward_fn")
    if isinstance(reward, HostReward) and hasattr(module, "reward_fn_code"):
        module.reward_fn_code = reward.told


def _stored_options(options: Mapping[str, object], read: Mapping[str, Any]) -> dict[str, object]:
    return {
        key: read[key].spec if isinstance(read[key], Part | NamedParts | Nodes) else value
        for key, value in options.items()
    }


def _outputs_of(
    found: ModuleClass,
    signature: type[dspy.Signature],
    read: Mapping[str, Any],
    options: Mapping[str, object],
) -> dict[str, Field]:
    part: object = read.get("module")
    if isinstance(part, Part):
        return dict(part.outputs)
    own = dict(found.own_outputs)
    if "rationale_field_type" in options:
        own["reasoning"] = normalize_type(options["rationale_field_type"])
    normal: Any = normal_of(signature)
    fields: dict[str, Field] = {field["name"]: field for field in normal["outputs"]}
    return {name: {"name": name, "type": type_} for name, type_ in own.items()} | fields


def _functions_of(read: Mapping[str, Any]) -> frozenset[str]:
    names: set[str] = set()
    for value in read.values():
        if isinstance(value, HostReward | HostForward | HostRetriever):
            names.add(value.function)
        elif isinstance(value, Part | NamedParts | Nodes | Tools | Vectorizer):
            names |= value.functions
    return frozenset(names)


def _spread(found: ModuleClass, config: dict[str, Any], path: str) -> dict[str, Any]:
    """A config that may be spread over the constructor without touching its other arguments."""
    for key in config:
        if key in arguments_of(found.make):
            raise refusal(f"{path}.{key}", "a parameter of the request", f"an argument of {found.name}")
    return config


def _refuse_taken_names(found: ModuleClass, signature: Any, path: str) -> None:
    for name in signature.input_fields:
        if name in found.taken_inputs:
            raise refusal(
                f"{path}.signature", f"no input {name!r}: {found.name} has a field of that name", "one"
            )
