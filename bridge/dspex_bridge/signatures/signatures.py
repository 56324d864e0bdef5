"""Signatures from descriptions, and values checked against them.

A class costs DSPy the best part of a millisecond, so classes are kept by the bytes of
their description. The checks of a signature's inputs are made when they are first needed
and live as long as the class.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from weakref import WeakKeyDictionary

import dspy
import pydantic

from dspex_protocol import decode_value, encode_value
from dspex_protocol.errors import error, invalid_argument

from ..refusals import missing, refusal, unknown_field
from ..values.incoming import from_wire
from .annotations import Annotations, checked_default, constraints_of, is_protected, refused_by
from .descriptions import normalize_description

MAX_CACHED: Final = 512
"""Classes kept; one of ten fields is about 33 kB."""

_EXACT: Final[Mapping[object, type]] = {"str": str, "int": int, "float": float, "bool": bool, "bytes": bytes}

# Arguments of `Predict.__call__` itself, so no input can be called so.
_CALL_ARGUMENTS: Final = frozenset(("self", "signature", "demos", "config", "lm", "new_signature"))


def build_signature(description: object, path: str = "signature") -> type[dspy.Signature]:
    """The signature class for a description; the same class while it is remembered.

    Args:
        description: String or map, as docs/protocol.md section 7.4 says.
        path: Where it stands in the call, for messages.

    Raises:
        CallerError: `invalid_argument` naming the part, what was expected and what came.
    """
    return _built(encode_value(description), path)


def normalize(description: object, path: str = "signature") -> dict[str, object]:
    """The description in normal form, checked in everything that does not need its class."""
    return normalize_description(description, path)


def describe_signature(description: object, path: str = "signature") -> dict[str, object]:
    """What a description means.

    Returns:
        `signature`, the normal form with the instructions in use, and `json_schema` with
        a JSON Schema each for `inputs` and `outputs`.
    """
    built = build_signature(description, path)
    normal = normalize_description(description, path)
    return {
        "signature": {**normal, "instructions": built.instructions},
        "json_schema": {side: _json_schema(normal, side, path) for side in ("inputs", "outputs")},
    }


def check_inputs(
    signature: type[dspy.Signature], inputs: dict[str, object], path: str = "inputs"
) -> dict[str, object]:
    """Check a call's inputs and make of each what its field wants.

    Fields with a default and optional ones may be absent; DSPy fills them in.

    Raises:
        CallerError: `invalid_argument` for an unknown, missing or unfitting input.
    """
    checked = check_given(signature, inputs, path)
    for name, expected in _checks_of(signature).required.items():
        if name not in inputs:
            raise missing(f"{path}.{name}", expected)
    return checked


def required_inputs(signature: type[dspy.Signature]) -> Mapping[str, str]:
    """The inputs that a call must give, and what each of them must be, in words."""
    return _checks_of(signature).required


def check_given(
    signature: type[dspy.Signature], inputs: dict[str, object], path: str = "inputs"
) -> dict[str, object]:
    """As `check_inputs`, of the inputs that there are.

    Raises:
        CallerError: `invalid_argument` for an unknown or unfitting input.
    """
    checks = _checks_of(signature)
    checked: dict[str, object] = {}
    for name, value in inputs.items():
        check = checks.inputs.get(name)
        if check is None:
            raise unknown_field(path, name, checks.inputs)
        checked[name] = value if type(value) is check.exact else check.convert(value, f"{path}.{name}")
    return checked


def check_input(signature: type[dspy.Signature], name: str, value: object, path: str) -> object:
    """Check one input and make of it what its field wants.

    Raises:
        CallerError: `invalid_argument`.
    """
    check = _checks_of(signature).inputs[name]
    return value if type(value) is check.exact else check.convert(value, path)


def field_check(signature: type[dspy.Signature], name: str) -> FieldCheck:
    """How a value of another program's field is checked that is to be this one's."""
    given = _checks_of(signature).inputs.get(name)
    if given is not None:
        return given
    return FieldCheck(functools.partial(_fitting, signature.output_fields[name]), None)


def check_outputs(signature: type[dspy.Signature], outputs: Mapping[str, object]) -> None:
    """Check the constraints of a prediction's fields, which DSPy only mentions to the model.

    Raises:
        ProgramError: `prediction_failed` naming the field and the rule.
    """
    for name, check in _checks_of(signature).outputs.items():
        if name not in outputs:
            continue
        try:
            check.adapter.validate_python(outputs[name])
        except pydantic.ValidationError as failure:
            expected = refused_by(failure, name).details["expected"]
            raise error(
                "prediction_failed",
                f"the model's value for {name} does not fit: expected {expected}",
                details={"field": name, "expected": expected},
            ) from None


def demo_checks(signature: type[dspy.Signature], base: type[dspy.Signature]) -> Mapping[str, FieldCheck]:
    """How a demo's values are checked: as inputs are, since they come from the same typed wire.

    Args:
        signature: A predictor's.
        base: The one that its program was described with; fields that are the predictor's own,
            such as `reasoning`, are read as DSPy reads a model's answer.
    """
    known = _checks_of(base).given
    return {
        name: known[name]
        if name in known and base.fields[name].annotation == field.annotation
        else FieldCheck(functools.partial(_fitting, field), None)
        for name, field in signature.fields.items()
    }


# Building --------------------------------------------------------------------------------


_NORMAL: Final[WeakKeyDictionary[type[dspy.Signature], dict[str, object]]] = WeakKeyDictionary()


def normal_of(signature: type[dspy.Signature]) -> dict[str, object]:
    """The description in normal form that a class was built of."""
    return _NORMAL[signature]


@functools.lru_cache(maxsize=MAX_CACHED)
def _built(key: bytes, path: str) -> type[dspy.Signature]:
    normal = normalize_description(decode_value(key), path)
    inputs, outputs = Annotations(forbid_unknown=True), Annotations(forbid_unknown=False)
    fields: dict[str, tuple[Any, Any]] = {}
    for n, field in enumerate(_side(normal, "inputs")):
        where = f"{path}.inputs[{n}]"
        if field["name"] in _CALL_ARGUMENTS:
            raise refusal(f"{where}.name", "a name that is no argument of dspy.Predict", repr(field["name"]))
        fields[field["name"]] = _field(dspy.InputField, inputs, field, where)
    for n, field in enumerate(_side(normal, "outputs")):
        fields[field["name"]] = _field(dspy.OutputField, outputs, field, f"{path}.outputs[{n}]")
    # With None for instructions DSPy would build the class twice.
    instructions = str(normal.get("instructions") or _default_instructions(normal))
    built: type[dspy.Signature] = dspy.make_signature(fields, instructions, str(normal["name"]))
    _NORMAL[built] = normal
    _CHECKS[built] = _Checks(
        _given_checks(_side(normal, "inputs"), inputs, path),
        {field["name"]: _in_words(field) for field in _side(normal, "inputs") if not _may_be_absent(field)},
        _output_checks(built),
        _given_checks(_side(normal, "inputs") + _side(normal, "outputs"), inputs, path),
    )
    return built


def _side(normal: Mapping[str, Any], side: str) -> list[dict[str, Any]]:
    fields: list[dict[str, Any]] = normal[side]
    return fields


def _field(make: Any, annotations: Annotations, field: dict[str, Any], path: str) -> tuple[Any, Any]:
    name = field["name"]
    if hasattr(dspy.Signature, name) or is_protected(name):
        raise refusal(f"{path}.name", "a name that means nothing to dspy.Signature", repr(name))
    annotation = annotations.plain(field["type"], f"{path}.type")
    if field.get("optional"):
        annotation = annotation | None
    limits = constraints_of(field, path)
    arguments = dict(limits)
    if "desc" in field:
        arguments["desc"] = field["desc"]
    if "default" in field:
        arguments["default"] = checked_default(annotations.strict(field, path), field["default"], path)
    made = make(**arguments)
    if "pattern" in limits:
        # DSPy tells the model of the other constraints, but not of this one.
        told = made.json_schema_extra.get("constraints")
        rule = f"matching the regular expression: {limits['pattern']}"
        made.json_schema_extra["constraints"] = f"{told}, {rule}" if told else rule
    return annotation, made


def _default_instructions(normal: Mapping[str, Any]) -> str:
    """DSPy's own words, so that a program prompts as it would without the bridge."""
    inputs, outputs = (
        ", ".join(f"`{field['name']}`" for field in _side(normal, side)) for side in ("inputs", "outputs")
    )
    return f"Given the fields {inputs}, produce the fields {outputs}."


def _json_schema(normal: Mapping[str, Any], side: str, path: str) -> dict[str, Any]:
    annotations = Annotations(forbid_unknown=side == "inputs")
    fields: dict[str, Any] = {}
    for n, field in enumerate(_side(normal, side)):
        default = field.get("default", None if field.get("optional") else ...)
        fields[field["name"]] = (
            annotations.strict(field, f"{path}.{side}[{n}]"),
            pydantic.Field(default=default, description=field.get("desc")),
        )
    schema: dict[str, Any] = pydantic.create_model(side, **fields).model_json_schema()
    return schema


# Checking --------------------------------------------------------------------------------


@dataclass(slots=True)
class FieldCheck:
    """How one field's values are checked.

    What costs time is made at first use: most fields hold plain strings and never need it.

    Attributes:
        annotation: Makes the annotation that they must fit.
        exact: Values of exactly this type need no more checking; None where all need it.
    """

    annotation: Callable[[], Any]
    exact: type | None
    _adapter: pydantic.TypeAdapter[Any] | None = None

    @property
    def adapter(self) -> pydantic.TypeAdapter[Any]:
        """Pydantic's checker for the field."""
        if self._adapter is None:
            self._adapter = pydantic.TypeAdapter(self.annotation())
        return self._adapter

    def convert(self, value: object, path: str) -> object:
        """The value as the field wants it, or a refusal."""
        try:
            return self.adapter.validate_python(from_wire(value, path))
        except pydantic.ValidationError as failure:
            raise refused_by(failure, path) from None
        except RecursionError:
            raise invalid_argument(path, "a value of less nesting", value) from None


@dataclass(frozen=True, slots=True)
class _Checks:
    """Of a signature.

    Attributes:
        inputs: Of what a call gives.
        required: Inputs that it must give, with what they are in words.
        outputs: Of what the model gave, as far as DSPy has not seen to it.
        given: Of inputs and of outputs that are given as if they had been answered.
    """

    inputs: Mapping[str, FieldCheck]
    required: Mapping[str, str]
    outputs: Mapping[str, FieldCheck]
    given: Mapping[str, FieldCheck]


def _given_checks(fields: list[dict[str, Any]], annotations: Annotations, path: str) -> dict[str, FieldCheck]:
    return {
        field["name"]: FieldCheck(functools.partial(annotations.strict, field, path), _exact(field))
        for field in fields
    }


_CHECKS: Final[WeakKeyDictionary[type[dspy.Signature], _Checks]] = WeakKeyDictionary()


def _checks_of(signature: type[dspy.Signature]) -> _Checks:
    checks = _CHECKS.get(signature)
    if checks is None:
        # Not of our making, such as one that ChainOfThought or an optimizer derived.
        checks = _CHECKS[signature] = _Checks(
            {
                name: FieldCheck(functools.partial(_fitting, field), None)
                for name, field in signature.input_fields.items()
            },
            {name: "a value" for name, field in signature.input_fields.items() if field.is_required()},
            _output_checks(signature),
            {},
        )
    return checks


def _output_checks(signature: type[dspy.Signature]) -> dict[str, FieldCheck]:
    # What an output's type says DSPy has seen to; only constraints are left.
    return {
        name: FieldCheck(functools.partial(_fitting, field), None)
        for name, field in signature.output_fields.items()
        if field.metadata
    }


def _fitting(field: pydantic.fields.FieldInfo) -> Any:
    annotation: Any = field.annotation
    for rule in field.metadata:
        annotation = Annotated[annotation, rule]
    return annotation


def _exact(field: Mapping[str, Any]) -> type | None:
    type_ = field["type"]
    return _EXACT.get(type_) if isinstance(type_, str) and not constraints_of(field, "") else None


def _may_be_absent(field: Mapping[str, Any]) -> bool:
    return "default" in field or bool(field.get("optional"))


def _in_words(field: Mapping[str, Any]) -> str:
    type_ = field["type"]
    return f"a value of the type {type_ if isinstance(type_, str) else type_['kind']}"
