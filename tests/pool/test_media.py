"""Media as a Python client gives them: read here, and whole tagged values."""

from __future__ import annotations

from pathlib import Path

import pytest

from dspex_pool import media
from dspex_protocol import DSPexError, Tagged, decode_value, encode_value

PNG = b"\x89PNG\r\n\x1a\n"


def test_bytes_paths_and_urls_become_tagged_values(tmp_path: Path) -> None:
    """Of a path only the content is told; a string is a URL or a text."""
    picture, table = tmp_path / "a.png", tmp_path / "b.csv"
    picture.write_bytes(PNG)
    table.write_text("a,b\n")
    values = {
        "url": (media.image("https://example.test/a"), Tagged("image", {"url": "https://example.test/a"})),
        "bytes": (media.image(PNG, "image/png"), Tagged("image", {"bytes": PNG, "media_type": "image/png"})),
        "path": (media.image(picture), Tagged("image", {"bytes": PNG})),
        "sound": (media.audio(b"ID3"), Tagged("audio", {"bytes": b"ID3"})),
        "file": (
            media.file(table),
            Tagged("file", {"bytes": b"a,b\n", "media_type": "text/csv"}),
        ),
        "text": (media.document("text", title="A"), Tagged("document", {"data": "text", "title": "A"})),
        "document": (media.document(table), Tagged("document", {"bytes": b"a,b\n"})),
        "history": (media.history([{"q": 1}]), Tagged("history", {"messages": [{"q": 1}]})),
        "example": (
            media.example({"q": 1, "a": 2}, ["q"]),
            Tagged("example", {"fields": {"q": 1, "a": 2}, "inputs": ["q"]}),
        ),
    }
    for name, (made, expected) in values.items():
        assert (name, expected) == (name, made)
        assert expected == decode_value(encode_value(made))
    assert "openxmlformats" in str(media.file(_named(tmp_path, "c.docx")).value)


def _named(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(b"PK\x03\x04")
    return path


def test_what_is_too_large_or_empty_is_refused_before_it_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a file that never ends, of which no more is read than may be."""
    monkeypatch.setattr(media, "MEDIA_BYTES", {"image": 2**20})
    for source, got in ((b"", "nothing"), (b"x" * (2**20 + 1), "more"), (Path("/dev/zero"), "more")):
        with pytest.raises(DSPexError) as refused:
            media.image(source)
        assert ("invalid_argument", got) == (refused.value.code, refused.value.details["got"])
    with pytest.raises(FileNotFoundError):
        media.image(tmp_path / "none.png")
