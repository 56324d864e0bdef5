"""Whatever becomes of stored bytes: never a wrong content, and never another error."""

from __future__ import annotations

from random import Random

import pytest
from tests.support.libraries import Shop, content, drive, refusal

from dspex_pool.library import Library, Reference
from dspex_pool.library.records import head_key, version_key
from dspex_pool.library.sealing import seal
from dspex_pool.store import Delete, Key, Put
from dspex_protocol import DSPexError, encode_value

CONTENTS = [content(f"text {number}") for number in range(5)]


@pytest.fixture
def shop() -> Shop:
    """With a program of five versions in it."""
    shop = Shop()
    library = shop.library()
    drive(library.create("qa", CONTENTS[0], tags=["live"]))
    for base in range(1, 5):
        drive(library.add("qa", base=base, must_be_newest=True, content=CONTENTS[base]))
    return shop


def spoil(shop: Shop, key: Key, body: bytes) -> None:
    drive(shop.store.commit([Put(key=key, body=body)]))


def attempt(library: Library, reference: Reference) -> bytes | DSPexError:
    """What a call would run on, or be told."""
    try:
        return drive(library.fetch(reference))[2]
    except DSPexError as failure:
        return failure


@pytest.mark.parametrize("number", [0, 3, 5])
def test_no_flipped_byte_is_served(shop: Shop, number: int) -> None:
    """Of the head, or of a version: each byte of it, in turn."""
    key = version_key("qa", number) if number else head_key("qa")
    sound = shop.body(key)
    chance = Random(number)
    for at in range(len(sound)):
        damaged = bytearray(sound)
        damaged[at] ^= chance.randrange(1, 256)
        spoil(shop, key, bytes(damaged))
        answer = attempt(shop.library(), Reference("qa", number or None))
        assert isinstance(answer, DSPexError)
        assert "program_damaged" == answer.code
        if number:
            assert {"version": number, "previous": number - 1} == answer.details


def test_no_other_bytes_are_served(shop: Shop) -> None:
    """Two hundred blobs: cut, doubled, random, of another place."""
    chance = Random(4)
    key = version_key("qa", 3)
    sound, other = shop.body(key), shop.body(version_key("qa", 4))
    blobs = [
        *(sound[: chance.randrange(len(sound))] for _ in range(50)),
        *(sound + chance.randbytes(chance.randrange(1, 9)) for _ in range(30)),
        *(chance.randbytes(chance.randrange(400)) for _ in range(80)),
        *(_shuffled(sound, chance) for _ in range(35)),
        *(b"", other, sound * 2, encode_value(None), encode_value({"schema": 1})),
    ]
    assert 200 == len(blobs)
    for blob in blobs:
        spoil(shop, key, blob)
        library = shop.library()
        assert "program_damaged" == getattr(attempt(library, Reference("qa", 3)), "code", None)
        for number in (1, 2, 4, 5):
            assert CONTENTS[number - 1] == attempt(library, Reference("qa", number))


def _shuffled(body: bytes, chance: Random) -> bytes:
    cut = chance.randrange(1, len(body))
    return body[cut:] + body[:cut]


def test_the_newest_sound_version_is_offered(shop: Shop) -> None:
    """However far back; None where there is none."""
    library = shop.library(shelf=None)
    for number, previous in ((5, 4), (4, 3), (3, 2), (2, 1), (1, None)):
        spoil(shop, version_key("qa", number), b"gone")
        refused = refusal(shop.library().fetch(Reference("qa", number)))
        assert ("program_damaged", {"version": number, "previous": previous}) == (
            refused.code,
            refused.details,
        )
    assert previous is None
    refused = refusal(library.fetch(Reference("qa", 5)))
    assert {"version": 5, "previous": None} == refused.details


def test_a_version_that_is_missing_is_damaged(shop: Shop) -> None:
    """Its head knows it."""
    drive(shop.store.commit([Delete(key=version_key("qa", 3))]))
    refused = refusal(shop.library().get(Reference("qa", 3)))
    assert ("program_damaged", {"version": 3, "previous": 2}) == (refused.code, refused.details)


def test_what_is_on_the_shelf_goes_on(shop: Shop) -> None:
    """A call runs as long as its content is remembered, also where the store has lost it."""
    library = shop.library()
    drive(library.fetch(Reference("qa")))
    spoil(shop, version_key("qa", 5), b"gone")
    shop.now_s += 2
    assert CONTENTS[4] == drive(library.fetch(Reference("qa")))[2]


def test_a_damaged_program_is_not_written_to(shop: Shop) -> None:
    """By nothing that would have to trust its head."""
    spoil(shop, head_key("qa"), b"gone")
    library = shop.library()
    for work in (
        library.create("qa", CONTENTS[0]),
        library.add("qa", base=5, must_be_newest=False, content=CONTENTS[0]),
        library.tag("qa", 1, "live"),
        library.untag("qa", "live"),
        library.delete("qa"),
        library.rollback("qa", 1),
        library.versions("qa"),
        library.export(Reference("qa")),
    ):
        refused = refusal(work)
        assert ("program_damaged", {"version": None, "previous": None}) == (refused.code, refused.details)
    assert b"gone" == shop.body(head_key("qa"))


def test_versions_without_a_head_are_not_written_over(shop: Shop) -> None:
    """They may be all that is left of a program."""
    drive(shop.store.commit([Delete(key=head_key("qa"))]))
    before = shop.body(version_key("qa", 1))
    assert "program_damaged" == refusal(shop.library().create("qa", CONTENTS[1])).code
    assert before == shop.body(version_key("qa", 1))


def test_what_is_too_new_is_left_alone(shop: Shop) -> None:
    """And said to be so; the others are served."""
    key = version_key("qa", 3)
    newer = seal(key, 2, b"whatever it will be")
    spoil(shop, key, newer)
    refused = refusal(shop.library().fetch(Reference("qa", 3)))
    assert ("record_too_new", 2) == (refused.code, refused.details["schema"])
    assert CONTENTS[4] == attempt(shop.library(), Reference("qa"))
    spoil(shop, head_key("qa"), newer_head := seal(head_key("qa"), 9, b""))
    library = shop.library()
    for work in (library.fetch(Reference("qa")), library.create("qa", CONTENTS[0]), library.delete("qa")):
        assert "record_too_new" == refusal(work).code
    assert (newer, newer_head) == (shop.body(key), shop.body(head_key("qa")))
