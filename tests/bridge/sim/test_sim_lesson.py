"""An offline model with a lesson: better prompts make it answer better, and it proposes what helps."""

from __future__ import annotations

import itertools
from typing import Any

import dspy
import pytest
from tests.support.optimizing import ANSWERS, LMS

from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.lms.lms import LanguageModels
from dspex_bridge.sim.lesson import Lesson, Pupil
from dspex_protocol import DSPexError, LMConfig
from dspex_protocol.records import read

PUPIL = Pupil(Lesson(answers=ANSWERS, start=0.2), 0)


def model(**options: object) -> dspy.LM:
    lms = LanguageModels(HostFunctions())
    lesson = {"answers": ANSWERS, "start": 0.2, **options}
    lms.configure({"default": LMConfig(model="sim/learner", options={"lesson": lesson})}, {})
    return lms.get(None)


def right(program: Any, lm: dspy.LM) -> set[str]:
    """The questions that a program answers."""
    with dspy.context(lm=lm, disable_history=True, trace=None):
        return {animal for animal, sound in ANSWERS.items() if program(animal=animal).sound == sound}


def learned(instructions: str | None = None, demos: int = 0, *, wrong: bool = False) -> Any:
    program: Any = dspy.Predict("animal -> sound")
    if instructions is not None:
        program.signature = program.signature.with_instructions(instructions)
    program.demos = [
        dspy.Example(animal=animal, sound="?" if wrong else sound)
        for animal, sound in list(ANSWERS.items())[:demos]
    ]
    return program


def test_demos_and_hints_help_and_take_nothing_away() -> None:
    """What a worse prompt is answered rightly, a better one is too."""
    lm = model()
    asked = [
        learned(),
        learned("Answer step by step."),
        learned("Answer step by step, as in the examples."),
        learned("Answer step by step, as in the examples.", 4),
    ]
    answered = [right(program, lm) for program in asked]
    for worse, better in itertools.pairwise(answered):
        assert worse <= better
    assert len(answered[0]) < len(answered[2]) < len(answered[3]) <= len(ANSWERS)


def test_wrong_demos_do_not_help() -> None:
    """They teach nothing."""
    lm = model()
    assert right(learned(), lm) == right(learned(demos=6, wrong=True), lm)


def test_the_chance_is_what_the_lesson_says() -> None:
    """From `start` to `most`."""
    user = ("user", "animal 0")
    assert pytest.approx(0.2) == PUPIL.chance([user])
    assert pytest.approx(0.44) == PUPIL.chance([("system", "Step by step! No explanation."), user])
    demo = [("user", "animal 1"), ("assistant", "[[ ## sound ## ]]\nwoof\n")]
    assert pytest.approx(0.28) == PUPIL.chance([*demo, user])
    assert pytest.approx(0.97) == PUPIL.chance([*demo * 12, user])


def test_it_proposes_what_helps() -> None:
    """In the fields in which DSPy's optimizers ask, and as GEPA asks."""
    lm = model()
    with dspy.context(lm=lm, disable_history=True, trace=None):
        made = dspy.Predict("basic_instruction -> proposed_instruction, note")(basic_instruction="Do.")
        rules = dspy.Predict("examples -> natural_language_rules")(examples="…")
    for text in (made.proposed_instruction, rules.natural_language_rules):
        assert any(hint in text for hint in Lesson(answers=ANSWERS).hints)
    (reflected,) = lm("Write a new instruction … within ``` blocks.")
    assert reflected.startswith("```\nAnswer ")


def test_advice_is_for_each_module_that_is_named() -> None:
    """As SIMBA asks for it."""
    lm = model()
    predict: Any = dspy.Predict("module_names: list[str] -> module_advice: dict[str, str]")
    with dspy.context(lm=lm, disable_history=True, trace=None):
        made = predict(module_names=["first", "second"])
    assert {"first", "second"} == set(made.module_advice)


def test_what_is_not_in_its_lesson_it_answers_as_any_offline_model() -> None:
    """Visibly so."""
    with dspy.context(lm=model(), disable_history=True, trace=None):
        assert "sim" in dspy.Predict("animal -> sound")(animal="a dragon").sound


@pytest.mark.parametrize(
    "lesson", [{}, {"answers": {}}, {"answers": {"a": 1}}, {"answers": ANSWERS, "start": 2}]
)
def test_a_wrong_lesson_is_refused(lesson: object) -> None:
    """By its part."""
    lms = LanguageModels(HostFunctions())
    lms.configure({"default": LMConfig(model="sim/x", options={"lesson": lesson})}, {})
    with pytest.raises(DSPexError, match="lesson"):
        lms.get(None)


def test_the_lesson_of_the_tests_is_one() -> None:
    """As a server would read it."""
    assert read(LMConfig, LMS["default"], "lm").options["lesson"] == {"answers": ANSWERS, "start": 0.2}
