"""A document holds a program whole, and nothing else is taken for one."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.libraries import WALL_MS, Relay, Shop, content, drive, refusal

from dspex_pool.library import Library, Lineage, Reference, read_document
from dspex_pool.library.documents import MAX_VALUES, _checksum_of
from dspex_pool.store import Key, Put
from dspex_protocol import DSPexError, Pairs, Tagged, Tensor, decode_value, encode_value

ODD_VALUES = {
    "bytes": b"\x00\xff",
    "instant": dt.datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=dt.UTC),
    "plain": dt.datetime(2026, 1, 31),
    "day": dt.date(2026, 1, 31),
    "decimal": Decimal("0.10"),
    "floats": [math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1],
    "integers": [2**63, -(2**200), 2**30_000],
    "tensor": Tensor("f4", (1, 2), b"\x00" * 8),
    "image": Tagged("image", {"data": b"PNG", "$odd": {"$map": 1}}),
    "pairs": Pairs({1: "one", None: 2}),
    "set": {1, "a"},
    "tuple": (1, 2),
    "text": "\u202e\u2028\ufeff 質問 🦀 \x00\x7f",
}


def record(value: object) -> bytes:
    state = {"self": {"instructions": "", "demos": [{"q": value}]}}
    return encode_value({"spec": {"module": "Predict"}, "state": state, "dspy": "3.4.1", "schema": 1})


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def library(shop: Shop) -> Library:
    """With a program of three versions in it."""
    library = shop.library()
    drive(library.create("qa", content("one"), tags=["first"], lineage=Lineage(by="create", note="n")))
    shop.wall_ms += 1000
    lineage = Lineage(by="MIPROv2", scores={"accuracy": 0.5, "odd": math.nan})
    drive(library.add("qa", base=1, must_be_newest=True, content=content("two"), lineage=lineage))
    drive(library.rollback("qa", 1))
    drive(library.tag("qa", 3, "live"))
    return library


@pytest.mark.parametrize("name", sorted(ODD_VALUES))
def test_a_value_survives(shop: Shop, name: str) -> None:
    """Every value that a demo may hold, to the byte."""
    mine = shop.library()
    drive(mine.create("qa", record(ODD_VALUES[name])))
    document = read_document(drive(mine.export(Reference("qa"))))
    assert record(ODD_VALUES[name]) == document.versions[0].content


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(width=64)
    | st.text(max_size=4)
    | st.binary(max_size=4)
    | st.decimals(places=2, allow_nan=False)
    | st.dates()
    | st.datetimes(timezones=st.just(dt.UTC), min_value=dt.datetime(1980, 1, 1)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_any_value_survives(value: object) -> None:
    """Or what it has become by the way through JSON comes through once more."""
    mine = Shop().library()
    drive(mine.create("qa", record(value)))
    text = drive(mine.export(Reference("qa")))
    assert ("copy", 1) == drive(mine.import_(read_document(text), "copy"))
    again = drive(mine.export(Reference("copy")))
    assert read_document(text).versions[0].checksum == read_document(again).versions[0].checksum
    assert _plain(record(value)) == _plain(drive(mine.fetch(Reference("copy")))[2])


def _plain(content: bytes) -> str:
    return repr(decode_value(content))


def test_a_new_program_gets_all_versions(library: Library) -> None:
    """With their contents, lineage, moments and tags."""
    document = read_document(drive(library.export(Reference("qa"), all_versions=True)))
    assert ("copy", 3) == drive(library.import_(document, "copy"))
    for number in (1, 2, 3):
        _, mine = drive(library.get(Reference("qa", number)))
        head, copy = drive(library.get(Reference("copy", number)))
        assert (mine.content, mine.created_ms) == (copy.content, copy.created_ms)
        assert repr(mine.lineage) == repr(copy.lineage)
        assert {"first": 1, "live": 3} == head.tags


def test_a_program_that_is_there_gets_the_newest(library: Library) -> None:
    """As a new version that says that it was imported; its tags stay where they are."""
    document = read_document(drive(library.export(Reference("qa", 2))))
    assert ("qa", 4) == drive(library.import_(document, note="from the archive"))
    head, version = drive(library.get(Reference("qa")))
    assert content("two") == version.content
    assert ("import", None, "from the archive") == (
        version.lineage.by,
        version.lineage.parent,
        version.lineage.note,
    )
    assert 0.5 == version.lineage.scores["accuracy"]
    assert {"first": 1, "live": 3} == head.tags


def test_one_version_is_a_program_of_one(library: Library) -> None:
    """With the tags that it carried."""
    document = read_document(drive(library.export(Reference("qa", None, "first"))))
    assert ("copy", 1) == drive(library.import_(document, "copy"))
    head, version = drive(library.get(Reference("copy")))
    assert ({"first": 1}, Lineage(by="import", note="n")) == (head.tags, version.lineage)


def test_numbers_go_on_after_a_deletion(library: Library) -> None:
    """Parents and tags with them."""
    document = read_document(drive(library.export(Reference("qa"), all_versions=True)))
    drive(library.delete("qa"))
    assert ("qa", 6) == drive(library.import_(document))
    head, version = drive(library.get(Reference("qa", 5)))
    assert ({"first": 4, "live": 6}, 4) == (head.tags, version.lineage.parent)
    assert [6, 5, 4] == [row.version for row in drive(library.versions("qa")).rows]


def test_what_is_left_out_is_closed_up(shop: Shop, library: Library) -> None:
    """A damaged version may be left out of a document; the others are numbered anew."""
    drive(shop.store.commit([Put(key=Key("version", "qa\x1f0000000001"), body=b"gone")]))
    reference = Reference("qa")
    assert "program_damaged" == refusal(library.export(reference, all_versions=True)).code
    text = drive(library.export(reference, all_versions=True, sound_only=True))
    assert ("copy", 2) == drive(library.import_(read_document(text), "copy"))
    head, version = drive(library.get(Reference("copy", 1)))
    assert ({"live": 2}, None, content("two")) == (head.tags, version.lineage.parent, version.content)


def test_the_text_is_for_people_too(library: Library) -> None:
    """Indented, with umlauts as they are, one line a value."""
    text = drive(library.export(Reference("qa", 1)))
    assert '"note": "n",' in text
    assert f'"created_ms": {WALL_MS},' in text
    assert text.endswith("}\n")


def test_the_text_cannot_steer_a_terminal(shop: Shop) -> None:
    """Nor an editor: what is not printable is escaped, and means the same."""
    odd = "\x1b[2J\x9b31m\u202eüé質🦀\U000e0001\ufeff\u2028"
    mine = shop.library()
    drive(mine.create("qa", record(odd), tags=["\u202elive"]))
    text = drive(mine.export(Reference("qa")))
    assert text.replace("\n", "").isprintable()
    assert "üé質🦀" in text
    assert record(odd) == read_document(text).versions[0].content


# What is no document

Edit = Callable[[dict[str, Any]], object]

EDITS: dict[str, tuple[Edit, str]] = {
    "format": (lambda d: d.update(format="dspy"), "document.format"),
    "no format": (lambda d: d.pop("format"), "document.format"),
    "schema": (lambda d: d.update(schema="1"), "document.schema"),
    "program": (lambda d: d.update(program="a\n"), "document.program"),
    "no versions": (lambda d: d.update(versions=[]), "document.versions"),
    "number": (lambda d: d["versions"][0].update(version=0), "document.versions[0].version"),
    "order": (lambda d: d["versions"].reverse(), "document.versions[1].version"),
    "twice": (lambda d: d["versions"].append(d["versions"][2]), "document.versions[3].version"),
    "extra": (lambda d: d["versions"][1].update(x=1), "document.versions[1].x"),
    "moment": (lambda d: d["versions"][1].update(created_ms=-1), "document.versions[1].created_ms"),
    "by": (lambda d: d["versions"][1]["lineage"].pop("by"), "document.versions[1].lineage.by"),
    "score": (
        lambda d: d["versions"][1]["lineage"]["scores"].update(a="b"),
        "document.versions[1].lineage.scores.a",
    ),
    "content": (lambda d: d["versions"][2]["content"].pop("spec"), "document.versions[2].content"),
    "no map": (lambda d: d["versions"][2].update(content=[]), "document.versions[2].content"),
    "changed": (
        lambda d: d["versions"][2]["content"]["spec"].update(module="ReAct"),
        "document.versions[2].checksum",
    ),
    "notation": (
        lambda d: d["versions"][0]["content"]["state"].update(x=[1, {"$date": "no"}]),
        "document.versions[0].content.state.x[1].$date",
    ),
    "deep": (
        lambda d: d["versions"][0]["content"].update(state=_nested(70)),
        "document.versions[0].content",
    ),
    "deeper": (lambda d: d["versions"][0]["content"].update(state=_nested(900)), "document"),
    "tag": (lambda d: d["tags"].update({"x" * 65: 1}), "document.tags"),
    "dangling": (lambda d: d["tags"].update(live=9), "document.tags.live"),
    "tag's type": (lambda d: d["tags"].update(live="3"), "document.tags.live"),
}


def _nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"x": value}
    return value


@pytest.mark.parametrize("name", sorted(EDITS))
def test_what_does_not_fit_is_named(library: Library, name: str) -> None:
    """By its path in the document, also where the checksum was made to fit."""
    edit, path = EDITS[name]
    document = json.loads(drive(library.export(Reference("qa"), all_versions=True)))
    edit(document)
    document["checksum"] = _checksum_of(document)
    with pytest.raises(DSPexError) as caught:
        read_document(json.dumps(document))
    assert ("invalid_argument", path) == (caught.value.code, caught.value.details["field"])


def test_a_document_that_was_edited_is_refused(library: Library) -> None:
    """Whatever was edited; but not when it was only written in another way."""
    text = drive(library.export(Reference("qa"), all_versions=True))
    shuffled = dict(reversed(json.loads(text).items()))
    read_document(json.dumps(shuffled, indent=7))
    for edited in (text.replace('"note": "n"', '"note": "m"'), text.replace('"first": 1', '"first": 2')):
        with pytest.raises(DSPexError) as caught:
            read_document(edited)
        assert "document.checksum" == caught.value.details["field"]


def test_a_newer_document_is_refused(library: Library) -> None:
    """With the reason."""
    text = drive(library.export(Reference("qa"))).replace(
        '"schema": 1,\n  "program"', '"schema": 2,\n  "program"'
    )
    with pytest.raises(DSPexError) as caught:
        read_document(text)
    assert ("record_too_new", 2) == (caught.value.code, caught.value.details["schema"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"a": 1, "a": 2}',
        '{"a": NaN}',
        '{"a": Infinity}',
        "[" * 100_000,
        "1" * 5000,
        "\udc80",
    ],
)
def test_what_is_no_json_is_refused(text: str) -> None:
    """With a typed error, whatever it is."""
    with pytest.raises(DSPexError) as caught:
        read_document(text)
    assert "invalid_argument" == caught.value.code


@given(st.data())
def test_a_damaged_document_is_never_taken_for_another(data: st.DataObject) -> None:
    """Any character changed: it is refused, or says the same."""
    text = _EXPORTED
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.sampled_from('0a"{}[],: \n')) + text[at + 1 :]
    try:
        document = read_document(changed)
    except DSPexError:
        return
    assert read_document(text) == document


_NOTATION = tuple(
    f"${name}"
    for name in ("base64", "decimal", "float", "function", "integer", "map", "tagged", "tensor", "timestamp")
    + ("date", "time", "datetime", "duration", "tuple", "set", "pairs", "uuid", "image", "")
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.sampled_from(_NOTATION), inner, max_size=2)
    ),
    max_leaves=10,
)


@given(json_values, st.sampled_from(("versions", "tags", "program", "state", "lineage", "content")))
def test_no_document_does_more_than_be_refused(value: object, where: str) -> None:
    """Whatever stands in it: it is read, or refused by name."""
    document = json.loads(_EXPORTED)
    version = document["versions"][0]
    {"state": version["content"], "lineage": version, "content": version}.get(where, document)[where] = value
    document["checksum"] = _checksum_of(document)
    try:
        read_document(json.dumps(document))
    except DSPexError as refused:
        assert "invalid_argument" == refused.code
        assert str(refused.details["field"]).startswith("document")


def _exported() -> str:
    mine = Shop().library()
    drive(mine.create("qa", content("one"), tags=["first"], lineage=Lineage(by="create", note="n")))
    return drive(mine.export(Reference("qa")))


_EXPORTED = _exported()


def test_a_program_that_is_deleted_meanwhile_is_not_exported_in_part(shop: Shop) -> None:
    """Nor is it taken for damaged; where there is another one by then, that is exported."""
    relay = Relay(shop.store)
    mine, other = shop.library(store=relay), shop.library()
    for is_made_anew in (False, True):
        program = f"qa-{is_made_anew}"
        drive(other.create(program, content("0")))
        for base in range(1, 40):
            drive(other.add(program, base=base, must_be_newest=True, content=content(str(base))))

        def delete(program: str = program, is_made_anew: bool = is_made_anew) -> None:
            if relay.scans == 2:
                drive(other.delete(program))
                if is_made_anew:
                    drive(other.create(program, content("new")))

        relay.scans, relay.before_scan = 0, delete
        export = mine.export(Reference(program), all_versions=True)
        if is_made_anew:
            assert [41] == [one.version for one in read_document(drive(export)).versions]
        else:
            assert "unknown_program" == refusal(export).code


def test_a_document_of_too_many_values_is_not_read() -> None:
    """It would take seconds and hundreds of megabytes, be it no document in the end."""
    with pytest.raises(DSPexError, match=f"at most {MAX_VALUES} values"):
        read_document(f"[{'[],' * MAX_VALUES}[]]")


def test_a_document_has_bounds(shop: Shop) -> None:
    """Who has more versions exports them one at a time."""
    mine = shop.library()
    drive(mine.create("qa", content("x")))
    for base in range(1, 901):
        drive(mine.add("qa", base=base, must_be_newest=True, content=content("x")))
    refused = refusal(mine.export(Reference("qa"), all_versions=True))
    assert "result_too_large" == refused.code
    drive(mine.export(Reference("qa", 7)))
