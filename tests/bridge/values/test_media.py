"""Media as bytes: told by what they begin with, held against what was declared, and limited."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Final

import dspy
import pytest
from dspy.experimental import Document

from dspex_bridge.signatures.signatures import build_signature, check_inputs
from dspex_bridge.values import media
from dspex_bridge.values.incoming import from_wire
from dspex_bridge.values.media import MEDIA_TYPES
from dspex_bridge.values.outgoing import to_wire
from dspex_protocol import DSPexError, Tagged, decode_value, encode_value
from dspex_protocol.limits import MEDIA_BYTES

PNG: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
WAV: Final = b"RIFF\x24\x00\x00\x00WAVEfmt "
PDF: Final = b"%PDF-1.7\n\xff\xfe"
ZIP: Final = b"PK\x03\x04\x14\x00"
DOCX: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

BEGINNINGS: Final[list[tuple[str, str, bytes]]] = [
    ("image", "image/png", PNG),
    ("image", "image/jpeg", b"\xff\xd8\xff\xe0"),
    ("image", "image/gif", b"GIF89a"),
    ("image", "image/webp", b"RIFF\x00\x01\n\x00WEBP"),
    ("image", "image/bmp", b"BM\x10\n\x00\x00\x00\x00\x00\x00"),
    ("image", "image/tiff", b"II*\x00"),
    ("audio", "audio/wav", WAV),
    ("audio", "audio/mpeg", b"ID3\x04"),
    ("audio", "audio/mpeg", b"\xff\xfb\x90"),
    ("audio", "audio/aac", b"\xff\xf1\x50"),
    ("audio", "audio/flac", b"fLaC"),
    ("audio", "audio/ogg", b"OggS"),
    ("audio", "audio/mp4", b"\x00\x00\x00\x20ftypM4A "),
    ("audio", "audio/webm", b"\x1aE\xdf\xa3"),
    ("file", "application/pdf", PDF),
    ("file", "image/png", PNG),
    ("file", "text/plain", "grüß dich".encode()),
    ("file", "application/octet-stream", b"\xff\x00"),
    ("document", "application/pdf", PDF),
    ("document", "text/plain", b"text"),
]


def read(tag: str, **content: object) -> Any:
    """A tagged value, as a worker reads it from real bytes."""
    return from_wire(decode_value(encode_value(Tagged(tag, content))))


def refused(tag: str, **content: object) -> tuple[object, object]:
    """Where it is refused and what was expected."""
    with pytest.raises(DSPexError) as failure:
        read(tag, **content)
    assert "invalid_argument" == failure.value.code
    return failure.value.details["field"], failure.value.details["expected"]


@pytest.mark.parametrize(("tag", "media_type", "data"), BEGINNINGS)
def test_bytes_tell_what_they_are(tag: str, media_type: str, data: bytes) -> None:
    """With the media type declared as well, and without."""
    assert media_type == media.media_type_of(tag, data, None, "value")
    assert media_type == media.media_type_of(tag, data, f"{media_type.upper()}; charset=utf-8", "value")


@pytest.mark.parametrize("tag", ["image", "audio"])
def test_no_two_media_types_begin_alike(tag: str) -> None:
    """Of all beginnings of a tag, each fits its own type only."""
    for _, media_type, data in (row for row in BEGINNINGS if row[0] == tag):
        for other in MEDIA_TYPES[tag]:
            if other != media_type:
                assert ("value.media_type", media_type) == refused(tag, bytes=data, media_type=other)


def test_bytes_become_what_dspy_makes_of_the_same_file(tmp_path: Path) -> None:
    """An image, a sound, a file; an MP3 has the name that providers know, where DSPy says mpeg."""
    paths = {name: tmp_path / name for name in ("a.png", "a.wav", "a.mp3", "a.pdf")}
    for path, data in zip(paths.values(), (PNG, WAV, b"ID3\x04", PDF), strict=True):
        path.write_bytes(data)
    assert dspy.Image.from_path(str(paths["a.png"])) == read("image", bytes=PNG)
    assert dspy.Audio.from_path(str(paths["a.wav"])) == read("audio", bytes=WAV)
    theirs, ours = dspy.Audio.from_path(str(paths["a.mp3"])), read("audio", bytes=b"ID3\x04")
    assert (theirs.data, "mp3") == (ours.data, ours.audio_format)
    assert dspy.File.from_path(str(paths["a.pdf"])) == read("file", bytes=PDF, filename="a.pdf")


def test_a_document_is_text_or_the_base64_of_a_pdf() -> None:
    """As DSPy hands it to a provider."""
    assert "grüß dich" == read("document", bytes="grüß dich".encode(), title="A").data
    pdf = read("document", bytes=PDF)
    assert type(pdf) is Document
    assert (base64.b64encode(PDF).decode(), "application/pdf") == (pdf.data, pdf.media_type)


def test_what_came_as_bytes_goes_back_as_dspy_holds_it() -> None:
    """And that is read again as the same."""
    for tag, data in (("image", PNG), ("audio", WAV), ("file", PDF), ("document", PDF)):
        once = read(tag, bytes=data)
        written: Any = to_wire(once)
        assert once == from_wire(decode_value(encode_value(written)))
    assert Tagged("image", {"url": "data:image/png;base64," + base64.b64encode(PNG).decode()}) == to_wire(
        read("image", bytes=PNG)
    )


@pytest.mark.parametrize(
    ("tag", "content", "field", "expected"),
    [
        ("image", {"bytes": b"nothing known"}, "value.bytes", "one of image/png, "),
        ("image", {"bytes": b""}, "value.bytes", "the bytes of a image"),
        ("image", {"bytes": "text"}, "value.bytes", "the bytes of a image"),
        ("image", {"bytes": PNG, "media_type": "image/jpeg"}, "value.media_type", "image/png"),
        ("image", {"bytes": PNG, "media_type": "image/svg+xml"}, "value.media_type", "one of image/png, "),
        ("image", {"bytes": PNG, "media_type": 3}, "value.media_type", "one of image/png, "),
        ("image", {"bytes": PDF}, "value.bytes", "one of image/png, "),
        ("image", {"bytes": PNG, "url": "https://example.test/a"}, "value", "bytes or url"),
        (
            "image",
            {"url": "https://example.test/a", "media_type": "image/png"},
            "value.media_type",
            "nothing",
        ),
        ("image", {"url": "file:///etc/passwd"}, "value.url", "a URL of http, https, gs or data"),
        ("image", {"url": "ftp://example.test/a"}, "value.url", "a URL of http, https, gs or data"),
        ("image", {"path": "/etc/passwd"}, "value.path", "one of the fields url, bytes, media_type"),
        ("image", {}, "value.url", "a URL of http, https, gs or data"),
        ("audio", {"bytes": PNG}, "value.bytes", "one of audio/wav, "),
        ("audio", {"bytes": WAV, "data": "AAAA"}, "value", "bytes or data"),
        (
            "audio",
            {"path": "/etc/passwd"},
            "value.path",
            "one of the fields data, audio_format, bytes, media_type",
        ),
        ("file", {"bytes": PDF, "media_type": DOCX}, "value.media_type", "application/pdf"),
        ("file", {"bytes": b"\xff", "media_type": "text/csv"}, "value.media_type", "what the bytes are"),
        (
            "file",
            {"bytes": PDF, "media_type": "application/x-sh"},
            "value.media_type",
            "one of application/pdf",
        ),
        ("document", {"bytes": b"\xff"}, "value.bytes", "a PDF or UTF-8 text"),
        (
            "document",
            {"bytes": b"x", "media_type": "text/html"},
            "value.media_type",
            "one of application/pdf",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_its_part(
    tag: str, content: dict[str, object], field: str, expected: str
) -> None:
    """No path is opened and nothing is guessed."""
    where, wanted = refused(tag, **content)
    assert field == where
    assert str(wanted).startswith(expected)


def test_office_files_are_told_by_what_is_declared() -> None:
    """All of them begin as a ZIP does, and a ZIP alone is just bytes."""
    assert DOCX == media.media_type_of("file", ZIP, DOCX, "value")
    assert "application/octet-stream" == media.media_type_of("file", ZIP + b"\xff", None, "value")


@pytest.mark.parametrize("tag", sorted(MEDIA_BYTES))
def test_too_many_bytes_are_refused(tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also within a data URI or base64; the limit itself is allowed."""
    monkeypatch.setattr(media, "MEDIA_BYTES", {**MEDIA_BYTES, tag: 2**20})
    data = {"image": PNG, "audio": WAV, "file": PDF, "document": PDF}[tag].ljust(2**20, b"\xff")
    whole: Any = to_wire(read(tag, bytes=data))
    where = {"image": "url", "audio": "data", "file": "file_data", "document": "data"}[tag]
    assert whole == to_wire(read(tag, **{**whole.value, where: whole.value[where]}))
    assert ("value.bytes", f"at most 1 MiB of {tag}") == refused(tag, bytes=data + b"\x00")
    longer = whole.value[where] + "AAAA" * 32
    assert (f"value.{where}", f"at most 1 MiB of {tag}") == refused(tag, **{**whole.value, where: longer})


def test_a_field_of_media_takes_bytes_as_they_are() -> None:
    """In a list too, and with the part that is wrong named."""
    signature = build_signature("photos: list[image], paper: document -> answer")
    inputs: Any = check_inputs(signature, {"photos": [PNG, {"bytes": PNG}], "paper": PDF})
    assert inputs["photos"][0] == inputs["photos"][1] == read("image", bytes=PNG)
    with pytest.raises(DSPexError) as failure:
        check_inputs(signature, {"photos": [PNG, {"bytes": PDF}], "paper": PDF})
    assert "inputs.photos[1]" == failure.value.details["field"]
    assert str(failure.value.details["expected"]).startswith("in bytes one of image/png")


def encoded(data: bytes) -> str:
    """As base64."""
    return base64.b64encode(data).decode()


def uri(media_type: str, data: bytes) -> str:
    """As a data URI."""
    return f"data:{media_type};base64,{encoded(data)}"


@pytest.mark.parametrize(
    ("tag", "content"),
    [
        ("image", {"url": uri("image/png", PNG)}),
        ("image", {"url": uri("image/jpg", b"\xff\xd8\xff\xe0" * 4)}),
        ("image", {"url": uri("image/png", b"too short")}),
        ("image", {"url": uri("IMAGE/PNG;name=a", PNG)}),
        ("file", {"file_data": uri("application/pdf", PDF)}),
        ("file", {"file_data": uri("text/plain;charset=utf-8", b"text")}),
        ("file", {"file_data": uri("application/octet-stream", b"\xff")}),
        ("audio", {"data": encoded(WAV), "audio_format": "wav"}),
        ("audio", {"data": encoded(b"ID3\x04" * 4), "audio_format": "mp3"}),
        ("audio", {"data": encoded(b"\x01\x02"), "audio_format": "pcm16"}),
        ("document", {"data": encoded(PDF), "media_type": "application/pdf"}),
        ("document", {"data": "text, that is no base64"}),
    ],
)
def test_text_that_is_what_it_says_is_taken_as_it_is(tag: str, content: dict[str, object]) -> None:
    """Letter for letter."""
    value = read(tag, **content)
    for name, text in content.items():
        assert text == getattr(value, name)


TYPES_OF_FILES: Final = "data URI of one of application/pdf"


@pytest.mark.parametrize(
    ("tag", "content", "field", "expected"),
    [
        ("image", {"url": uri("image/jpeg", PNG)}, "url", "like image/jpeg"),
        ("image", {"url": uri("text/html", b"<script>")}, "url", "one of image/png"),
        ("image", {"url": uri("", PNG)}, "url", "one of image/png"),
        ("image", {"url": "data:image/png;base64,iVBO*w0K"}, "url", "base64"),
        ("image", {"url": "data:image/png;base64,iVBOR"}, "url", "base64"),
        ("image", {"url": "data:image/png;base64,"}, "url", "the bytes"),
        ("image", {"url": "data:image/png,%89PNG"}, "url", "data URI in base64"),
        ("image", {"url": "DATA:image/png"}, "url", "data URI in base64"),
        ("file", {"file_data": uri("application/pdf", PNG)}, "file_data", "like application/pdf"),
        ("file", {"file_data": uri("text/plain", b"\xff\xfe\x00")}, "file_data", "like text/plain"),
        ("file", {"file_data": uri("application/x-sh", b"rm")}, "file_data", TYPES_OF_FILES),
        ("audio", {"data": encoded(PNG), "audio_format": "wav"}, "data", "like audio/wav"),
        ("audio", {"data": "not base64!", "audio_format": "wav"}, "data", "base64"),
        ("document", {"data": "no base64!", "media_type": "application/pdf"}, "data", "base64"),
    ],
)
def test_text_that_is_not_what_it_says_is_refused(
    tag: str, content: dict[str, object], field: str, expected: str
) -> None:
    """By the field, with what was expected, and without what came."""
    where, told = refused(tag, **content)
    assert f"value.{field}" == where
    assert expected in str(told)


def test_a_data_uri_is_checked_where_it_stands_for_an_image() -> None:
    """Also as a string alone, the short form of an input, in a list, and by the path of its field."""
    signature = build_signature("photos: list[image], photo: image -> answer")
    good, bad = uri("image/png", PNG), uri("image/png", WAV)
    taken = check_inputs(signature, {"photos": [good], "photo": good})
    assert dspy.Image(url=good) == taken["photo"]
    for inputs, field in (
        ({"photos": [good, bad], "photo": good}, "inputs.photos[1]"),
        ({"photos": [], "photo": bad}, "inputs.photo"),
    ):
        with pytest.raises(DSPexError) as failure:
            check_inputs(signature, dict[str, object](inputs))
        assert str(failure.value.details["field"]).startswith(field)
