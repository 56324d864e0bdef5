"""The parser of DSPy's string form: what it reads, what it refuses, and that it runs nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex_bridge.signatures.grammar import MAX_CHARACTERS, MAX_NESTING, parse_signature, parse_type
from dspex_protocol import DSPexError


def field(name: str, type_: object = "str", **rest: object) -> dict[str, object]:
    return {"name": name, "type": type_, **rest}


@pytest.mark.parametrize(
    ("text", "inputs", "outputs"),
    [
        ("question -> answer", [field("question")], [field("answer")]),
        ("-> answer", [], [field("answer")]),
        ("a, b, -> c,", [field("a"), field("b")], [field("c")]),
        (
            "a: INT, b: List[Str]->c",
            [field("a", "int"), field("b", {"kind": "list", "items": "str"})],
            [field("c")],
        ),
        (
            "k: int = -3 -> s: float = 1.5e2",
            [field("k", "int", default=-3)],
            [field("s", "float", default=150.0)],
        ),
        (
            r"a = 'it\'s', b = None -> c: bool = TRUE",
            [field("a", default="it's"), field("b", default=None)],
            [field("c", "bool", default=True)],
        ),
        ("a\n->\n\tb : list", [field("a")], [field("b", "list")]),
    ],
)
def test_the_string_form_becomes_the_map_form(text: str, inputs: object, outputs: object) -> None:
    """Names, types in any case and defaults, with space anywhere."""
    assert {"inputs": inputs, "outputs": outputs} == parse_signature(text)


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("dict[str, list[int]]", {"kind": "map", "values": {"kind": "list", "items": "int"}}),
        ("int | str", {"kind": "union", "types": ["int", "str"]}),
        ("int | None", {"kind": "optional", "of": "int"}),
        ("Union[int, str, None]", {"kind": "optional", "of": {"kind": "union", "types": ["int", "str"]}}),
        ("Optional[image]", {"kind": "optional", "of": "image"}),
        ("Literal['a', \"b\", 3]", {"kind": "enum", "values": ["a", "b", 3]}),
        ("list", "list"),
        ("dict", "dict"),
    ],
)
def test_a_type_is_read(text: str, type_: object) -> None:
    """Generic types become maps; plain ones stay words in lower case."""
    assert type_ == parse_type(text)


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("question", 8, "'->'"),
        ("a -> b -> c", 7, "',' or the end"),
        ("a: os.system -> b", 5, "a name"),
        ("a: strr -> b", 3, "one of the types str, int"),
        ("a: dict[int, str] -> b", 8, "str, since"),
        ("a: list[int -> b", 12, "']'"),
        ("a: none -> b", 8, "a type besides none"),
        ("a: union[none] -> b", 13, "a type besides none"),
        ("a = [] -> b", 4, "a number, a quoted string"),
        ("a = 'x -> b", 4, "a closing quote"),
        ("a = 1e999 -> b", 4, "within the range of a double"),
        ("a = " + "9" * 5000 + " -> b", 4, "a number of at most 64 characters"),
        ("1a -> b", 0, "a field's name"),
    ],
)
def test_a_refusal_tells_position_and_what_was_expected(text: str, position: int, expected: str) -> None:
    """Enough to mark the place in the caller's text."""
    with pytest.raises(DSPexError) as refused:
        parse_signature(text, "spec.signature")
    assert "invalid_argument" == refused.value.code
    assert "spec.signature" == refused.value.details["field"]
    assert position == refused.value.details["position"]
    assert expected in str(refused.value.details["expected"])


def test_length_and_nesting_are_bounded() -> None:
    """The limits themselves pass; one more does not."""
    deep = "list[" * MAX_NESTING + "int" + "]" * MAX_NESTING
    parse_type(deep)
    parse_signature("a -> b" + " " * (MAX_CHARACTERS - 6))
    with pytest.raises(DSPexError, match="levels of"):
        parse_type(f"list[{deep}]")
    with pytest.raises(DSPexError, match="at most 16384 characters"):
        parse_signature("a -> b" + " " * (MAX_CHARACTERS - 5))


PAYLOADS = (
    *(
        "os.system('id')",
        "__import__('os')",
        "subprocess.Popen",
        "eval('1')",
        "lambda: 0",
        "list[os]",
        "int()",
    ),
    *(
        "pickle.loads",
        "typing.Any",
        "builtins.exec",
        "dspy.LM",
        "antigravity",
        "this",
        "object",
        "type",
        "Field(ge=1)",
    ),
    *(
        "{1}",
        "(1)",
        "[1]",
        "f'{x}'",
        "b'x'",
        "0x10",
        "1_0",
        "...",
        "*args",
        "**kw",
        "@x",
        ";x",
        "x:=1",
        "\\x",
        "\0",
    ),
    *(
        "int if x else y",
        "await x",
        "'a' 'b'",
        "`x`",
        "#",
        "!",
        "$x",
        "%s",
        "list[int][0]",
        "dict[",
        "]",
        "|",
        "int |",
    ),
)
TEMPLATES = ("a: {} -> b", "a: optional[{}] -> b", "a -> b: {}", "a = {} -> b", "a: list[{}] -> b")


@pytest.fixture(scope="module")
def audited() -> list[str]:
    """Names of the audit events of this process; hooks cannot be removed, so it has one for all tests."""
    events: list[str] = []
    sys.addaudithook(lambda name, _: events.append(name) if recording else None)
    return events


recording: list[bool] = []


@pytest.fixture
def events(audited: list[str]) -> Iterator[list[str]]:
    audited.clear()
    yield audited
    recording.clear()


def test_nothing_is_imported_compiled_or_run_by_hostile_text(events: list[str]) -> None:
    """200 strings that DSPy's parser, `eval` or `import` would act on."""
    hostile = [template.format(payload) for payload in PAYLOADS for template in TEMPLATES]
    assert len(hostile) >= 200
    refusals = 0
    recording.append(True)
    for text in hostile:
        try:
            parse_signature(text)
        except DSPexError:
            refusals += 1
    recording.clear()
    # Adjacent literals and the like are caught as well; only what the grammar has may pass.
    assert refusals >= len(hostile) * 0.95
    assert [] == [name for name in events if name not in HARMLESS]


HARMLESS = frozenset({"sys._getframe", "gc.start"})


def test_the_audit_hook_sees_what_it_must_see(events: list[str]) -> None:
    """The test above can fail: an `eval` shows."""
    recording.append(True)
    eval("1")
    recording.clear()
    assert {"compile", "exec"} <= set(events)


WORDS = st.sampled_from(
    [
        "a",
        "b",
        "int",
        "list",
        "dict",
        "str",
        "literal",
        "union",
        "optional",
        "none",
        "->",
        ":",
        ",",
        "[",
        "]",
        "|",
    ]
    + ["=", "'x'", '"', "'", "3", "-1.5", " ", "\n", "\\", "é", "_", "."]
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=30).map("".join)))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Never another exception, and what is read has outputs and inputs as arrays."""
    try:
        read = parse_signature(text)
    except DSPexError as refused:
        assert "invalid_argument" == refused.code
    else:
        assert ["inputs", "outputs"] == list(read)
