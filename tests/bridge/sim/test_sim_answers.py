"""The offline model's answers: they parse, they fit, they repeat, they say what they are."""

from __future__ import annotations

import datetime as dt
import enum
import subprocess
import sys
import uuid
from decimal import Decimal
from typing import Any, Literal

import dspy
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_bridge.sim.model import SimModel, SimOptions
from dspex_bridge.sim.request import Style, read_format
from dspex_bridge.sim.typenames import read_type_name


class Color(enum.Enum):
    RED = "red"
    BLUE = "light blue"


class Part(pydantic.BaseModel):
    code: str = pydantic.Field(pattern=r"^[A-Z]{2}-\d{3}$")
    count: int = pydantic.Field(ge=10, lt=13)


class Order(pydantic.BaseModel):
    customer: str = pydantic.Field(min_length=3, max_length=8)
    parts: list[Part] = pydantic.Field(min_length=1, max_length=2)
    kind: Literal["new", "old"]
    follows: Order | None = None


class Common(dspy.Signature):  # type: ignore[misc]
    """Answer in every type that all adapters describe."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField(desc="1. `answer` (int): is\n2. no field of its own")
    short: str = dspy.OutputField(min_length=2, max_length=5)
    count: int = dspy.OutputField(ge=3, le=5)
    share: float = dspy.OutputField(gt=0, lt=1, multiple_of=0.25)
    sure: bool = dspy.OutputField()
    color: Color = dspy.OutputField()
    choice: Literal["it's; so", "(b): c", 3] = dspy.OutputField()
    numbers: list[int] = dspy.OutputField(min_length=2, max_length=4)
    day: dt.date = dspy.OutputField()
    moment: dt.datetime = dspy.OutputField()
    hour: dt.time = dspy.OutputField()
    span: dt.timedelta = dspy.OutputField()
    key: uuid.UUID = dspy.OutputField()
    raw: bytes = dspy.OutputField()
    price: Decimal = dspy.OutputField()
    maybe: int | None = dspy.OutputField()
    maybe_text: str | None = dspy.OutputField()
    mixed: int | str = dspy.OutputField()
    days: list[dt.date] = dspy.OutputField()
    table: dict[str, float] = dspy.OutputField()
    by_number: dict[int, str] = dspy.OutputField()
    anything: Any = dspy.OutputField()
    source: dspy.Code = dspy.OutputField()


class Nested(dspy.Signature):  # type: ignore[misc]
    """Answer with objects; XML prompts do not tell the types of their fields."""

    question: str = dspy.InputField()
    order: Order = dspy.OutputField()
    orders: list[Order] = dspy.OutputField()


CHAT = dspy.ChatAdapter(use_json_adapter_fallback=False)
JSON = dspy.JSONAdapter()
XML = dspy.XMLAdapter(use_json_adapter_fallback=False)


def prompt(
    adapter: dspy.Adapter, signature: type[dspy.Signature], question: str = "q"
) -> list[tuple[str, str]]:
    """What the adapter sends."""
    messages = adapter.format(signature, [], {"question": question})
    return [(message["role"], message["content"]) for message in messages]


def answered(adapter: dspy.Adapter, signature: type[dspy.Signature], seed: int) -> dict[str, Any]:
    """The offline answer as the adapter reads it."""
    answer = SimModel(SimOptions(seed=seed)).answer(prompt(adapter, signature))
    fields: dict[str, Any] = adapter.parse(signature, answer.text)
    return fields


@pytest.mark.parametrize("adapter", [CHAT, JSON, XML], ids=["chat", "json", "xml"])
def test_answers_to_common_types_parse_and_fit(adapter: dspy.Adapter) -> None:
    """Whatever the seed, each adapter reads its answer and the constraints hold."""
    for seed in range(200):
        fields = answered(adapter, Common, seed)
        assert 2 <= len(fields["short"]) <= 5
        assert 3 <= fields["count"] <= 5
        assert fields["share"] in (0.25, 0.5, 0.75)
        assert 2 <= len(fields["numbers"]) <= 4
        assert fields["choice"] in ("it's; so", "(b): c", 3)
        assert fields["answer"].startswith("sim: ")


@pytest.mark.parametrize("adapter", [CHAT, JSON], ids=["chat", "json"])
def test_answers_with_objects_parse_and_fit(adapter: dspy.Adapter) -> None:
    """Schemas of objects are kept inside and out: pydantic checks every constraint."""
    for seed in range(200):
        fields = answered(adapter, Nested, seed)
        assert isinstance(fields["order"], Order)
        assert fields["orders"]


def test_choices_are_not_all_the_same() -> None:
    """Seeds make a difference."""
    assert {answered(CHAT, Common, seed)["choice"] for seed in range(30)} == {"it's; so", "(b): c", 3}


def test_the_same_request_gets_the_same_answer_in_another_process() -> None:
    """Nothing depends on this process: no hash(), no clock, no order of calls."""
    script = (
        "from dspex_bridge.sim import SimModel, SimOptions;"
        "print(SimModel(SimOptions(seed=7)).answer([('user', 'hello')], 0.5).text.encode().hex())"
    )
    texts = {
        subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout
        for _ in range(2)
    }
    here = SimModel(SimOptions(seed=7)).answer([("user", "hello")], 0.5).text.encode().hex() + "\n"
    assert texts == {here}


@pytest.mark.parametrize(
    "other", [{"seed": 8}, {"text": "goodbye"}, {"temperature": 0.7}], ids=["seed", "text", "temperature"]
)
def test_another_request_gets_another_answer(other: dict[str, Any]) -> None:
    """Seed, messages and temperature all count."""

    def answer(seed: int = 7, text: str = "hello", temperature: float = 0.5) -> str:
        return SimModel(SimOptions(seed=seed)).answer([("user", text)], temperature).text

    assert answer(**other) != answer()


def test_a_prompt_without_fields_gets_plain_text() -> None:
    """Somebody may ask an LM directly."""
    assert SimModel(SimOptions()).answer([("user", "hi")]).text.startswith("sim: ")


def test_a_response_format_goes_before_the_prompt() -> None:
    """A client may send a JSON schema instead of DSPy's words."""
    answer = SimModel(SimOptions()).answer([("user", "hi")], None, Part.model_json_schema())
    assert Part.model_validate_json(answer.text).count in (10, 11, 12)


def test_the_format_of_each_adapter_is_recognised() -> None:
    """The style decides how values are written."""
    styles = [read_format(prompt(adapter, Common)[0][1]).style for adapter in (CHAT, JSON, XML)]
    assert styles == [Style.CHAT, Style.JSON, Style.XML]


def test_type_names_are_read_without_evaluating_them() -> None:
    """Nested names become nested schemas."""
    schema = read_type_name("Union[list[Literal['a, b]', 3]], NoneType]")
    assert schema == {
        "anyOf": [{"type": "array", "items": {"enum": ["a, b]", 3]}, "uniqueItems": False}, {"type": "null"}]
    }


@given(st.text(max_size=200))
def test_any_system_message_is_answered(noise: str) -> None:
    """Hostile contracts are at worst answered badly, never with an exception."""
    fields = f"Your output fields are:\n1. `a` (list[{noise}): {noise}"
    system = f"{fields}\nAll interactions will be structured in the following way{noise}"
    assert SimModel(SimOptions()).answer([("system", system)]).text
