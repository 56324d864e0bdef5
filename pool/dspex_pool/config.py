"""Every setting of the server: its unit, its default, and why.

One declaration for environment (`DSPEX_WORKERS`) and flags (`--workers`): the field's
name is both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import get_type_hints

from dspex_protocol import error
from dspex_protocol.limits import DEFAULT_DEADLINE_MS, MAX_FRAME_BYTES, MIN_MAX_FRAME_BYTES


def _setting(default: object, why: str, low: float | None = None, high: float | None = None) -> object:
    return field(default=default, metadata={"why": why, "low": low, "high": high})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of one server."""

    workers: int = _setting(  # type: ignore[assignment]
        2, "worker processes; one for each core that DSPy may use", 1, 256
    )
    calls_per_worker: int = _setting(  # type: ignore[assignment]
        128, "calls at once in one worker; most of them wait for a language model", 1, 10_000
    )
    max_queue: int = _setting(  # type: ignore[assignment]
        4096, "calls that may wait; at 2,000 calls/s that is two seconds, and later is too late", 0, 1_000_000
    )
    max_open_bytes: int = _setting(  # type: ignore[assignment]
        64 * 1024 * 1024, "payloads of all open calls; they are kept for a repeat", 1024, None
    )
    max_frame_bytes: int = _setting(  # type: ignore[assignment]
        MAX_FRAME_BYTES, "largest frame from a client", MIN_MAX_FRAME_BYTES, 2**32 - 1
    )
    default_deadline_ms: int = _setting(  # type: ignore[assignment]
        DEFAULT_DEADLINE_MS, "for calls that name none", 1, 86_400_000
    )
    grace_s: float = _setting(  # type: ignore[assignment]
        2.0, "between asking a call to stop and killing its worker", 0, 600
    )
    boot_timeout_s: float = _setting(  # type: ignore[assignment]
        60.0, "for a worker to get ready; a cold import of DSPy takes up to 6 s", 1, 3600
    )
    zygote: bool = _setting(True, "fork workers from one process that has imported DSPy")  # type: ignore[assignment]
    lm: str = _setting("", "model named `default` when the client names none, such as openai/gpt-4o-mini")  # type: ignore[assignment]
    plugins: str = _setting("", "Python modules with further operations, separated by commas")  # type: ignore[assignment]
    log_level: str = _setting("warning", "least level of lines on stderr: debug, info, warning or error")  # type: ignore[assignment]


def describe_settings() -> list[dict[str, object]]:
    """Every setting with default, variable, flag and reason, as data."""
    hints = get_type_hints(Config)
    return [
        {
            "name": setting.name,
            "type": hints[setting.name].__name__,
            "default": setting.default,
            "variable": f"DSPEX_{setting.name.upper()}",
            "flag": f"--{setting.name.replace('_', '-')}",
            "why": setting.metadata["why"],
        }
        for setting in fields(Config)
    ]


def read_config(environment: Mapping[str, str], flags: Mapping[str, str]) -> Config:
    """Put the settings together: flags over environment over defaults.

    Raises:
        CallerError: `invalid_argument` naming the variable or flag.
    """
    hints = get_type_hints(Config)
    given: dict[str, object] = {}
    for setting in fields(Config):
        variable = f"DSPEX_{setting.name.upper()}"
        if setting.name in flags:
            source, text = f"--{setting.name.replace('_', '-')}", flags[setting.name]
        elif environment.get(variable):
            source, text = variable, environment[variable]
        else:
            continue
        given[setting.name] = _parse(source, text, hints[setting.name], setting.metadata)
    config = Config(**given)  # type: ignore[arg-type]
    if config.log_level not in LOG_LEVELS:
        raise _refused("log_level", f"one of {', '.join(LOG_LEVELS)}", config.log_level)
    return config


LOG_LEVELS = ("debug", "info", "warning", "error")


def _parse(source: str, text: str, hint: type, metadata: Mapping[str, object]) -> object:
    if hint is str:
        return text
    if hint is bool:
        if text.lower() not in _BOOLEANS:
            raise _refused(source, "true or false", text)
        return _BOOLEANS[text.lower()]
    try:
        value = hint(text)
    except ValueError:
        raise _refused(source, "an integer" if hint is int else "a number", text) from None
    low, high = metadata["low"], metadata["high"]
    if isinstance(low, int | float) and value < low:
        raise _refused(source, f"at least {low}", text)
    if isinstance(high, int | float) and value > high:
        raise _refused(source, f"at most {high}", text)
    return value


_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def _refused(source: str, expected: str, text: str) -> Exception:
    return error(
        "invalid_argument",
        f"{source}: expected {expected}, got {text!r}",
        details={"field": source, "expected": expected, "got": text},
    )


