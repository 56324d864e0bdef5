"""docs/types.md and section 3 of docs/protocol.md name every type, media type and limit of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from dspex_bridge.signatures.type_names import PLAIN_TYPES
from dspex_bridge.values.dspy_types import DSPY_TYPES
from dspex_bridge.values.media import MEDIA_TYPES
from dspex_protocol.limits import MEDIA_BYTES

DOCS: Final = Path(__file__).parents[2] / "docs"
TYPES: Final = (DOCS / "types.md").read_text()
PROTOCOL: Final = (DOCS / "protocol.md").read_text()
ROWS: Final = {
    row[0].strip("` "): row
    for row in ([cell.strip() for cell in line.split("|")[1:-1]] for line in TYPES.splitlines())
    if len(row) == 6
}


def test_every_word_of_a_signature_is_in_the_table() -> None:
    """In the column of signatures."""
    words = {word for row in ROWS.values() for word in re.findall(r"`(\w+)", row[1])}
    assert [] == [name for name in PLAIN_TYPES if name not in words]
    listed = PROTOCOL.partition("A string: ")[2].partition("Nothing is imported")[0]
    assert [] == [name for name in PLAIN_TYPES if not re.search(rf"[` ]{name}[` ,]", listed)]


def test_every_tag_of_dspys_types_is_in_both_tables() -> None:
    """By its name."""
    tags = [*DSPY_TYPES, "example", "prediction"]
    assert [] == [tag for tag in tags if tag not in ROWS]
    assert [] == [tag for tag in tags if f"| `{tag}` |" not in PROTOCOL]


@pytest.mark.parametrize("tag", sorted(MEDIA_BYTES))
def test_media_have_their_limits_and_media_types(tag: str) -> None:
    """The size in both, the media types in the protocol; those of a file are all others and more."""
    size = f"{MEDIA_BYTES[tag] // 2**20} MiB"
    assert size in ROWS[tag][5]
    assert re.search(rf"media as `bytes`[^\n]*{tag}[^,|]* {size}", PROTOCOL)
    table = PROTOCOL.partition("| tag | media types |")[2].partition("\n\n")[0]
    assert [] == [name for name in MEDIA_TYPES[tag] if name.rpartition("officedocument")[2] not in table]
