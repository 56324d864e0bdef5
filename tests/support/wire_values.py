"""Values as a client writes them, for Hypothesis: whatever the inputs of a program may hold."""

from __future__ import annotations

import datetime as dt
from typing import Any

from hypothesis import strategies as st

from dspex_protocol import FunctionReference, Tagged, Tensor
from dspex_protocol.extensions import Pairs

NAMES = st.text(min_size=1, max_size=6)
WORDS = st.text(alphabet="abcXYZ 0-9_é☃\n", min_size=1, max_size=8)
INSTANTS = st.datetimes(
    min_value=dt.datetime(1, 1, 2), max_value=dt.datetime(9999, 12, 30), timezones=st.just(dt.UTC)
)
HASHABLE = st.recursive(
    st.one_of(st.integers(2, 2**70), st.text(max_size=5), st.binary(max_size=5), st.dates(), st.uuids()),
    lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=2)),
    max_leaves=4,
)


def tensor(rows: int, row: bytes) -> Tensor:
    """So many rows of two numbers."""
    return Tensor("i2", (rows, 2), row * rows)


TENSORS = st.builds(tensor, st.integers(0, 3), st.binary(min_size=4, max_size=4))
ATOMS = st.one_of(
    *(st.none(), st.booleans(), st.integers(-(2**90), 2**90), st.floats(allow_nan=False)),
    *(st.text(max_size=8), st.binary(max_size=8), st.decimals(allow_nan=False)),
    *(st.dates(), st.datetimes(), INSTANTS, st.times(), st.timedeltas(), st.uuids()),
    *(TENSORS, st.builds(FunctionReference, NAMES), st.frozensets(HASHABLE, max_size=3)),
)


def tagged(tag: str, **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A tagged map with these parts."""
    return st.fixed_dictionaries(parts).map(lambda content: Tagged(tag, content))


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Everything that holds other values."""
    maps = st.dictionaries(NAMES, inner, max_size=3)
    call = st.fixed_dictionaries({"id": st.none() | WORDS, "name": WORDS, "args": maps})
    outcome = st.fixed_dictionaries(
        {"call_id": st.none() | WORDS, "name": WORDS, "value": inner, "is_error": st.booleans()}
    )
    return st.one_of(
        *(st.lists(inner, max_size=3), st.tuples(inner, inner), maps),
        st.dictionaries(
            HASHABLE.filter(lambda key: not isinstance(key, str)), inner, min_size=1, max_size=3
        ).map(lambda pairs: Pairs(pairs.items())),
        tagged("history", messages=st.lists(maps, max_size=2)),
        tagged("example", fields=maps),
        maps.map(lambda fields: Tagged("example", {"fields": fields, "inputs": sorted(fields)})),
        tagged("prediction", fields=maps),
        tagged("prediction", fields=maps, usage=st.just({"sim/x": {"total_tokens": 3}})),
        tagged("tool_call_results", tool_call_results=st.lists(outcome, max_size=2)),
        tagged("tool_calls", tool_calls=st.lists(call, max_size=2)),
        tagged("tool", name=WORDS, desc=WORDS, args=maps),
        tagged("some_tag", value=inner),
    )


LEAVES = st.one_of(
    ATOMS,
    tagged("image", url=st.sampled_from(["https://example.test/a.png", "data:image/png;base64,AAAA"])),
    tagged("audio", data=st.just("AAAA"), audio_format=st.sampled_from(["wav", "mp3"])),
    tagged("file", file_id=WORDS.map(str.strip).filter(bool)),
    tagged("code", code=st.text(max_size=12), language=st.sampled_from(["python", "java"])),
    tagged("reasoning", content=st.text(max_size=12)),
    tagged("document", data=st.text(max_size=12), title=WORDS, media_type=st.just("text/plain")),
)

VALUES = st.recursive(LEAVES, containers, max_leaves=10)
"""Nested in whatever."""
