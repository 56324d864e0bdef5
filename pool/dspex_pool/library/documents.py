"""Programs as documents: one piece of JSON that can be kept, mailed, put under version control.

    {"format": "dspex", "schema": 1, "program": …, "versions": [{"version", "created_ms", "lineage",
     "checksum", "content"}, …], "tags": {tag: version}, "checksum": …}

Values that JSON lacks are in the notation of `dspex_pool.notation`. A version's checksum is that of
its content as it is stored; the document's is of all the rest, so that a document that was cut or
edited is not taken for what was exported. It does not mind order of keys or white space.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal, cast

from dspex_pool.notation import from_json, to_json
from dspex_protocol import DSPexError, decode_value, encode_value, error, invalid_argument
from dspex_protocol.limits import MAX_ID, MAX_ITEMS
from dspex_protocol.records import Length, Range, read

from .names import check_program, check_tag
from .records import Lineage, Version, lineage_map, read_facts
from .refusals import version_damaged
from .sealing import Broken
from .steps import Draft

FORMAT: Final = "dspex"
SCHEMA: Final = 1

MAX_VERSIONS: Final = 900
"""Of one document: all of them are stored in one commit, which takes a thousand changes."""

_UNPRINTABLE: Final = re.compile(r"[^\n -~]")
"""Or not of ASCII, which is for `_escape` to tell."""

MAX_VALUES: Final = MAX_ITEMS
"""Values in the text of one document: as many as a payload may have. Each takes many times its length
in memory, and a microsecond or more, while it is read."""

MAX_NOTE_CHARACTERS: Final = 10_000
MAX_SCORES: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lineage:
    """As `records.Lineage`, with bounds."""

    parent: Annotated[int, Range(1, MAX_ID)] | None
    by: Annotated[str, Length(1, 128)]
    note: Annotated[str, Length(0, MAX_NOTE_CHARACTERS)] | None
    scores: Annotated[dict[str, float], Length(0, MAX_SCORES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    version: Annotated[int, Range(1, MAX_ID)]
    created_ms: Annotated[int, Range(0, MAX_ID)]
    lineage: _Lineage
    checksum: str
    content: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    format: Literal["dspex"]
    schema: int
    program: str
    versions: Annotated[list[_Version], Length(1, MAX_VERSIONS)]
    tags: dict[str, int]
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a document says.

    Attributes:
        program: The id that the program had.
        versions: In the order of their numbers; the last one is the newest.
        tags: Tag to one of their numbers.
    """

    program: str
    versions: Sequence[Version]
    tags: Mapping[str, int]

    def drafts(self, note: str | None) -> list[Draft]:
        """Its versions for a new program, numbered from 1.

        Args:
            note: For the newest one; None leaves that of the document.

        A document with one version tells of an import, and one with several of a program that is
        as it was, with its history.
        """
        if len(self.versions) == 1:
            return [replace(self.newest(note), tags=sorted(self.tags))]
        numbers = {one.version: number for number, one in enumerate(self.versions, 1)}
        drafts = [
            Draft(
                content=one.content,
                facts=read_facts(one.content),
                lineage=replace(one.lineage, parent=numbers.get(one.lineage.parent or 0)),
                tags=sorted(tag for tag, version in self.tags.items() if version == one.version),
                created_ms=one.created_ms,
            )
            for one in self.versions
        ]
        if note is not None:
            drafts[-1] = replace(drafts[-1], lineage=replace(drafts[-1].lineage, note=note))
        return drafts

    def newest(self, note: str | None) -> Draft:
        """Its newest version, for a program that is there already. It brings no tags along."""
        newest = self.versions[-1]
        lineage = Lineage(
            by="import",
            note=newest.lineage.note if note is None else note,
            scores=newest.lineage.scores,
        )
        return Draft(content=newest.content, facts=read_facts(newest.content), lineage=lineage)


def write_document(document: Document) -> str:
    """A document's text.

    Raises:
        ServiceError: `program_damaged` when a content is no record of a worker.
    """
    value: dict[str, object] = {
        "format": FORMAT,
        "schema": SCHEMA,
        "program": document.program,
        "versions": [_version_value(one) for one in document.versions],
        "tags": dict(sorted(document.tags.items())),
    }
    written = cast("dict[str, object]", to_json(value))
    written["checksum"] = _checksum_of(written)
    return _UNPRINTABLE.sub(_escape, json.dumps(written, indent=2, ensure_ascii=False)) + "\n"


def _escape(found: re.Match[str]) -> str:
    """What JSON may leave as it is, and a terminal or an editor would act upon."""
    character = found[0]
    return character if character.isprintable() else json.dumps(character)[1:-1]


def _version_value(version: Version) -> dict[str, object]:
    try:
        read_facts(version.content)
    except Broken as why:
        raise version_damaged(version.program, version.version, None, str(why)) from why
    # What came through JSON once comes through it again unchanged: not so every NaN.
    content = from_json(to_json(decode_value(version.content)))
    return {
        "version": version.version,
        "created_ms": version.created_ms,
        "lineage": lineage_map(version.lineage),
        "checksum": hashlib.sha256(encode_value(content)).hexdigest(),
        "content": content,
    }


def read_document(text: str) -> Document:
    """What a document's text says.

    Raises:
        CallerError: `invalid_argument` naming the place in the document, or `record_too_new`.
    """
    try:
        written = _parse(text)
        _check_schema(written)
        _check_checksum(written)
        value = from_json(written, "document")
    except RecursionError:
        raise invalid_argument("document", "values that are nested less deep", "deeper ones") from None
    document = read(_Document, value, "document")
    program = check_program(document.program, "document.program")
    versions = [
        _read_version(program, one, f"document.versions[{at}]") for at, one in enumerate(document.versions)
    ]
    _check_order(versions)
    _check_tags(document.tags, versions)
    return Document(program=program, versions=versions, tags=document.tags)


def _parse(text: str) -> Mapping[str, object]:
    # At least one of these comes before each value but the first; in texts they count as well.
    if sum(map(text.count, ",[{")) > MAX_VALUES:
        raise invalid_argument("document", f"a document of at most {MAX_VALUES} values", text)
    try:
        written = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except ValueError as reason:
        raise invalid_argument("document", f"JSON ({reason})", text) from None
    if not isinstance(written, dict):
        raise invalid_argument("document", "an object", written)
    return cast("Mapping[str, object]", written)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        twice = next(key for at, (key, _) in enumerate(pairs) if key in dict(pairs[:at]))
        raise ValueError(f"an object has the key {twice!r} twice")
    return unique


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _check_schema(written: Mapping[str, object]) -> None:
    if written.get("format") != FORMAT:
        raise invalid_argument("document.format", repr(FORMAT), written.get("format"))
    schema = written.get("schema")
    if type(schema) is not int or schema < 1:
        raise invalid_argument("document.schema", "an integer from 1", schema)
    if schema > SCHEMA:
        raise error(
            "record_too_new",
            f"document.schema: a newer DSPex exported it (schema {schema}; this one knows {SCHEMA})",
            details={"field": "document.schema", "schema": schema, "known": SCHEMA},
        )


def _check_checksum(written: Mapping[str, object]) -> None:
    stated, found = written.get("checksum"), _checksum_of(written)
    if stated != found:
        raise invalid_argument("document.checksum", f"{found}, as of a document nobody changed", stated)


def _checksum_of(written: Mapping[str, object]) -> str:
    rest = {key: value for key, value in written.items() if key != "checksum"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _read_version(program: str, one: _Version, path: str) -> Version:
    try:
        content = encode_value(one.content)
        facts = read_facts(content)
    except (DSPexError, Broken) as why:
        raise invalid_argument(f"{path}.content", f"the content of a version ({why})", one.content) from None
    version = Version(
        program=program,
        version=one.version,
        content=content,
        lineage=Lineage(
            by=one.lineage.by, parent=one.lineage.parent, note=one.lineage.note, scores=one.lineage.scores
        ),
        created_ms=one.created_ms,
        dspy=facts.dspy,
        schema=facts.schema,
    )
    if version.checksum != one.checksum:
        raise invalid_argument(f"{path}.checksum", f"{version.checksum}, as of its content", one.checksum)
    return version


def _check_order(versions: Sequence[Version]) -> None:
    for at in range(1, len(versions)):
        before = versions[at - 1].version
        if versions[at].version <= before:
            raise invalid_argument(
                f"document.versions[{at}].version", f"an integer above {before}", versions[at].version
            )


def _check_tags(tags: Mapping[str, int], versions: Sequence[Version]) -> None:
    numbers = {one.version for one in versions}
    for tag, version in tags.items():
        check_tag(tag, "document.tags")
        if version not in numbers:
            raise invalid_argument(f"document.tags.{tag}", "the number of a version in the document", version)
