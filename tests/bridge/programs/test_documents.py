"""DSPy's own JSON, against DSPy itself: written as it writes, read by it, and read here."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import dspy
import pytest
from tests.support.golden import CASES, build, over_the_wire
from tests.support.programs import (
    AUDIO,
    CITATIONS,
    CODE,
    DOCUMENT,
    FILE,
    HISTORY,
    IMAGE,
    REASONING,
    TOOL_CALLS,
)
from tests.support.recording import requests_of

from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.modules.catalog import Catalog
from dspex_bridge.programs.builder import Builder
from dspex_bridge.programs.documents import dump_document
from dspex_bridge.programs.live import LiveProgram
from dspex_bridge.programs.records import DSPY_VERSION, Spec, read_record
from dspex_bridge.signatures.signatures import build_signature
from dspex_bridge.values.incoming import from_wire
from dspex_bridge.values.outgoing import to_wire
from dspex_protocol import DSPexError, Tagged, encode_value

BUILDER = Builder()
PAIRS = Tagged("pairs", [[1, 2]])
SIGNATURE = {
    "instructions": "Look.",
    "inputs": [
        {"name": "question"},
        {"name": "photo", "type": "image"},
        {"name": "sound", "type": "audio", "optional": True},
        {"name": "paper", "type": "file", "optional": True},
        {"name": "program", "type": "code", "optional": True},
        {"name": "items", "type": "list[image]", "optional": True},
        {"name": "more", "type": "any", "optional": True},
        {"name": "day", "type": "date", "optional": True},
        {"name": "moment", "type": "datetime", "optional": True},
    ],
    "outputs": [{"name": "answer"}, {"name": "thought", "type": "reasoning"}],
}
SHOWN: dict[str, object] = {
    "question": "Where?",
    "photo": IMAGE,
    "sound": AUDIO,
    "paper": FILE,
    "program": CODE,
    "items": [IMAGE, IMAGE],
    "day": dt.date(2026, 1, 2),
    "moment": dt.datetime(2026, 1, 2, 3, 4, 5),
    "answer": "Rome",
    "thought": REASONING,
}
INPUTS = {"question": "And here?", "photo": dspy.Image("https://example.test/b.png")}
MODULES = {"Predict": "self", "ChainOfThought": "predict"}


def program(module: str, *demos: dict[str, object], **more: object) -> LiveProgram:
    """A program that has learned these demos."""
    reasoned = [{"reasoning": "since", **demo} if module == "ChainOfThought" else demo for demo in demos]
    state = {MODULES[module]: {"instructions": "Learned.\n- a", "demos": reasoned, **more}}
    return BUILDER.build(Spec(module=module, signature=SIGNATURE), over_the_wire(state))


def plain(module: str) -> Any:
    """The same module as DSPy alone has it."""
    return Catalog().build(module, build_signature(SIGNATURE), {}, Builder()).module


def undumped(document: str, module: str = "Predict") -> LiveProgram:
    record = BUILDER.undump(document, Spec(module=module, signature=SIGNATURE)).record()
    return BUILDER.load(read_record(over_the_wire(record)))


def first_demo(of: LiveProgram) -> Any:
    module: Any = of.module
    return module.demos[0]


@pytest.mark.parametrize("module", MODULES)
def test_a_program_is_written_as_dspy_writes_it(module: str, tmp_path: Path) -> None:
    """To the byte, metadata included."""
    ours = program(module, SHOWN, {"question": "x", "answer": "y"})
    theirs = plain(module)
    theirs.load_state(ours.module.dump_state())
    demos = dict(ours.module.named_predictors())[MODULES[module]].demos
    dict(theirs.named_predictors())[MODULES[module]].demos = demos
    theirs.save(tmp_path / "x.json")
    assert (tmp_path / "x.json").read_text() == dump_document(ours)


@pytest.mark.parametrize("module", MODULES)
def test_dspy_reads_what_is_written(module: str, tmp_path: Path) -> None:
    """And says the same to its model as the program here."""
    ours = program(module, SHOWN, {"question": "x", "answer": "y"}, train=[{"question": "z"}])
    (tmp_path / "x.json").write_text(dump_document(ours))
    theirs = plain(module)
    theirs.load(tmp_path / "x.json")
    assert requests_of(ours.module, INPUTS) == requests_of(theirs, INPUTS)
    assert [{"question": "z"}] == dict(theirs.named_predictors())[MODULES[module]].train


@pytest.mark.parametrize("module", MODULES)
def test_what_dspy_wrote_is_read(module: str, tmp_path: Path) -> None:
    """And says the same here as where it was saved, and as DSPy does that loads it."""
    theirs: Any = plain(module)
    predictor: Any = dict(theirs.named_predictors())[MODULES[module]]
    predictor.signature = predictor.signature.with_instructions("Optimized.")
    predictor.demos = [
        dspy.Example(
            {name: from_wire(over_the_wire(value)) for name, value in SHOWN.items()}, augmented=True
        ),
        dspy.Example(question="x", answer="y"),
    ]
    theirs.save(tmp_path / "x.json")
    ours = undumped((tmp_path / "x.json").read_text(), module)
    loaded = plain(module)
    loaded.load(tmp_path / "x.json")
    assert requests_of(theirs, INPUTS) == requests_of(ours.module, INPUTS) == requests_of(loaded, INPUTS)


def test_types_come_back_as_what_they_were() -> None:
    """Where the document's text and the field's type tell."""
    document = dump_document(program("Predict", SHOWN))
    demo = first_demo(undumped(document))
    kinds = {name: type(demo[name]) for name in SHOWN}
    assert {
        "question": str,
        "photo": dspy.Image,
        "sound": dspy.Audio,
        "paper": dspy.File,
        "program": dspy.Code,
        "items": list,
        "day": dt.date,
        "moment": dt.datetime,
        "answer": str,
        "thought": dspy.Reasoning,
    } == kinds
    assert isinstance(demo["items"][1], dspy.Image)
    assert document == dump_document(undumped(document))


@pytest.mark.parametrize("value", [DOCUMENT, CITATIONS, IMAGE, AUDIO, FILE, [IMAGE, {"a": AUDIO}]], ids=repr)
def test_marked_text_says_itself_what_it_was(value: object) -> None:
    """In a field of whatever type; only in one of the type `str` it stays text."""
    document = dump_document(program("Predict", {**SHOWN, "more": value}))
    more = first_demo(undumped(document)).more
    assert not isinstance(more, str)
    assert encode_value(value) == encode_value(to_wire(more))


@pytest.mark.parametrize(
    ("value", "lost"),
    [
        (TOOL_CALLS, "ids"),
        (HISTORY, "class"),
        (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "type"),
        ((1, 2), "tuple"),
        (float("inf"), "number"),
        (Tagged("money", {"a": 1}), "tag"),
    ],
    ids=repr,
)
def test_what_a_document_cannot_say_is_lost(value: object, lost: str) -> None:
    """The docstring tells. It is written and read all the same."""
    document = dump_document(program("Predict", {**SHOWN, "more": value}))
    assert document == dump_document(undumped(document))


@pytest.mark.parametrize("value", [b"x", Decimal("1.5"), dt.timedelta(1), 2**70, PAIRS], ids=repr)
def test_what_has_no_json_is_refused_by_its_path(value: object) -> None:
    """DSPy says only that it failed."""
    with pytest.raises(DSPexError) as refused:
        dump_document(program("Predict", {"question": "x", "answer": "y"}, {**SHOWN, "more": value}))
    assert ("value_unencodable", "state.self.demos[1].more") == (
        refused.value.code,
        refused.value.details["field"],
    )


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith("plain")])
def test_a_program_without_state_is_written_too(name: str) -> None:
    """As the module begins."""
    document = json.loads(dump_document(build(name)))
    assert DSPY_VERSION == document["metadata"]["dependency_versions"]["dspy"]


def test_writing_leaves_the_program_as_it_is() -> None:
    """Calls share its module."""
    ours = program("Predict", SHOWN, train=[{"question": "z"}])
    before = encode_value(ours.record())
    dump_document(ours)
    assert before == encode_value(ours.record())


# What must not come in

GOOD: dict[str, Any] = json.loads(dump_document(program("Predict", SHOWN)))
NESTED: dict[str, Any] = json.loads(dump_document(program("ChainOfThought", SHOWN)))


def changed(**changes: object) -> str:
    return json.dumps({**GOOD, **changes})


def test_a_language_model_in_a_document_is_dropped_whole() -> None:
    """Key, address, class and headers."""
    lm = {
        "_dspy_lm_class": "evil.module.LM",
        "model": "openai/canary-model",
        "api_key": "canary-key",
        "api_base": "http://canary.test",
        "model_list": [{"litellm_params": {"api_key": "canary-nested"}}],
        "extra_headers": {"Authorization": "Bearer canary-header"},
    }
    assert b"canary" not in encode_value(undumped(changed(lm=lm)).record())


def test_traces_are_dropped() -> None:
    """They hold prompts, and DSPy's optimizers drop them when they are done."""
    assert b"canary" not in encode_value(undumped(changed(traces=["canary"])).record())


def test_a_document_without_metadata_is_read() -> None:
    """Its versions only help to explain what does not fit."""
    undumped(json.dumps({name: part for name, part in GOOD.items() if name != "metadata"}))


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ("", "document"),
        ("[]", "document"),
        ("[" * 100_000, "document"),
        ('{"a":' * 1000 + "1" + "}" * 1000, "document.a"),
        ("{}", "document.signature"),
        (changed(metadata=3), "document.metadata"),
        (changed(lm="openai/x"), "document.lm"),
        (changed(forward="x"), "document.forward"),
        (changed(__class__="x"), "document.__class__"),
        (changed(extended_signature={}), "document.extended_signature"),
        (changed(demos=[3]), "document.demos"),
        (changed(demos={}), "document.demos"),
        (changed(signature={"instructions": "x", "fields": []}), "document.signature.fields"),
        (changed(signature={"instructions": "x"}), "document.signature.fields"),
        (changed(signature="evil.module.T -> a"), "document.signature"),
        (changed(fields={"answer": {"threshold": 1}}), "document.self.decisions"),
    ],
    ids=lambda value: value[:40],
)
def test_a_document_of_another_shape_is_refused_by_its_part(document: str, field: str) -> None:
    """DSPy would set unknown keys as attributes and pair fields by position."""
    with pytest.raises(DSPexError) as refused:
        undumped(document)
    assert "invalid_argument" == refused.value.code
    assert str(refused.value.details["field"]).startswith(field)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "document.predict"),
        (GOOD, "document.traces"),
        ({**NESTED, "predict": []}, "document.predict"),
        ({**NESTED, "other": {}}, "document.other"),
        ({**NESTED, "predict": {**NESTED["predict"], "x": 1}}, "document.predict.x"),
    ],
)
def test_a_document_of_another_module_is_refused_too(document: dict[str, Any], field: str) -> None:
    """By the predictors that it has."""
    with pytest.raises(DSPexError) as refused:
        undumped(json.dumps(document), "ChainOfThought")
    assert field == refused.value.details["field"]


def test_a_document_of_another_dspy_that_does_not_fit_names_both() -> None:
    """The module may have had other predictors there."""
    versions = {"dependency_versions": {"python": "3.9", "dspy": "2.5.0"}}
    with pytest.raises(DSPexError, match=f"2.5.0.*{DSPY_VERSION}"):
        undumped(json.dumps({"predict.predict": NESTED["predict"], "metadata": versions}), "ChainOfThought")
    undumped(changed(metadata=versions))


def test_demos_that_do_not_fit_their_types_are_kept_as_dspy_keeps_them() -> None:
    """It shows whatever is there, and here it shows the same."""
    demo = {"question": 3, "photo": "no image", "answer": ["x"], "day": "someday", "thought": None}
    document = changed(demos=[demo])
    theirs = plain("Predict")
    theirs.load_state(json.loads(document))
    assert requests_of(theirs, INPUTS) == requests_of(undumped(document).module, INPUTS)


class Searching(dspy.Module):  # type: ignore[misc]
    """A search and an answer, as a user of DSPy would write it."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.search: Any = dspy.Module()
        self.search.retrieve = dspy.Retrieve(k=k)
        self.write: Any = dspy.Predict("passages: list[str] -> answer")


def test_a_program_with_a_retriever_is_written_and_dspy_reads_it(tmp_path: Path) -> None:
    """DSPy's own `save` fails of it; its `load` takes how many passages there are to be, and so do we."""
    functions = HostFunctions()
    functions.configure(["find"])
    nodes = {
        "search": {"module": "Retrieve", "options": {"function": "find", "k": 7}},
        "write": {"module": "Predict", "signature": "passages: list[str] -> answer"},
    }
    spec = Spec(module="Pipeline", signature="query -> answer", options={"nodes": nodes})
    builder = Builder(functions=functions)
    made = builder.build(spec, {"write": {"instructions": "Learned."}})
    document = dump_document(made)
    path = tmp_path / "searching.json"
    path.write_text(document)
    theirs = Searching(k=3)
    theirs.load(str(path))
    assert (7, "Learned.") == (theirs.search.retrieve.k, theirs.write.signature.instructions)
    assert made.state == builder.undump(document, spec).state
