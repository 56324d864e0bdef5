"""Flex: source code as what a program has learned. It is text to a worker, and runs in the sandbox."""

from __future__ import annotations

import asyncio
import os
import socket
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import dspy
import pytest
from dspy.utils import DummyLM
from tests.support.escapes import QUIET
from tests.support.interpreters import PlainInterpreter
from tests.support.servers import count

from dspex_bridge.code import sandboxed
from dspex_bridge.code.flex import MAX_SOURCE_BYTES
from dspex_bridge.code.interpreters import Interpreters, Lease
from dspex_bridge.code.sandbox import Lacking
from dspex_bridge.host_functions import HostFunctions
from dspex_bridge.modules.running import run_module
from dspex_bridge.programs.builder import Builder
from dspex_bridge.programs.documents import dump_document
from dspex_bridge.programs.live import LiveProgram
from dspex_bridge.programs.records import Spec, read_record
from dspex_bridge.signatures.signatures import build_signature
from dspex_protocol import DSPexError, decode_value, encode_value

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # DSPy's own interpreter leaves its pipes to be collected
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::DeprecationWarning",
)

SECRET: Final = "sk-flex-77d0c1b94e"
EVERY: Final = count("flex_escapes", 12)
"""Every so many of the pieces that try to get out; with 1 all of them."""

SPEC: Final = Spec(module="Flex", signature="question -> answer")
COUNTS: Final = """class Counts(dspy.Module):
    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> word")

    def forward(self, **inputs):
        word = self.ask(question=inputs["question"]).word
        return dspy.Prediction(answer=f"{word} has {len(word)} letters")"""
LOOK: Final[dict[str, object]] = {
    "name": "look",
    "desc": "Tells how many.",
    "args": {"thing": {"type": "string"}},
}


def module_of(body: str) -> str:
    """Source whose forward answers with what a piece of code prints, or fails with."""
    lines = textwrap.indent(body, " " * 12)
    return (
        "class Tries(dspy.Module):\n    def forward(self, **inputs):\n"
        "        import contextlib, io\n        said = io.StringIO()\n"
        f"        try:\n            print = lambda *texts: said.write(repr(texts))\n{lines}\n"
        "        except BaseException as reason:\n            said.write(repr(reason))\n"
        "        return dspy.Prediction(answer=said.getvalue())"
    )


def learned(source: str, spec: Spec = SPEC) -> LiveProgram:
    """A program with that source, read from its record."""
    program = Builder().build(spec, {"self": {"source": source}})
    return Builder().load(read_record(decode_value(encode_value(program.record()))))


# What is kept, and what is refused: no sandbox is needed for it -----------------------------


def test_source_is_kept_as_it_is() -> None:
    """In records, in patches, in DSPy's own JSON both ways; with the name of a language model."""
    program = learned(COUNTS)
    assert {"self": {"source": COUNTS}} == program.state
    module: Any = program.for_one_call().module
    assert COUNTS == module.module_src
    named = Builder().revise(program, None, {"self": {"lm": "other"}})
    assert {"self": {"source": COUNTS, "lm": "other"}} == named.state
    make: Any = dspy.Flex
    alone = make("question -> answer")
    document = dump_document(named)
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"flex-{os.getpid()}.json"
    path.write_text(document)
    alone.load(path)
    path.unlink()
    assert COUNTS == alone.module_src
    assert {"self": {"source": COUNTS}} == Builder().undump(document, SPEC).state


def test_what_was_learned_goes_over_to_another_spec() -> None:
    """Source that was given stays; what the spec alone says does not."""
    other = Spec(module="Flex", signature="question -> answer", options={"max_predictor_calls": 3})
    assert {"self": {"source": COUNTS}} == Builder().revise(learned(COUNTS), other).state
    new = Spec(module="Flex", signature="text -> answer")
    assert "text" in str(Builder().revise(Builder().build(SPEC), new).state)
    with pytest.raises(DSPexError, match="a part of the same kind"):
        Builder().revise(learned(COUNTS), Spec(module="Predict", signature="question -> answer"))


def test_it_is_a_part_of_others() -> None:
    """With its state under its name, beside those of predictors."""
    nodes = {
        "count": {"module": "Flex", "signature": "question -> word"},
        "say": {"module": "Predict", "signature": "word -> answer"},
    }
    spec = Spec(module="Pipeline", signature="question -> answer", options={"nodes": nodes})
    program = Builder().build(spec, {"count": {"source": COUNTS}, "say": {"instructions": "Say it."}})
    state: Any = program.state
    assert COUNTS == state["count"]["source"]
    assert program.template.runs_code
    assert "count" in dump_document(program)


TOO_DEEP: Final = "class A:\n    def forward(self): return " + "-" * 60_000 + "1"
CHAINED: Final = "class A:\n    def forward(self): return a" + ".a" * 30_000
ADDED: Final = "class A:\n    def forward(self): return a" + "+a" * 30_000
NESTED: Final = "class A:\n    def forward(self): return " + "(" * 30_000 + ")" * 30_000


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", "expected Python source with a class"),
        ("x = 1", "expected Python source with a class"),
        ("class A: pass", "expected Python source with a class"),
        ("def forward(self): pass", "expected Python source with a class"),
        ("class A:\n  def forward(self: return", "mistake in line 2"),
        (COUNTS + "\0", "expected Python source with a class"),
        (COUNTS + "#\ud800", "cannot parse"),
        (COUNTS + "#" * MAX_SOURCE_BYTES, f"at most {MAX_SOURCE_BYTES} bytes"),
        (TOO_DEEP, "expected Python source with a class"),
        (CHAINED, "cannot parse"),
        (ADDED, "cannot parse"),
        (NESTED, "expected Python source with a class"),
    ],
)
def test_source_that_is_none_is_refused(source: str, expected: str) -> None:
    """By its path and without a word of it; none of it takes the worker down."""
    with pytest.raises(DSPexError, match=expected) as refused:
        Builder().build(SPEC, {"self": {"source": source}})
    assert "state.self.source" == refused.value.details["field"]
    record: Any = Builder().build(SPEC).record()
    record["state"]["self"]["source"] = source
    with pytest.raises(DSPexError, match=expected):
        Builder().load(read_record(record))


@pytest.mark.parametrize(
    ("spec", "patch", "field"),
    [
        (SPEC, {"instructions": "Be brief."}, "state.self.instructions"),
        (SPEC, {"demos": []}, "state.self.demos"),
        (Spec(module="Predict", signature="question -> answer"), {"source": COUNTS}, "state.self.source"),
    ],
)
def test_a_part_has_what_its_kind_has(spec: Spec, patch: dict[str, object], field: str) -> None:
    """Source is no predictor's, and instructions are not those of source."""
    with pytest.raises(DSPexError) as refused:
        Builder().build(spec, {"self": patch})
    assert field == refused.value.details["field"]


def test_nothing_of_it_runs_in_the_worker(tmp_path: Path) -> None:
    """Not when it is given, stored, read, copied, written as DSPy does, or changed."""
    made = tmp_path / "made"
    touch = f"open({str(made)!r}, 'w').close()"
    source = (
        f"{touch}\n@({touch} or (lambda x: x))\nclass A(dspy.Module, metaclass=({touch} or type)):\n"
        f"    {touch}\n    def __init__(self, x={touch}): pass\n"
        f"    def forward(self, x: {touch} = {touch}): pass"
    )
    program = learned(source)
    program.for_one_call()
    Builder().undump(dump_document(program), SPEC)
    Builder().revise(program, None, {"self": {"lm": "other"}}).record()
    assert not made.exists()


async def test_without_a_sandbox_nothing_is_run() -> None:
    """A typed error says what is not there, also of source that asks no model."""
    lacking = Interpreters(find=lambda: Lacking(what="Deno is not installed", advice="install it"))
    with pytest.raises(DSPexError) as refused:
        await here(learned(module_of("print(1)")), lacking.lease(), [], question="?")
    assert "not_permitted" == refused.value.code
    assert "Deno is not installed" == refused.value.details["lacking"]


# In the sandbox --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def interpreters() -> Iterator[Interpreters]:
    made = Interpreters()
    yield made
    made.close()


@pytest.fixture(scope="module", autouse=True)
def plain_interpreters() -> Iterator[None]:
    """Of DSPy alone: one process serves all programs."""
    yield
    PlainInterpreter.end_all()


@pytest.fixture
async def lease(interpreters: Interpreters) -> AsyncIterator[Lease]:
    made = interpreters.lease()
    yield made
    made.close()


async def here(program: LiveProgram, lease: Lease, answers: list[Any], **inputs: Any) -> Any:
    """Through the bridge's build of it."""
    with dspy.context(lm=DummyLM(answers), adapter=dspy.ChatAdapter(), interpreter_factory=lease):
        return await run_module(program.for_one_call().module, inputs, is_async=program.template.runs_async)


def alone(make: Callable[[], Any], answers: list[Any], **inputs: Any) -> Any:
    """DSPy by itself."""
    with dspy.context(lm=DummyLM(answers), adapter=dspy.ChatAdapter()):
        return make()(**inputs)


TYPED: Final = """class Typed(dspy.Module):
    def forward(self, **inputs):
        import re
        found = [int(word) for word in re.findall(r"\\d+", inputs["text"])]
        return dspy.Prediction(numbers=found, total=sum(found) / 2)"""
ASKS_TWICE: Final = """class Twice(dspy.Module):
    def __init__(self):
        super().__init__()
        self.think = dspy.ChainOfThought("question -> draft")
        self.check = dspy.Predict(dspy.Signature("draft -> good: bool", "Is it good?"))

    def forward(self, **inputs):
        draft = self.think(question=inputs["question"])
        return dspy.Prediction(answer=f"{draft.draft} {self.check(draft=draft.draft).good}")"""
PLAIN: Final = module_of('print("a", 1)').replace("Tries", "Plain")
RUNS: Final[list[tuple[str, str | None, list[dict[str, object]], dict[str, object]]]] = [
    ("question -> answer", None, [{"answer": "four"}], {"question": "two and two?"}),
    ("question -> answer", COUNTS, [{"word": "pipe"}], {"question": "which?"}),
    ("text -> numbers: list[int], total: float", TYPED, [], {"text": "1 and 22"}),
    (
        "question -> answer",
        ASKS_TWICE,
        [{"reasoning": "r", "draft": "so"}, {"good": "True"}],
        {"question": "?"},
    ),
    ("question -> answer", PLAIN, [], {"question": "é"}),
]


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS, ids=["baseline", "counts", "typed", "asks twice", "plain"])
async def test_it_is_dspys(
    run: tuple[str, str | None, list[dict[str, object]], dict[str, object]], lease: Lease
) -> None:
    """Source that asks models and source that does not: the same prediction as DSPy's alone."""
    signature, source, answers, inputs = run
    spec = Spec(module="Flex", signature=signature)
    program = Builder().build(spec) if source is None else learned(source, spec)

    def make() -> Any:
        class_: Any = dspy.Flex
        flex = class_(build_signature(signature), interpreter_factory=PlainInterpreter)
        if source is not None:
            flex.load_state({"module_src": source})
        return flex

    given = await here(program, lease, answers, **inputs)
    expected = await asyncio.to_thread(alone, make, answers, **inputs)
    assert expected.toDict() == given.toDict()


@pytest.mark.slow
async def test_its_source_calls_functions_of_the_host(lease: Lease) -> None:
    """By their names, as tools."""

    async def call_host(name: str, args: Mapping[str, object]) -> object:
        await asyncio.sleep(0)
        return len(str(args["thing"]))

    functions = HostFunctions(call_host, asyncio.get_running_loop())
    functions.configure(["look"])
    source = module_of("print(look(thing='abc'))")
    spec = Spec(module="Flex", signature="question -> answer", options={"tools": [LOOK]})
    program = Builder(functions=functions).build(spec, {"self": {"source": source}})
    assert "(3,)" == (await here(program, lease, [], question="?")).answer
    assert frozenset({"look"}) == program.template.functions


@pytest.mark.slow
async def test_settings_of_a_call_reach_the_models_of_its_source(lease: Lease) -> None:
    """As they do in other modules; they are no input of it."""
    asked: list[object] = []

    class Model(DummyLM):  # type: ignore[misc]
        def __call__(self, *args: Any, **settings: Any) -> Any:
            asked.append({**self.kwargs, **settings}.get("temperature"))
            return super().__call__(*args, **settings)

    module: Any = learned(COUNTS).for_one_call().module
    inputs = {"question": "?", "config": {"temperature": 0.25}}
    with dspy.context(lm=Model([{"word": "pipe"}]), adapter=dspy.ChatAdapter(), interpreter_factory=lease):
        given: Any = await run_module(module, inputs, is_async=False)
    assert "pipe has 4 letters" == given.answer
    assert [0.25] == asked


@pytest.mark.slow
@pytest.mark.parametrize("name", list(QUIET)[::EVERY])
async def test_source_reaches_nothing(
    name: str, lease: Lease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file, no variable, no connection, no process: neither in what it answers nor outside."""
    monkeypatch.setattr(sandboxed, "EXECUTION_S", 5.0)
    monkeypatch.setenv("DSPEX_TEST_SECRET", SECRET)
    (tmp_path / "file").write_text(SECRET)
    folder = tmp_path / "folder"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        code = QUIET[name].format(
            file=tmp_path / "file", folder=folder, port=listener.getsockname()[1], pid=os.getpid()
        )
        try:
            told = str((await here(learned(module_of(code)), lease, [], question="?")).answer)
        except (DSPexError, RuntimeError, SyntaxError) as reason:
            told = str(reason)
        assert SECRET not in told
        assert [] == list(folder.iterdir())
        with pytest.raises((BlockingIOError, TimeoutError)):
            listener.accept()


@pytest.mark.slow
async def test_what_it_builds_cannot_reach_into_the_worker(lease: Lease) -> None:
    """Types that would be imported and options that choose something of Python are refused to it."""
    refused = [
        'dspy.Predict("a: os.system -> b")',
        'dspy.Predict("a: antigravity -> b")',
        'dspy.Predict("a -> b", callbacks=[1])',
        'dspy.RLM("a -> b", interpreter_factory=1)',
        'dspy.RLM("a -> b", sub_lm="x")',
    ]
    builds = [
        f"try:\n    self.part = {predictor}\n    print({number})\nexcept Exception: pass"
        for number, predictor in enumerate([*refused, 'dspy.Predict("a -> b")'])
    ]
    told = await here(learned(module_of("\n".join(builds))), lease, [], question="?")
    assert f"({len(refused)},)" == told.answer
