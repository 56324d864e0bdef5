"""Programs built, changed, and moved to another spec."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.golden import over_the_wire

from dspex_bridge.programs.builder import Builder
from dspex_bridge.programs.live import LiveProgram
from dspex_bridge.programs.records import DSPY_VERSION, Spec, read_record
from dspex_protocol import DSPexError

BUILDER = Builder()
DEMOS = [{"question": "x", "answer": "y"}]
LEARNED = {
    "instructions": "Learned.",
    "fields": [{"prefix": "Q:", "description": "a question"}, {"prefix": "A:", "description": "an answer"}],
    "demos": DEMOS,
}


def spec(signature: object = "question -> answer", module: str = "Predict") -> Spec:
    return Spec(module=module, signature=signature)


def built(state: object = None, of: Spec | None = None) -> LiveProgram:
    return BUILDER.build(of or spec(), over_the_wire(state))


def state_of(program: LiveProgram, predictor: str = "self") -> Any:
    """What one predictor has learned, demos as plain maps."""
    state: Any = over_the_wire(program.record()["state"])
    own = dict(state[predictor])
    return {**own, "demos": [demo.value["fields"] for demo in own["demos"]]}


def refusal_of(change: Any) -> DSPexError:
    with pytest.raises(DSPexError) as refused:
        change()
    assert "invalid_argument" == refused.value.code
    return refused.value


# A new program


def test_a_program_has_its_spec_in_normal_form_and_what_its_module_begins_with() -> None:
    """DSPy's own words for what the spec does not say."""
    record: Any = over_the_wire(built().record())
    assert {"record": 3, "dspy": DSPY_VERSION} == {"record": record["schema"], "dspy": record["dspy"]}
    assert [{"name": "question", "type": "str"}] == record["spec"]["signature"]["inputs"]
    assert {
        "instructions": "Given the fields `question`, produce the fields `answer`.",
        "fields": [
            {"prefix": "Question:", "description": "${question}"},
            {"prefix": "Answer:", "description": "${answer}"},
        ],
        "demos": [],
        "train": [],
    } == state_of(built())


@pytest.mark.parametrize("part", LEARNED)
def test_each_part_of_a_state_can_be_given(part: str) -> None:
    """The others are as the module begins."""
    state = state_of(built({"self": {part: LEARNED[part]}}))
    assert {**state_of(built()), part: LEARNED[part]} == state


def test_a_patch_of_a_nested_predictor_goes_by_dspys_name() -> None:
    """`predict` in ChainOfThought, with the field that it adds."""
    demo = {"question": "x", "reasoning": "since", "answer": "y"}
    program = built({"predict": {"demos": [demo]}}, spec(module="ChainOfThought"))
    assert [demo] == state_of(program, "predict")["demos"]


def test_instructions_are_read_as_dspy_reads_them() -> None:
    """A text from a source file may be indented."""
    assert (
        "Answer.\n\n- well"
        == state_of(built({"self": {"instructions": "\n  Answer.\n\n  - well\n"}}))["instructions"]
    )


@pytest.mark.parametrize(
    ("state", "field"),
    [
        (3, "state"),
        ({"predict": {}}, "state.predict"),
        ({"self": 3}, "state.self"),
        ({"self": {"demo": []}}, "state.self.demo"),
        ({"self": {"instructions": 3}}, "state.self.instructions"),
        ({"self": {"fields": [{"prefix": "Q:", "description": ""}]}}, "state.self.fields"),
        ({"self": {"fields": [{"prefix": "Q:"}]}}, "state.self.fields[0].description"),
        ({"self": {"demos": {}}}, "state.self.demos"),
        ({"self": {"demos": [*DEMOS, 7]}}, "state.self.demos[1]"),
        ({"self": {"demos": [*DEMOS, {"question": "x", "answer": 3}]}}, "state.self.demos[1].answer"),
        ({"self": {"demos": [{"question": "x", "answer": "y", "z": {1}}]}}, "state.self.demos[0].z"),
        ({"self": {"train": [[]]}}, "state.self.train[0]"),
        ({"self": {"lm": "x" * 200}}, "state.self.lm"),
        ({"self": {"lm": "sk-0123456789abcdef0123"}}, "state.self.lm"),
        ({"self": {"decisions": {"answer": {}}}}, "state.self.decisions"),
    ],
)
def test_a_state_that_is_wrong_is_refused_by_its_part(state: object, field: str) -> None:
    """With what was expected."""
    assert field == refusal_of(lambda: built(state)).details["field"]


def test_an_object_in_a_demo_is_given_as_a_map() -> None:
    """And stays one, whatever text its class would have: here some that is no UTF-8."""
    place = {"kind": "object", "name": "Place", "fields": [{"name": "raw", "type": "bytes"}]}
    of = spec({"inputs": [{"name": "q"}], "outputs": [{"name": "place", "type": place}]})
    demo = {"q": "x", "place": {"raw": b"\x80"}}
    assert [demo] == state_of(built({"self": {"demos": [demo]}}, of))["demos"]


def test_what_a_spec_alone_decides_is_built_once() -> None:
    """In the form of a string or of a map; versions are copies."""
    first, second = (
        built(),
        built(
            {"self": {"demos": DEMOS}},
            spec({"inputs": [{"name": "question"}], "outputs": [{"name": "answer"}]}),
        ),
    )
    assert first.template is second.template
    assert first.signature is second.signature
    assert first.module is not second.module


# The next version


def test_a_change_of_state_keeps_the_rest() -> None:
    """Of each predictor the parts that are not named; the version before stays as it is."""
    before = built({"self": LEARNED})
    after = BUILDER.revise(before, None, {"self": {"demos": []}})
    assert {**LEARNED, "train": [], "demos": []} == state_of(after)
    assert {**LEARNED, "train": []} == state_of(before)


def test_the_name_of_a_language_model_can_be_given_and_taken_away() -> None:
    """An empty one means the call's."""
    named = BUILDER.revise(built(), None, {"self": {"lm": "fast"}})
    assert "fast" == state_of(named)["lm"]
    assert "lm" not in state_of(BUILDER.revise(named, None, {"self": {"lm": ""}}))


def test_a_new_spec_is_followed_where_nothing_was_learned() -> None:
    """Its instructions are the new ones."""
    after = BUILDER.revise(
        built(),
        spec({"instructions": "New.", "inputs": [{"name": "question"}], "outputs": [{"name": "answer"}]}),
    )
    assert "New." == state_of(after)["instructions"]
    grown = BUILDER.revise(built(), spec("question, context -> answer"))
    assert 3 == len(state_of(grown)["fields"])


def test_what_was_learned_goes_over_to_a_new_spec() -> None:
    """Demos, instructions and words, where the fields are the same."""
    other = spec(
        {
            "instructions": "New.",
            "inputs": [{"name": "question", "max_length": 9}],
            "outputs": [{"name": "answer"}],
        }
    )
    assert {**LEARNED, "train": []} == state_of(BUILDER.revise(built({"self": LEARNED}), other))


@pytest.mark.parametrize(
    ("learned", "other", "field"),
    [
        ({"demos": DEMOS}, spec("question, context -> answer"), "state.self"),
        ({"instructions": "x"}, spec(module="ChainOfThought"), "spec"),
        ({"fields": LEARNED["fields"]}, spec("question -> reply"), "state.self.fields"),
        ({"demos": DEMOS}, spec("question: int -> answer"), "state.self.demos[0].question"),
        ({"demos": DEMOS}, spec("query -> reply"), "state.self.demos[0]"),
    ],
)
def test_what_was_learned_and_does_not_fit_is_refused(learned: object, other: Spec, field: str) -> None:
    """Naming the predictor, and its demo where it is that."""
    refused = refusal_of(lambda: BUILDER.revise(built({"self": learned}), other))
    assert field == refused.details["field"]
    assert "self" in refused.message


def test_who_gives_anew_what_does_not_fit_may_change_the_spec() -> None:
    """The rest of what was learned goes over."""
    before = built({"self": {"instructions": "Learned.", "demos": DEMOS}})
    other = spec("question, context -> answer")
    patch = {
        "self": {"demos": [{"question": "x", "context": "c", "answer": "y"}], "instructions": "Learned."}
    }
    assert "Learned." == state_of(BUILDER.revise(before, other, patch))["instructions"]


def test_a_change_of_nothing_is_the_same_program() -> None:
    """Another version may be wanted for its note."""
    before = built({"self": LEARNED})
    assert over_the_wire(before.record()) == over_the_wire(BUILDER.revise(before, None).record())
    assert over_the_wire(before.record()) == over_the_wire(BUILDER.revise(before, spec()).record())


# Of another DSPy


def old_record(**changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = over_the_wire({**built({"self": LEARNED}).record(), "dspy": "2.6.27"})
    return {**record, **changes}


def test_a_record_of_another_dspy_is_read_where_it_fits() -> None:
    """Versions differ mostly in what they say by default, and that is in the record."""
    program = BUILDER.load(read_record(old_record()))
    assert {**LEARNED, "train": []} == state_of(program)


def test_a_record_of_another_dspy_that_does_not_fit_says_so() -> None:
    """With both versions: the module may have other predictors there."""
    old = old_record()
    old["state"] = {"predict.predict": old["state"]["self"]}
    refused = refusal_of(lambda: BUILDER.load(read_record(old)))
    assert "record.state.predict.predict" == refused.details["field"]
    assert {"record": "2.6.27", "here": DSPY_VERSION} == refused.details["dspy"]
    assert "2.6.27" in refused.message
    assert DSPY_VERSION in refused.message
