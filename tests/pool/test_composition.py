"""Stored programs that a spec names as parts: found, pinned, and told when they are wrong."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_pool.composition import (
    MAX_BYTES,
    MAX_STORED_PARTS,
    pinned,
    records_of,
    stored_parts,
    unknown_part,
)
from dspex_pool.library.names import Reference
from dspex_protocol import DSPexError, error

PREDICT = {"module": "Predict", "signature": "a -> b", "options": {"config": {"program": "no part"}}}


def around(part: object) -> dict[str, object]:
    return {"module": "BestOfN", "options": {"module": part, "N": 3}}


def pipeline(**nodes: object) -> dict[str, object]:
    return {"module": "Pipeline", "signature": "a -> b", "options": {"nodes": nodes, "wires": {}}}


def test_they_are_found_wherever_parts_stand() -> None:
    """In `module` and in `nodes`, at any depth; a map elsewhere may have any keys."""
    spec = pipeline(
        x=around({"program": "qa"}),
        y={"program": "qa", "version": 2},
        z=pipeline(w=around(around({"program": "ü", "tag": "stable"}))),
        p=PREDICT,
        h={"module": "Host", "options": {"parts": {"part": {"program": "qa"}}}},
    )
    assert {
        "spec.options.nodes.h.options.parts.part": Reference("qa"),
        "spec.options.nodes.x.options.module": Reference("qa"),
        "spec.options.nodes.y": Reference("qa", 2),
        "spec.options.nodes.z.options.nodes.w.options.module.options.module": Reference("ü", None, "stable"),
    } == stored_parts(spec)


@pytest.mark.parametrize("spec", [{}, {"options": 3}, {"options": {"module": 3, "nodes": []}}, PREDICT])
def test_what_is_no_spec_is_left_to_the_worker(spec: dict[str, object]) -> None:
    """It says what is wrong with it; here it stays as it is."""
    assert {} == stored_parts(spec)
    assert spec == pinned(spec, {})


def test_each_is_pinned_in_its_place() -> None:
    """And all else stays."""
    spec = pipeline(x=around({"program": "qa"}), y={"program": "qa", "tag": "t"}, p=PREDICT)
    held = dict(zip(stored_parts(spec), [("qa", 7, b"seven"), ("qa", 3, b"three")], strict=True))
    after = pinned(spec, held)
    assert (
        pipeline(x=around({"program": "qa", "version": 7}), y={"program": "qa", "version": 3}, p=PREDICT)
        == after
    )
    assert pipeline(x=around({"program": "qa"}), y={"program": "qa", "tag": "t"}, p=PREDICT) == spec


def test_a_record_goes_once() -> None:
    """However often its program is a part."""
    held = {"a": ("qa", 1, b"x"), "b": ("qa", 1, b"x"), "c": ("qa", 2, b"y")}
    assert [
        {"program": "qa", "version": 1, "record": b"x"},
        {"program": "qa", "version": 2, "record": b"y"},
    ] == records_of(held)


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"program": ""}, "program"),
        ({"program": 3}, "program"),
        ({"program": "qa", "version": 0}, "version"),
        ({"program": "qa", "version": True}, "version"),
        ({"program": "qa", "version": 1, "tag": "t"}, "tag"),
        ({"program": "qa", "tag": 4}, "tag"),
        ({"program": "qa", "options": {}}, "options"),
    ],
)
def test_what_names_no_program_is_refused_by_its_path(part: dict[str, Any], field: str) -> None:
    """With the node that it stands in."""
    with pytest.raises(DSPexError) as refused:
        stored_parts(pipeline(n=part))
    assert ("invalid_argument", f"spec.options.nodes.n.{field}") == (
        refused.value.code,
        refused.value.details["field"],
    )


def test_there_are_only_so_many_and_so_large_ones() -> None:
    """Each is a record that a worker is sent."""
    with pytest.raises(DSPexError, match="at most"):
        stored_parts(pipeline(**{f"n{n}": {"program": "qa"} for n in range(MAX_STORED_PARTS + 1)}))
    with pytest.raises(DSPexError, match="bytes"):
        records_of({"a": ("a", 1, b"x" * MAX_BYTES), "b": ("b", 1, b"x")})


def test_a_refusal_of_the_store_says_which_part() -> None:
    """And keeps what the store has said."""
    refusal = error("unknown_program", "program 'qa' has no version 9", details={"newest": 2})
    told = unknown_part("spec.options.nodes.n", Reference("qa", 9), refusal)
    assert "spec.options.nodes.n: program 'qa' has no version 9" == told.message
    assert {"newest": 2, "field": "spec.options.nodes.n.program", "program": "qa"} == told.details
