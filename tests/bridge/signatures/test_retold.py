"""Signature classes in other words: DSPy must see no difference to those that it builds itself."""

from __future__ import annotations

import inspect
from typing import Any

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.programs import RICH_SIGNATURE

from dspex_bridge.adapters.adapters import ADAPTERS
from dspex_bridge.signatures.retold import retold, words_of
from dspex_bridge.signatures.signatures import build_signature

BASE: Any = build_signature(RICH_SIGNATURE)
COUNT = len(BASE.fields)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
WORDS = st.lists(st.tuples(TEXT, TEXT), min_size=COUNT, max_size=COUNT).map(tuple)


def dspys_own(instructions: str, words: tuple[tuple[str, str], ...]) -> Any:
    """What DSPy makes of the same state."""
    fields = [{"prefix": prefix, "description": description} for prefix, description in words]
    return BASE.load_state({"instructions": instructions, "fields": fields})


@settings(max_examples=40)
@given(TEXT.map(inspect.cleandoc), WORDS)
def test_it_is_what_dspy_makes_of_the_same_state(
    instructions: str, words: tuple[tuple[str, str], ...]
) -> None:
    """In its state, its fields, and all that an adapter says of it."""
    ours: Any = retold(BASE, instructions, words)
    theirs = dspys_own(instructions, words)
    assert theirs.dump_state() == ours.dump_state()
    assert list(theirs.fields) == list(ours.fields)
    assert theirs.equals(ours)
    for adapter in ADAPTERS.values():
        assert adapter.format_system_message(theirs) == adapter.format_system_message(ours)


WORDED: Any = retold(BASE, "Say.", tuple((f"P{n}", f"D{n}") for n in range(COUNT)))
THEIRS = dspys_own("Say.", tuple((f"P{n}", f"D{n}") for n in range(COUNT)))


def derived(signature: Any, how: str) -> Any:
    match how:
        case "with_instructions" | "append_instructions":
            return getattr(signature, how)("Other.")
        case "delete":
            return signature.delete("photo")
        case "prepend":
            return signature.prepend("extra", dspy.OutputField(), str)
        case "with_updated_fields":
            return signature.with_updated_fields("answer", desc="another")
        case _:
            return dspy.ChainOfThought(signature).predict.signature


@pytest.mark.parametrize(
    "how",
    [
        "with_instructions",
        "append_instructions",
        "delete",
        "prepend",
        "with_updated_fields",
        "ChainOfThought",
    ],
)
def test_what_dspy_derives_from_it_is_the_same_too(how: str) -> None:
    """Adapters and optimizers do that all the time."""
    theirs, ours = derived(THEIRS, how), derived(WORDED, how)
    assert theirs.dump_state() == ours.dump_state()
    assert {name: field.annotation for name, field in theirs.fields.items()} == {
        name: field.annotation for name, field in ours.fields.items()
    }


def test_it_is_a_class_of_pydantic_still() -> None:
    """With the validators of the class that it comes from."""
    base: Any = build_signature("a: int -> b: list[str]")
    made: Any = retold(base, "Say.", (("A", "a"), ("B", "b")))
    assert 3 == made(a="3", b=["x"]).a
    assert "a" in made.model_json_schema()["properties"]
    with pytest.raises(ValueError):
        made(a="three", b=[])


def test_the_class_that_it_comes_from_stays_as_it_is() -> None:
    """Other versions of the program are made of it."""
    before = BASE.dump_state()
    retold(BASE, "Something else.", tuple(("p", "d") for _ in range(COUNT)))
    assert before == BASE.dump_state()


def test_the_same_words_give_the_same_class() -> None:
    """So that adapters know what they wrote for it; and where nothing is new nothing is made."""
    words = words_of(WORDED)
    assert retold(BASE, "Say.", words) is WORDED
    assert retold(BASE, BASE.instructions, words_of(BASE)) is BASE


@pytest.mark.parametrize("text", ["", "a\n  b", "  a\n\n    b\nc", "- a\n  - b\n  - c"])
def test_instructions_are_kept_to_the_letter(text: str) -> None:
    """DSPy's own load takes the indentation of a list away."""
    assert text == retold(BASE, text, words_of(BASE)).instructions
