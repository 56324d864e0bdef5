"""Records: a map is read into a dataclass, or the error names the field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from dspex_protocol import CallerError, records
from dspex_protocol.records import Doc, Length, Range, describe, prepare, read


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    x: int
    y: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    query: Annotated[str, Doc("what to look for"), Length(1, 10)]
    k: Annotated[int, Range(1, 100)] = 3
    mode: Literal["fast", "exact"] = "fast"
    tags: list[Annotated[str, Length(1)]] = field(default_factory=list[str])
    weights: dict[str, float] = field(default_factory=dict[str, float])
    near: Point | None = None
    path: list[Point] = field(default_factory=list[Point])
    raw: bytes = b""
    extra: object = None


def test_defaults() -> None:
    """What is not given has its default."""
    assert Search(query="a") == read(Search, {"query": "a"})


def test_everything() -> None:
    """Nested records are built, and an integer does for a number."""
    given = {
        "query": "abc",
        "k": 100,
        "mode": "exact",
        "tags": ["t"],
        "weights": {"a": 1},
        "near": {"x": 1, "y": 2},
        "path": [{"x": 1}, {"x": 2}],
        "raw": b"\0",
        "extra": [1],
    }
    built = read(Search, given)
    assert Point(x=1, y=2.0) == built.near
    assert [Point(x=1), Point(x=2)] == built.path
    assert {"a": 1.0} == built.weights
    assert ("exact", ["t"], b"\0", [1]) == (built.mode, built.tags, built.raw, built.extra)


@pytest.mark.parametrize(
    ("given", "at", "expected", "got"),
    [
        (7, "payload", "a map", "7"),
        ({}, "query", "a string of length 1 to 10", "nothing"),
        ({"query": ""}, "query", "a string of length 1 to 10", "string ''"),
        ({"query": "a" * 11}, "query", "a string of length 1 to 10", "string 'aaaaaaaaaaa'"),
        ({"query": "a" * 50}, "query", "a string of length 1 to 10", "a string of 50 characters"),
        ({"query": b"a"}, "query", "a string of length 1 to 10", "1 bytes"),
        ({"query": "a", "k": 0}, "k", "an integer from 1 to 100", "0"),
        ({"query": "a", "k": True}, "k", "an integer from 1 to 100", "true"),
        ({"query": "a", "k": 1.0}, "k", "an integer from 1 to 100", "1.0"),
        ({"query": "a", "mode": "slow"}, "mode", "one of 'fast', 'exact'", "string 'slow'"),
        ({"query": "a", "mode": []}, "mode", "one of 'fast', 'exact'", "an array of 0"),
        ({"query": "a", "tags": ["b", ""]}, "tags[1]", "a string of length 1 or more", "string ''"),
        ({"query": "a", "weights": {"b": "c"}}, "weights.b", "a number", "string 'c'"),
        ({"query": "a", "near": {"x": "1"}}, "near.x", "an integer", "string '1'"),
        ({"query": "a", "path": [{"x": 1}, {}]}, "path[1].x", "an integer", "nothing"),
        ({"query": "a", "zzz": 1}, "zzz", None, "unknown field 'zzz'"),
        ({"query": "a", "near": {"x": 1, "z": 1}}, "near.z", "one of: x, y", "unknown field 'z'"),
    ],
    ids=repr,
)
def test_refusals_name_the_field(given: object, at: str, expected: str | None, got: str) -> None:
    """The field, what was expected, and what came."""
    with pytest.raises(CallerError) as refusal:
        read(Search, given)
    details = refusal.value.details
    assert ("invalid_argument", at, got) == (refusal.value.code, details["field"], details["got"])
    assert expected in (None, details["expected"])
    assert at in refusal.value.message


def test_describe() -> None:
    """A record is told as data: type in words, default, doc, and the fields of a nested record."""
    told = describe(Search)
    assert {"type": "a string of length 1 to 10", "required": True, "doc": "what to look for"} == told[
        "query"
    ]
    assert {"type": "an integer from 1 to 100", "required": False, "default": 3} == told["k"]
    near = told["near"]
    assert isinstance(near, dict)
    assert ["x", "y"] == list(near["fields"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    size: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    page: Page = field(default_factory=Page)


def test_a_default_that_is_a_record_is_told_as_a_map() -> None:
    """It fits the wire, and what is told gives the same when it is sent."""
    told = describe(Listing)["page"]
    assert isinstance(told, dict)
    assert {} == told["default"]
    assert Listing() == read(Listing, {"page": told["default"]})


def test_prepared_records_need_no_hints_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those within them neither: a process that was prepared reads its first payload at full speed."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Outer:
        inner: dict[str, _Inner] | None = None

    prepare(Outer)
    monkeypatch.setattr(records, "get_type_hints", None)
    assert Outer(inner={"a": _Inner(n=1)}) == read(Outer, {"inner": {"a": {"n": 1}}})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inner:
    n: int
