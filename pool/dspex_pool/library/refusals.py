"""The library's errors as clients hear them, each in one place."""

from __future__ import annotations

from dspex_protocol import DSPexError, error

from .upgrades import HEAD_SCHEMA, VERSION_SCHEMA


def unknown_program(program: str) -> DSPexError:
    """There is none of that id."""
    return error("unknown_program", f"there is no program {program!r}")


def unknown_version(program: str, version: int, newest: int) -> DSPexError:
    """The program has no such version."""
    return error(
        "unknown_program",
        f"program {program!r} has no version {version}; the newest is {newest}",
        details={"newest": newest},
    )


def unknown_tag(program: str, tag: str, newest: int) -> DSPexError:
    """No version of the program carries that tag."""
    return error(
        "unknown_program",
        f"program {program!r} has no version with the tag {tag!r}; the newest is {newest}",
        details={"newest": newest},
    )


def program_exists(program: str) -> DSPexError:
    """A new program cannot have that id."""
    return error("program_exists", f"there is a program {program!r} already")


def version_conflict(program: str, based_on: int, newest: int) -> DSPexError:
    """Somebody else's version came first."""
    return error(
        "version_conflict",
        f"program {program!r} is at version {newest}, and not at {based_on} any more",
        details={"newest": newest},
    )


def write_id_reused(write_id: str) -> DSPexError:
    """Another write had that id."""
    return error(
        "write_id_reused", f"write_id {write_id!r} was used within the last 24 hours for another write"
    )


def write_damaged(write_id: str, why: str) -> DSPexError:
    """What became of a write cannot be read any more."""
    return error("store_damaged", f"the record of write_id {write_id!r} cannot be read ({why})")


def write_too_new(write_id: str, schema: int) -> DSPexError:
    """A newer DSPex made that write."""
    return error("record_too_new", f"a newer DSPex made the write {write_id!r} (schema {schema})")


def version_damaged(program: str, version: int, previous: int | None, why: str) -> DSPexError:
    """A version cannot be read any more.

    Args:
        program: Whose.
        version: Its number.
        previous: The newest sound version before it.
        why: What is wrong with it.
    """
    offer = "no version before it is sound" if previous is None else f"version {previous} is sound"
    return error(
        "program_damaged",
        f"version {version} of program {program!r} cannot be read ({why}); {offer}",
        details={"version": version, "previous": previous},
    )


def program_damaged(program: str, why: str) -> DSPexError:
    """What says which versions there are cannot be relied on; `dspex state repair` may put it right."""
    return error(
        "program_damaged",
        f"program {program!r} is damaged ({why}); `dspex state verify` tells more",
        details={"version": None, "previous": None},
    )


def version_too_new(program: str, version: int, schema: int) -> DSPexError:
    """A newer DSPex wrote that version."""
    return error(
        "record_too_new",
        f"version {version} of program {program!r} was written by a newer DSPex"
        f" (schema {schema}; this one knows {VERSION_SCHEMA}); it is left as it is",
        details={"version": version, "schema": schema, "known": VERSION_SCHEMA},
    )


def program_too_new(program: str, schema: int) -> DSPexError:
    """A newer DSPex wrote that program's head."""
    return error(
        "record_too_new",
        f"program {program!r} was written by a newer DSPex"
        f" (schema {schema}; this one knows {HEAD_SCHEMA}); it is left as it is",
        details={"version": None, "schema": schema, "known": HEAD_SCHEMA},
    )


def contended() -> DSPexError:
    """Too many others write to the same program."""
    return error(
        "overloaded",
        "too many write to this program at the same time; nothing was written",
        retry_after_ms=100,
    )


def too_large_document(program: str, versions: int, size_bytes: int) -> DSPexError:
    """More than a document may hold."""
    return error(
        "result_too_large",
        f"a document holds {versions} versions and {size_bytes} bytes of contents at most;"
        f" program {program!r} has more: export one version at a time",
    )
