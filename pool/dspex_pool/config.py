"""Every setting of the server: its unit, its default, and why.

One declaration serves the environment (`DSPEX_WORKERS`), the flags (`--workers`), the
type checkers and `dspex config`: the field's name is both, and its annotation says what
is allowed, in the words of `dspex_protocol.records`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Final, Literal, get_args, get_type_hints

from dspex_protocol import DSPexError, invalid_argument
from dspex_protocol.limits import DEFAULT_DEADLINE_MS, MAX_DEADLINE_MS, MAX_FRAME_BYTES, MIN_MAX_FRAME_BYTES
from dspex_protocol.records import Doc, Range, describe, read

LogLevel = Literal["debug", "info", "warning", "error"]
LOG_LEVELS: Final[tuple[str, ...]] = get_args(LogLevel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of one server."""

    workers: Annotated[int, Doc("worker processes; one for each core that DSPy may use"), Range(1, 256)] = 2
    calls_per_worker: Annotated[
        int, Doc("calls at once in one worker; most of them wait for a language model"), Range(1, 10_000)
    ] = 128
    max_queue: Annotated[
        int,
        Doc("calls that may wait; at 2,000 calls/s that is two seconds, and later is too late"),
        Range(0, 1_000_000),
    ] = 4096
    max_open_bytes: Annotated[
        int, Doc("payloads of all open calls; they are kept for a repeat"), Range(1024)
    ] = 64 * 1024 * 1024
    max_frame_bytes: Annotated[
        int, Doc("largest frame from a client"), Range(MIN_MAX_FRAME_BYTES, 2**32 - 1)
    ] = MAX_FRAME_BYTES
    default_deadline_ms: Annotated[int, Doc("for calls that name none"), Range(1, MAX_DEADLINE_MS)] = (
        DEFAULT_DEADLINE_MS
    )
    grace_s: Annotated[float, Doc("between asking a call to stop and killing its worker"), Range(0, 600)] = (
        2.0
    )
    boot_timeout_s: Annotated[
        float, Doc("for a worker to get ready; a cold import of DSPy takes up to 6 s"), Range(1, 3600)
    ] = 60.0
    zygote: Annotated[bool, Doc("fork workers from one process that has imported DSPy")] = True
    lm: Annotated[
        str, Doc("model named `default` when the client names none, such as openai/gpt-4o-mini")
    ] = ""
    plugins: Annotated[str, Doc("Python modules with further operations, separated by commas")] = ""
    log_level: Annotated[LogLevel, Doc("least level of lines on stderr")] = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a setting came from.

    Attributes:
        kind: `flag`, `environment` or `default`.
        name: The flag or variable; for a default the variable that would change it.
        text: What stood there; None for a default.
    """

    kind: Literal["flag", "environment", "default"]
    name: str
    text: str | None = None


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return f"DSPEX_{name.upper()}"


def flag_of(name: str) -> str:
    """The flag of a setting."""
    return f"--{name.replace('_', '-')}"


def describe_settings() -> list[dict[str, object]]:
    """Every setting with type in words, default, variable, flag and reason, as data."""
    return [
        {
            "name": name,
            "type": row["type"],
            "default": row["default"],
            "variable": variable_of(name),
            "flag": flag_of(name),
            "why": row["doc"],
        }
        for name, row in _rows().items()
    ]


def trace_settings(environment: Mapping[str, str], flags: Mapping[str, str]) -> dict[str, Source]:
    """Where each setting comes from: flags over environment over defaults.

    An empty variable counts as not set: a shell or a service file has no other way to
    take one back.
    """
    return {setting.name: _source(setting.name, environment, flags) for setting in fields(Config)}


def read_config(environment: Mapping[str, str], flags: Mapping[str, str]) -> Config:
    """Put the settings together: flags over environment over defaults.

    Args:
        environment: Variables by name.
        flags: Texts by setting's name, as `cli.serve.read_flags` gives them.

    Raises:
        CallerError: `invalid_argument` naming the variable or flag.
    """
    sources = trace_settings(environment, flags)
    hints = get_type_hints(Config)
    given = {
        name: _parse(source.text, hints[name]) for name, source in sources.items() if source.text is not None
    }
    try:
        return read(Config, given)
    except DSPexError as refusal:
        name = str(refusal.details["field"])
        source = sources[name]
        raise invalid_argument(source.name, str(refusal.details["expected"]), source.text) from None


def effective_settings(environment: Mapping[str, str], flags: Mapping[str, str]) -> list[dict[str, object]]:
    """The rows of `describe_settings` with the value in force, and where it came from.

    Raises:
        CallerError: `invalid_argument` naming the variable or flag.
    """
    values = asdict(read_config(environment, flags))
    sources = trace_settings(environment, flags)
    return [
        row | {"value": values[name], "source": sources[name].kind, "source_name": sources[name].name}
        for row in describe_settings()
        for name in [str(row["name"])]
    ]


def _source(name: str, environment: Mapping[str, str], flags: Mapping[str, str]) -> Source:
    variable = variable_of(name)
    if name in flags:
        return Source(kind="flag", name=flag_of(name), text=flags[name])
    if environment.get(variable):
        return Source(kind="environment", name=variable, text=environment[variable])
    return Source(kind="default", name=variable)


def _rows() -> dict[str, dict[str, object]]:
    rows: dict[str, dict[str, object]] = {}
    for name, row in describe(Config).items():
        assert isinstance(row, dict)
        rows[name] = row  # pyright: ignore[reportUnknownMemberType]
    return rows


def _parse(text: str, hint: object) -> object:
    """The text as a value of that type where it is one; what is not, `read` refuses by itself."""
    try:
        if hint is bool:
            return _BOOLEANS.get(text.lower(), text)
        if hint is int:
            return int(text)
        return float(text) if hint is float else text
    except ValueError:
        return text


_BOOLEANS: Final = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}
