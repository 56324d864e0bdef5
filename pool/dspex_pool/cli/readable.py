"""Results and errors as people read them; `notation` is the form for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from dspex_pool.cli.exits import CALL_FAILED, NO_SERVER
from dspex_pool.notation import to_json
from dspex_protocol import DSPexError, Meta, Tagged

# What means that nobody was there to run the call.
_NO_SERVER_CODES = frozenset(("boot_failed", "connection_lost", "handshake_failed", "unavailable"))


def plain(text: str) -> str:
    """A text without what could steer a terminal; line ends and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def result_text(value: object) -> str:
    """A result: a prediction field by field, text as it is, the rest as indented JSON."""
    fields = prediction_fields(value)
    if fields is not None:
        return "\n".join(field_text(name, item) for name, item in fields.items())
    return (
        plain(value) if isinstance(value, str) else json.dumps(to_json(value), indent=2, ensure_ascii=False)
    )


def prediction_fields(value: object) -> dict[str, object] | None:
    """The fields of a prediction; None for any other value."""
    match value:
        case Tagged(tag="prediction", value={"fields": dict()} as parts):
            return cast("dict[str, dict[str, object]]", parts)["fields"]
        case _:
            return None


def field_text(name: str, value: object) -> str:
    """One field; what has several lines stands indented below its name."""
    text = plain(value) if isinstance(value, str) else json.dumps(to_json(value), ensure_ascii=False)
    if "\n" in text:
        return f"{name}:\n    " + text.replace("\n", "\n    ")
    return f"{name}: {text}"


def meta_text(meta: Meta) -> str:
    """What the server told about a call, in a line; empty when it told nothing."""
    said = {
        "worker": "worker {}",
        "queue_ms": "{:.1f} ms queued",
        "worker_ms": "{:.1f} ms in the worker",
        "lm_calls": "{} LM calls",
        "lm_ms": "{:.1f} ms of LM",
        "tokens_in": "{} tokens in",
        "tokens_out": "{} out",
    }
    return ", ".join(form.format(meta[name]) for name, form in said.items() if name in meta)


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of cells under a head, each column as wide as it needs to be."""
    cells = [[plain(cell).replace("\n", " ") for cell in row] for row in (head, *rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def report(failure: DSPexError, *, as_json: bool) -> int:
    """Print an error on stderr.

    Returns:
        The exit code for it.
    """
    if as_json:
        print(json.dumps({"error": _error_fields(failure)}), file=sys.stderr)
    else:
        print("\n".join(_error_lines(failure)), file=sys.stderr)
    return NO_SERVER if failure.code in _NO_SERVER_CODES else CALL_FAILED


def _error_fields(failure: DSPexError) -> dict[str, object]:
    return {
        "code": failure.code,
        "message": failure.message,
        "retryable": failure.retryable,
        "maybe_executed": failure.maybe_executed,
        "retry_after_ms": failure.retry_after_ms,
        "details": to_json(dict(failure.details)),
    }


def _error_lines(failure: DSPexError) -> Iterator[str]:
    yield plain(f"{failure.code}: {failure.message}")
    for name, value in failure.details.items():
        yield "    " + field_text(name, value).replace("\n", "\n    ")
    if failure.maybe_executed:
        yield "    it may have had effects"
    if failure.retryable:
        after = f" after {failure.retry_after_ms} ms" if failure.retry_after_ms else ""
        yield f"    the same call may succeed later{after}"


def print_run(experiment: object, run: object) -> None:
    """Where what was done tells of itself, if anywhere."""
    if experiment is not None and run is not None:
        print(f"{plain(str(run))} of experiment {plain(str(experiment))}")
