"""The adapters that remember write what DSPy's own write, to the letter."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_bridge.adapters.adapters import ADAPTERS
from dspex_bridge.signatures.signatures import build_signature

DSPY_ADAPTERS = {"chat": dspy.ChatAdapter, "json": dspy.JSONAdapter, "xml": dspy.XMLAdapter}

SIGNATURES = (
    "question -> answer",
    "question: str, k: int = 3 -> answer: list[str], score: float",
    {
        "instructions": "Sort the ticket.\nBe terse.",
        "inputs": [{"name": "ticket", "desc": "what the customer wrote"}],
        "outputs": [
            {"name": "kind", "enum": ["bug", "wish"]},
            {"name": "urgency", "type": "int", "ge": 0, "le": 10},
        ],
    },
)


@pytest.mark.parametrize("name", sorted(ADAPTERS))
@pytest.mark.parametrize("description", SIGNATURES, ids=("plain", "typed", "constrained"))
def test_messages_are_those_of_dspy(name: str, description: object) -> None:
    """First and later prompts, with and without demos, equal DSPy's own."""
    signature = build_signature(description)
    inputs = {field: f"value of {field}" for field in signature.input_fields}
    demo = dict.fromkeys(signature.fields, "x")
    for demos in ([], [demo], []):
        expected = DSPY_ADAPTERS[name]().format(signature, demos, inputs)
        assert expected == ADAPTERS[name].format(signature, demos, inputs)


@given(question=st.text(), context=st.text(), prefix=st.sampled_from(("", "Before.")), main=st.booleans())
def test_plain_text_is_written_as_dspy_writes_it(
    question: str, context: str, prefix: str, main: bool
) -> None:
    """The short way for text gives the same message for any text."""
    signature = build_signature("question, context -> answer")
    inputs = {"question": question, "context": context}
    expected = dspy.ChatAdapter().format_user_message_content(signature, inputs, prefix, "", main)
    assert expected == ADAPTERS["chat"].format_user_message_content(signature, inputs, prefix, "", main)


def test_signatures_do_not_share_a_memory() -> None:
    """Two signatures that differ in their instructions alone get prompts of their own."""
    one = build_signature("question -> answer")
    other = one.with_instructions("Answer in French.")
    prompts = [
        ADAPTERS["chat"].format(signature, [], {"question": "?"})[0]["content"] for signature in (one, other)
    ]
    assert "Answer in French." not in prompts[0]
    assert "Answer in French." in prompts[1]


def test_instructions_that_are_written_into_a_signature_are_seen() -> None:
    """DSPy's InferRules does so; no other copy of the signature says them."""
    signature: Any = build_signature("question -> answer").with_instructions("Answer in German.")
    prompts: list[str] = []
    for language in ("German", "French"):
        signature.instructions = f"Answer in {language}."
        prompts.append(ADAPTERS["chat"].format(signature, [], {"question": "?"})[0]["content"])
    assert ["German" in prompt for prompt in prompts] == [True, False]
    assert "Answer in French." in prompts[1]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("chat", "[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"),
        ("json", '{"answer": "yes"}'),
        ("xml", "<answer>yes</answer>"),
    ],
)
def test_answers_are_read_as_dspy_reads_them(name: str, answer: str) -> None:
    """Remembering what is written leaves reading alone."""
    signature = build_signature("question -> answer")
    assert {"answer": "yes"} == ADAPTERS[name].parse(signature, answer)
