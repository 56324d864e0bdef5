"""The errors of datasets as clients hear them, each in one place."""

from __future__ import annotations

from dspex_protocol import DSPexError, error


def unknown_dataset(dataset: str) -> DSPexError:
    """There is none of that id."""
    return error("unknown_dataset", f"there is no dataset {dataset!r}", details={"dataset": dataset})


def unknown_version(dataset: str, version: int, newest: int) -> DSPexError:
    """It has no such version."""
    return error(
        "unknown_dataset",
        f"dataset {dataset!r} has no version {version}; the newest is {newest}",
        details={"dataset": dataset, "newest": newest},
    )


def version_conflict(dataset: str, based_on: int, newest: int) -> DSPexError:
    """Somebody else's version came first."""
    return error(
        "version_conflict",
        f"dataset {dataset!r} is at version {newest}, and not at {based_on} any more",
        details={"newest": newest},
    )


def damaged(dataset: str, why: str) -> DSPexError:
    """What is kept of it is not as it was written."""
    return error(
        "store_damaged",
        f"what is stored of dataset {dataset!r} cannot be read ({why})",
        details={"dataset": dataset},
    )


def too_new(dataset: str, schema: int, known: int) -> DSPexError:
    """A newer DSPex wrote it."""
    return error(
        "record_too_new",
        f"dataset {dataset!r} was written by a newer DSPex (schema {schema}; this one knows {known})",
        details={"dataset": dataset, "schema": schema, "known": known},
    )


def contended(dataset: str) -> DSPexError:
    """Too many others write to it."""
    return error(
        "overloaded",
        f"too many write to dataset {dataset!r} at the same time; nothing was written",
        retry_after_ms=100,
    )
