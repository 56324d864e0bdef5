"""Signatures from descriptions: against DSPy's own, part by part refused, and values checked."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Literal

import dspy
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex_bridge.signatures.signatures import (
    build_signature,
    check_inputs,
    check_outputs,
    describe_signature,
    normalize,
)
from dspex_protocol import DSPexError, Tagged, encode_value


def signature(
    *inputs: Mapping[str, object], outputs: object = ({"name": "answer"},), **rest: object
) -> dict[str, object]:
    return {"inputs": list(inputs), "outputs": list(outputs), **rest}  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "text",
    [
        "question -> answer",
        "question, context -> answer, confidence",
        "question: str, k: int -> score: float, ok: bool",
        "items: list[str] -> counts: dict[str, int]",
        "a: Optional[int], b: int | None, c: Union[int, str] -> d: int | str",
        "text -> label: Literal['pos', 'neg'], star: Literal[1, 2, 3]",
        "image: dspy.Image -> caption: str",
        "rows: list[dict[str, list[float]]] -> any: Any",
        "x: list, y: dict -> z: bytes",
        "-> answer",
    ],
)
def test_a_plain_string_means_what_it_means_in_dspy(text: str) -> None:
    """The same names in the same order, with equal types and the same default instructions."""
    make: Any = dspy.Signature  # calling it makes a class
    theirs = make(text)
    ours = build_signature(text.replace("dspy.Image", "Image"))
    for side in ("input_fields", "output_fields"):
        expected = {name: field.annotation for name, field in getattr(theirs, side).items()}
        assert list(expected.items()) == [(n, field.annotation) for n, field in getattr(ours, side).items()]
    assert theirs.instructions == ours.instructions


def test_constraints_are_those_of_the_same_class_in_dspy() -> None:
    """What DSPy tells the model and what pydantic checks, field by field."""
    make: Any = dspy.make_signature
    theirs = make(
        {
            "k": (int, dspy.InputField(ge=1, lt=10, multiple_of=2, default=4)),
            "name": (str, dspy.InputField(desc="who", min_length=1, max_length=5)),
            "tags": (list[str] | None, dspy.OutputField(max_length=3)),
            "label": (Literal["a", "b"], dspy.OutputField()),
        },
        "Do it.",
    )
    ours = build_signature(
        signature(
            {"name": "k", "type": "int", "ge": 1, "lt": 10.0, "multiple_of": 2, "default": 4},
            {"name": "name", "desc": "who", "min_length": 1, "max_length": 5},
            outputs=[
                {"name": "tags", "type": "list[str]", "optional": True, "max_length": 3},
                {"name": "label", "enum": ["a", "b"]},
            ],
            instructions="Do it.",
        )
    )
    assert theirs.equals(ours)
    for name, field in theirs.model_fields.items():
        assert (field.annotation, field.metadata, field.default) == (
            ours.model_fields[name].annotation,
            ours.model_fields[name].metadata,
            ours.model_fields[name].default,
        )


def test_a_pattern_is_told_to_the_model() -> None:
    """DSPy mentions the other constraints only."""
    built = build_signature(signature(outputs=[{"name": "code", "pattern": "^[A-Z]+$", "max_length": 3}]))
    extra: Any = built.output_fields["code"].json_schema_extra
    told = extra["constraints"]
    assert "maximum length: 3, matching the regular expression: ^[A-Z]+$" == told


REFUSED: list[tuple[object, str]] = [
    (None, "signature"),
    (3, "signature"),
    ({}, "signature.inputs"),
    (signature(outputs=[]), "signature.outputs"),
    ({"inputs": [], "outputs": {}}, "signature.outputs"),
    (signature(extra=1), "signature.extra"),
    (signature(instructions=3), "signature.instructions"),
    (signature(name="not a name"), "signature.name"),
    (signature({}), "signature.inputs[0].name"),
    (signature({"name": "_a"}), "signature.inputs[0].name"),
    (signature({"name": "a b"}), "signature.inputs[0].name"),
    (signature({"name": "a"}, {"name": "a"}), "signature.inputs[1].name"),
    (signature({"name": "answer"}), "signature.outputs[0].name"),
    (signature({"name": "copy"}), "signature.inputs[0].name"),
    (signature({"name": "instructions"}), "signature.inputs[0].name"),
    (signature({"name": "model_dump_x"}), "signature.inputs[0].name"),
    (signature({"name": "demos"}), "signature.inputs[0].name"),
    (signature({"name": "lm"}), "signature.inputs[0].name"),
    (signature({"name": "a", "max": 3}), "signature.inputs[0].max"),
    (signature({"name": "a", "type": 3}), "signature.inputs[0].type"),
    (signature({"name": "a", "type": "list[foo]"}), "signature.inputs[0].type"),
    (signature({"name": "a", "type": {"kind": "list", "items": "foo"}}), "signature.inputs[0].type.items"),
    (signature({"name": "a", "type": {"kind": "tuple"}}), "signature.inputs[0].type.kind"),
    (signature({"name": "a", "type": {"kind": "map"}}), "signature.inputs[0].type.values"),
    (signature({"name": "a", "type": {"kind": "union", "types": []}}), "signature.inputs[0].type.types"),
    (signature({"name": "a", "optional": 1}), "signature.inputs[0].optional"),
    (signature({"name": "a", "desc": 1}), "signature.inputs[0].desc"),
    (signature({"name": "a", "ge": 1}), "signature.inputs[0].ge"),
    (signature({"name": "a", "type": "int", "pattern": "x"}), "signature.inputs[0].pattern"),
    (signature({"name": "a", "type": "int", "ge": 0.5}), "signature.inputs[0].ge"),
    (signature({"name": "a", "type": "int", "ge": True}), "signature.inputs[0].ge"),
    (signature({"name": "a", "type": "float", "le": float("nan")}), "signature.inputs[0].le"),
    (signature({"name": "a", "type": "int", "ge": 3, "le": 2}), "signature.inputs[0].le"),
    (signature({"name": "a", "type": "int", "gt": 3, "lt": 3}), "signature.inputs[0].lt"),
    (signature({"name": "a", "type": "int", "multiple_of": 0}), "signature.inputs[0].multiple_of"),
    (signature({"name": "a", "min_length": -1}), "signature.inputs[0].min_length"),
    (signature({"name": "a", "pattern": "("}), "signature.inputs[0].pattern"),
    (signature({"name": "a", "pattern": "(?=x)"}), "signature.inputs[0].pattern"),
    (signature({"name": "a", "enum": []}), "signature.inputs[0].enum"),
    (signature({"name": "a", "enum": [[1]]}), "signature.inputs[0].enum[0]"),
    (signature({"name": "a", "enum": ["x", "x"]}), "signature.inputs[0].enum[1]"),
    (signature({"name": "a", "type": "str", "enum": ["x", 1]}), "signature.inputs[0].enum[1]"),
    (signature({"name": "a", "type": "image", "enum": ["x"]}), "signature.inputs[0].type"),
    (signature({"name": "a", "type": "int", "default": "x"}), "signature.inputs[0].default"),
    (signature({"name": "a", "default": None}), "signature.inputs[0].default"),
    (signature({"name": "a", "type": "int", "ge": 3, "default": 2}), "signature.inputs[0].default"),
    (
        signature({"name": "a", "type": {"kind": "object", "fields": [{"name": "json"}]}}),
        "signature.inputs[0].type.fields[0].name",
    ),
    (
        signature(
            {
                "name": "a",
                "type": {"kind": "object", "fields": [{"name": "x", "type": "int", "min_length": 1}]},
            }
        ),
        "signature.inputs[0].type.fields[0].min_length",
    ),
]


@pytest.mark.parametrize(("description", "field"), REFUSED, ids=[field for _, field in REFUSED])
def test_a_bad_description_is_refused_by_its_part(description: object, field: str) -> None:
    """With the path of the part, what was expected and what came."""
    with pytest.raises(DSPexError) as refused:
        build_signature(description)
    assert "invalid_argument" == refused.value.code
    assert field == refused.value.details["field"]
    assert refused.value.details["expected"]
    assert refused.value.details["got"]


def test_nesting_and_size_are_bounded() -> None:
    """A small payload cannot occupy a worker, nor exhaust its stack."""
    deep: object = "int"
    for _ in range(40):
        deep = {"kind": "list", "items": deep}
    wide = [{"name": f"f{n}"} for n in range(257)]
    objects = {"kind": "object", "fields": [{"name": f"f{n}"} for n in range(250)]}
    for inputs in (
        [{"name": "a", "type": deep}],
        wide,
        [{"name": f"o{n}", "type": objects} for n in range(20)],
    ):
        with pytest.raises(DSPexError, match=r"at most|1 to 256"):
            build_signature(signature(*inputs))


audit: list[str] = []
recording: list[bool] = []


@pytest.fixture(scope="module", autouse=True)
def _hook() -> None:
    sys.addaudithook(lambda name, _: audit.append(name) if recording else None)


@pytest.fixture
def events() -> Iterator[list[str]]:
    audit.clear()
    yield audit
    recording.clear()


EVIL = (
    "__import__('os').system('id')",
    "os.system",
    "list[__import__('os')]",
    "dspy.LM",
    "lambda: 0",
    "int; import os",
)


def test_hostile_maps_run_nothing(events: list[str]) -> None:
    """Code in every place that takes a text; what is legal text stays text."""
    maps = [place(evil) for evil in EVIL for place in PLACES]
    recording.append(True)
    for description in maps:
        try:
            normalize(description)
        except DSPexError as refused:
            assert "invalid_argument" == refused.code
    recording.clear()
    assert not {"import", "compile", "exec", "open", "os.system", "subprocess.Popen"} & set(events)


PLACES: tuple[Callable[[str], object], ...] = (
    lambda evil: signature({"name": "a", "type": evil}),
    lambda evil: signature({"name": evil}),
    lambda evil: signature({"name": "a", "type": {"kind": evil}}),
    lambda evil: signature(
        {"name": "a", "type": {"kind": "object", "name": evil, "fields": [{"name": "b"}]}}
    ),
    lambda evil: signature({"name": "a", "enum": [evil], "default": evil, "desc": evil}),
    lambda evil: signature({"name": "a", "pattern": evil}, name=evil),
)


def test_text_of_a_description_is_never_evaluated() -> None:
    """An enum value that looks like a forward reference stays a string."""
    evil = "__import__('os')"
    built = build_signature(
        signature(outputs=[{"name": "a", "enum": [evil], "desc": evil}], instructions=evil)
    )
    assert Literal[evil] == built.output_fields["a"].annotation
    assert evil == built.instructions


JUNK = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.sampled_from(EVIL)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                ["kind", "items", "fields", "name", "type", "enum", "ge", "default", "optional", "of"]
            ),
            st.one_of(inner, st.sampled_from(["list", "object", "union", "int", "a", "enum"])),
            max_size=5,
        ),
    ),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(JUNK, JUNK)
def test_any_description_is_built_or_refused(field: object, type_: object) -> None:
    """Never another exception, and the normal form is its own normal form."""
    for description in (
        field,
        signature({"name": "a", "type": type_}),
        {"inputs": [field], "outputs": [field]},
    ):
        try:
            build_signature(description)
            normal = normalize(description)
        except DSPexError as refused:
            assert refused.code in {"invalid_argument", "value_unencodable"}
        else:
            assert encode_value(normal) == encode_value(normalize(normal))


def test_a_description_is_built_once() -> None:
    """The same bytes give the same class; other numbers of equal value do not."""
    one = signature({"name": "k", "type": "float", "default": 1})
    assert build_signature(one) is build_signature(signature({"name": "k", "type": "float", "default": 1}))
    assert build_signature(one) is not build_signature(
        signature({"name": "k", "type": "float", "default": 1.0})
    )


def test_the_normal_form_spells_everything_out() -> None:
    """Optional and constraints stand at the field, whichever way they came."""
    type_ = {"kind": "optional", "of": {"kind": "int", "ge": 1}}
    expected = {
        "name": "Signature",
        "inputs": [{"name": "k", "type": "int", "optional": True, "ge": 1, "le": 5}],
        "outputs": [{"name": "answer", "type": "str"}],
    }
    assert expected == normalize(signature({"name": "k", "type": type_, "le": 5}))


def test_a_signature_is_described_with_json_schemas() -> None:
    """For both sides, with the instructions in use."""
    described = describe_signature("question, k: int = 3 -> answer: list[float]")
    schema: Any = described["json_schema"]
    assert ["question"] == schema["inputs"]["required"]
    assert 3 == schema["inputs"]["properties"]["k"]["default"]
    assert {"type": "number"} == schema["outputs"]["properties"]["answer"]["items"]
    told: Any = described["signature"]
    assert "Given the fields `question`, `k`, produce the fields `answer`." == told["instructions"]


PERSON = {
    "kind": "object",
    "name": "Person",
    "fields": [
        {"name": "name"},
        {"name": "age", "type": "int", "ge": 0},
        {"name": "photo", "type": "image", "optional": True},
    ],
}
FORM = signature(
    {"name": "person", "type": PERSON},
    {"name": "pictures", "type": "list[image]", "optional": True},
    {"name": "price", "type": "decimal", "ge": 0.1, "default": "1.5"},
    {"name": "day", "type": "date", "optional": True},
    {"name": "ratio", "type": "float", "optional": True},
    {"name": "free", "type": "any", "optional": True},
)
ADA = {"name": "Ada", "age": 36}


def test_inputs_become_what_their_fields_want() -> None:
    """Maps become objects, tagged values and texts DSPy's types, integers numbers."""
    url = "https://example.test/a"
    checked = check_inputs(
        build_signature(FORM),
        {
            "person": {**ADA, "photo": Tagged("image", {"url": url})},
            "pictures": [url, {"url": url}],
            "day": "2026-01-02",
            "ratio": 1,
            "free": [Tagged("code", {"code": "x"})],
        },
    )
    person: Any = checked.pop("person")
    assert isinstance(person, pydantic.BaseModel)
    assert ("Ada", 36, dspy.Image(url)) == (person.name, person.age, person.photo)  # type: ignore[attr-defined]
    pictures = [dspy.Image(url), dspy.Image(url)]
    expected = {"pictures": pictures, "day": dt.date(2026, 1, 2), "ratio": 1.0, "free": [dspy.Code(code="x")]}
    assert expected == checked


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ({}, "inputs.person"),
        ({"person": ADA, "prise": 1}, "inputs.prise"),
        ({"person": 3}, "inputs.person"),
        ({"person": {"name": "Ada"}}, "inputs.person.age"),
        ({"person": {"name": "Ada", "age": "36"}}, "inputs.person.age"),
        ({"person": {"name": "Ada", "age": -1}}, "inputs.person.age"),
        ({"person": {**ADA, "adge": 1}}, "inputs.person.adge"),
        ({"person": {**ADA, "photo": "/etc/passwd"}}, "inputs.person.photo"),
        ({"person": ADA, "pictures": [3]}, "inputs.pictures[0]"),
        ({"person": ADA, "pictures": [Tagged("image", {"url": 3})]}, "inputs.pictures[0].url"),
        ({"person": ADA, "price": Decimal("0.09")}, "inputs.price"),
        ({"person": ADA, "ratio": "1"}, "inputs.ratio"),
        ({"person": ADA, "ratio": True}, "inputs.ratio"),
    ],
)
def test_a_bad_input_is_refused_by_its_part(inputs: dict[str, object], field: str) -> None:
    """Missing, unknown, or of another type: a typed wire guesses nothing."""
    with pytest.raises(DSPexError) as refused:
        check_inputs(build_signature(FORM), inputs)
    assert "invalid_argument" == refused.value.code
    assert field == refused.value.details["field"]


def test_a_signature_that_dspy_derived_can_be_checked_too() -> None:
    """ChainOfThought and optimizers make classes that never came from a description."""
    derived = build_signature("question: str, k: int -> answer").prepend("reasoning", dspy.OutputField(), str)
    assert {"question": "x", "k": 1} == check_inputs(derived, {"question": "x", "k": 1})
    with pytest.raises(DSPexError, match=r"inputs\.k"):
        check_inputs(derived, {"question": "x"})


def test_outputs_are_held_to_their_constraints() -> None:
    """DSPy only mentions these to the model."""
    outputs = [{"name": "score", "type": "float", "ge": 0, "le": 1}, {"name": "text"}]
    built = build_signature(signature(outputs=outputs))
    check_outputs(built, {"score": 0.5, "text": "x"})
    with pytest.raises(DSPexError, match="score") as refused:
        check_outputs(built, {"score": 1.5, "text": "x"})
    assert "prediction_failed" == refused.value.code
