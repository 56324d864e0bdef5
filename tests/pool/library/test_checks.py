"""What is broken is found, and put right where that needs no guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.support.libraries import Relay, Shop, content, drive, refusal

from dspex_pool.library import Reference, Wanted
from dspex_pool.library.checks import Report
from dspex_pool.library.findings import Finding
from dspex_pool.library.records import (
    Head,
    Lineage,
    Version,
    head_key,
    read_head,
    version_key,
    write_head,
    write_version,
)
from dspex_pool.library.sealing import seal
from dspex_pool.store import Change, Delete, Key, Put

ONE = content("one")


@pytest.fixture
def shop() -> Shop:
    """With two sound programs, one of them of four versions, and one that was deleted."""
    shop = Shop()
    library = shop.library()
    drive(library.create("other", ONE))
    drive(library.create("qa", ONE, tags=["first"]))
    for base in range(1, 4):
        drive(library.add("qa", base=base, must_be_newest=True, content=content(f"text {base + 1}")))
    drive(library.tag("qa", 4, "live"))
    drive(library.create("gone", ONE))
    drive(library.delete("gone"))
    return shop


def put(shop: Shop, key: Key, body: bytes) -> None:
    drive(shop.store.commit([Put(key=key, body=body)]))


def drop(shop: Shop, *keys: Key) -> None:
    drive(shop.store.commit([Delete(key=key) for key in keys]))


def head(shop: Shop, program: str = "qa") -> Head:
    return read_head(program, shop.body(head_key(program)))


def found(report: Report) -> list[tuple[str, tuple[int, ...], str | None]]:
    return [(one.problem.value, one.versions, one.remedy) for one in report.findings]


def mended(shop: Shop) -> list[Finding]:
    """What a repair found; afterwards another finds no more than it could not help."""
    looked = drive(shop.library().verify())
    repaired = drive(shop.library().repair())
    assert found(looked) == found(repaired)
    assert [one for one in looked.findings if one.remedy is None] == drive(shop.library().verify()).findings
    return repaired.findings


def test_a_sound_store_has_no_findings(shop: Shop) -> None:
    """And what was looked at is counted."""
    report = drive(shop.library().verify())
    assert (3, 5, []) == (report.programs, report.versions, report.findings)
    before = shop.body(head_key("qa"))
    assert [] == mended(shop)
    assert before == shop.body(head_key("qa"))


def test_one_program_may_be_looked_at(shop: Shop) -> None:
    """The others are left alone."""
    put(shop, version_key("other", 1), b"gone")
    report = drive(shop.library().verify("qa"))
    assert (1, 4, []) == (report.programs, report.versions, report.findings)
    assert "unknown_program" == refusal(shop.library().verify("none")).code


def test_a_damaged_newest_version_gives_way_to_a_sound_one(shop: Shop) -> None:
    """The number is not used again, and a tag that points there goes on to say so."""
    put(shop, version_key("qa", 4), b"gone")
    put(shop, version_key("qa", 3), b"gone")
    assert [
        ("version_damaged", (3,), None),
        ("version_damaged", (4,), None),
        ("newest_unreadable", (4,), "version 2 is the newest now"),
    ] == [(one.problem, one.versions, one.remedy) for one in mended(shop)]
    assert (2, 4, {"first": 1, "live": 4}) == (head(shop).newest, head(shop).last, head(shop).tags)
    library = shop.library()
    assert ("qa", 2) == drive(library.fetch(Reference("qa")))[:2]
    assert {"version": 4, "previous": 2} == refusal(library.fetch(Reference("qa", None, "live"))).details
    assert ("qa", 5) == drive(library.add("qa", base=2, must_be_newest=True, content=ONE))


def test_a_tag_of_a_missing_version_is_taken_away(shop: Shop) -> None:
    """The others stay."""
    drop(shop, version_key("qa", 1))
    assert [
        ("version_missing", (1,), None),
        ("tag_dangling", (1,), "taken away"),
    ] == [(one.problem, one.versions, one.remedy) for one in mended(shop)]
    assert {"live": 4} == head(shop).tags


def test_a_damaged_head_is_made_of_its_versions(shop: Shop) -> None:
    """Its tags are lost, and that is said."""
    put(shop, head_key("qa"), b"gone")
    (finding,) = mended(shop)
    assert "head_damaged" == finding.problem
    assert "tags are lost" in str(finding.remedy)
    assert (1, 4, 4, {}, "Predict") == (
        head(shop).first,
        head(shop).last,
        head(shop).newest,
        head(shop).tags,
        head(shop).module,
    )


def test_a_missing_head_is_made_of_its_versions(shop: Shop) -> None:
    """The newest that can be read is the newest."""
    drop(shop, head_key("qa"))
    put(shop, version_key("qa", 4), b"gone")
    assert ["head_missing", "version_damaged"] == [one.problem for one in mended(shop)]
    assert ("qa", 3) == drive(shop.library().fetch(Reference("qa")))[:2]
    assert 4 == head(shop).last


def test_a_program_of_which_nothing_can_be_read_is_removed(shop: Shop) -> None:
    """So that its id can be used again."""
    put(shop, head_key("other"), b"gone")
    put(shop, version_key("other", 1), b"gone")
    assert ["head_damaged", "version_damaged"] == [
        one.problem for one in drive(shop.library().repair()).findings
    ]
    assert [] == drive(shop.library().verify()).findings
    assert ("other", 1) == drive(shop.library().create("other", ONE))


def test_what_is_left_of_a_deleted_program_is_removed(shop: Shop) -> None:
    """Before and after there is another of that id."""
    old = shop.body(version_key("qa", 1))
    drive(shop.library().delete("qa"))
    put(shop, version_key("qa", 1), old)
    assert [("left_over", (1,))] == [(one.problem, one.versions) for one in mended(shop)]
    assert (5, True) == (head(shop).first, head(shop).is_deleted)
    drive(shop.library().create("qa", ONE))
    put(shop, version_key("qa", 1), old)
    assert [("left_over", (1,))] == [(one.problem, one.versions) for one in mended(shop)]
    assert ("qa", 5) == drive(shop.library().fetch(Reference("qa")))[:2]


def test_versions_beyond_the_head_are_known_again(shop: Shop) -> None:
    """They were acknowledged, so nothing of them is removed."""
    put(shop, head_key("qa"), write_head(replace(head(shop), last=2, newest=2, tags={"first": 1})))
    (finding,) = mended(shop)
    assert ("version_unknown", (3, 4)) == (finding.problem, finding.versions)
    assert (4, 4, {"first": 1}) == (head(shop).last, head(shop).newest, head(shop).tags)


def test_what_is_too_new_is_left_alone(shop: Shop) -> None:
    """A version, or a head with all that belongs to it."""
    newer = seal(version_key("qa", 4), 9, b"")
    put(shop, version_key("qa", 4), newer)
    assert [("version_too_new", (4,), None)] == [
        (one.problem, one.versions, one.remedy) for one in mended(shop)
    ]
    put(shop, head_key("other"), head_record := seal(head_key("other"), 9, b""))
    put(shop, version_key("other", 1), b"gone")
    assert ["head_too_new", "version_too_new"] == [one.problem for one in mended(shop)]
    assert (newer, head_record) == (shop.body(version_key("qa", 4)), shop.body(head_key("other")))


def test_a_content_that_is_no_record_is_damage(shop: Shop) -> None:
    """Be it sealed."""
    version = Version(
        program="qa", version=4, content=b"\x01", lineage=Lineage(by="x"), created_ms=0, dspy="", schema=1
    )
    put(shop, version_key("qa", 4), write_version(version))
    assert ["version_damaged", "newest_unreadable"] == [one.problem for one in mended(shop)]


def test_an_id_that_is_none_of_ours_is_told(shop: Shop) -> None:
    """And left alone."""
    for name in ("strange", "qa\x1fstrange", "qa\x1f3"):
        put(shop, Key("version", name), b"?")
    assert ["foreign"] * 2 == [one.problem for one in mended(shop)]


def test_who_writes_meanwhile_is_not_taken_for_damage(shop: Shop) -> None:
    """A program that has changed is looked at again."""
    relay = Relay(shop.store)
    other = shop.library()
    left = [3]

    def meanwhile() -> None:
        if left[0]:
            left[0] -= 1
            drive(other.add("qa", base=4, must_be_newest=False, content=ONE))

    relay.reads = meanwhile
    assert [] == drive(shop.library(relay).verify("qa")).findings
    assert 7 == head(shop).newest


def test_a_repair_does_not_undo_what_others_write(shop: Shop) -> None:
    """Its commit compares and swaps."""
    put(shop, version_key("qa", 4), b"gone")
    relay = Relay(shop.store)
    other = shop.library()

    def meanwhile(changes: Sequence[Change]) -> None:
        relay.before = lambda changes: None
        drive(other.add("qa", base=3, must_be_newest=False, content=ONE))

    relay.before = meanwhile
    report = drive(shop.library(relay).repair())
    assert ["version_damaged"] == [one.problem for one in report.findings]
    assert 5 == head(shop).newest


def test_a_library_looks_again_after_a_repair(shop: Shop) -> None:
    """And not when its head is a second old."""
    library = shop.library()
    drive(library.fetch(Reference("qa", 2)))
    put(shop, version_key("qa", 4), b"gone")
    drive(library.repair())
    assert ("qa", 3) == drive(library.fetch(Reference("qa")))[:2]
    assert ["other", "qa"] == [one.program for one in drive(library.page(Wanted())).heads]


def test_every_damage_is_found_and_none_is_made_worse(shop: Shop) -> None:
    """Whichever records are spoiled or lost: a repair ends, and what is sound is still served."""
    keys = [head_key("qa"), *(version_key("qa", number) for number in range(1, 5))]
    bodies = [shop.body(key) for key in keys]
    for spoiled in range(1, 1 << len(keys)):
        for lost in (False, True):
            for at, key in enumerate(keys):
                hit = spoiled >> at & 1
                if hit and lost:
                    drop(shop, key)
                else:
                    put(shop, key, b"gone" if hit else bodies[at])
            mended(shop)
            sound = [number for number in range(1, 5) if not spoiled >> number & 1]
            library = shop.library()
            for number in sound:
                assert number == drive(library.fetch(Reference("qa", number)))[1]
            if sound:
                assert sound[-1] == drive(library.fetch(Reference("qa")))[1]
