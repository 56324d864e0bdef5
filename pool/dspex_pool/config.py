"""Every setting of the server: its unit, its default, and why.

One declaration serves the file (`workers = 4`), the environment (`DSPEX_WORKERS`), the
flags (`--workers`), the type checkers and `dspex config`: the field's name is all of them,
and its annotation says what is allowed, in the words of `dspex_protocol.records`.
`settings.py` reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal, get_args, get_type_hints

from dspex_protocol.limits import DEFAULT_DEADLINE_MS, MAX_DEADLINE_MS, MAX_FRAME_BYTES, MIN_MAX_FRAME_BYTES
from dspex_protocol.records import Doc, Range, describe

HistoryLevel = Literal["off", "redacted", "texts"]
LogLevel = Literal["debug", "info", "warning", "error"]
LOG_LEVELS: Final[tuple[str, ...]] = get_args(LogLevel)


@dataclass(frozen=True, slots=True)
class Unit:
    """What a setting's number counts."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of one server."""

    workers: Annotated[
        int, Unit("workers"), Doc("most worker processes; one for each core that DSPy may use"), Range(1, 256)
    ] = 2
    min_workers: Annotated[
        Annotated[int, Range(0, 256)] | None,
        Unit("workers"),
        Doc(
            "least worker processes; unset, there are always `workers`; fewer turns autoscaling on, and"
            " with 0 none is kept while there is nothing to do"
        ),
    ] = None
    job_workers: Annotated[
        int,
        Unit("jobs"),
        Doc("jobs that run here at once, each in a worker process of its own beside the others; 0 runs none"),
        Range(0, 64),
    ] = 1
    calls_per_worker: Annotated[
        int,
        Unit("calls"),
        Doc("calls at once in one worker; most of them wait for a language model"),
        Range(1, 10_000),
    ] = 128
    max_queue: Annotated[
        int,
        Unit("calls"),
        Doc("calls that may wait; at 2,000 calls/s that is two seconds, and later is too late"),
        Range(0, 1_000_000),
    ] = 4096
    max_queue_s: Annotated[
        float,
        Unit("seconds"),
        Doc("an interactive call that has waited so long is refused: whoever asked has most likely given up"),
        Range(0.1, 86_400),
    ] = 30.0
    batch_share: Annotated[
        float,
        Unit("part of all places"),
        Doc("what the batch lane gets while interactive calls wait too; bulk work goes on, and stays behind"),
        Range(0.05, 0.95),
    ] = 0.25
    max_open_bytes: Annotated[
        int, Unit("bytes"), Doc("payloads of all open calls; they are kept for a repeat"), Range(1024)
    ] = 64 * 1024 * 1024
    max_frame_bytes: Annotated[
        int, Unit("bytes"), Doc("largest frame from a client"), Range(MIN_MAX_FRAME_BYTES, 2**32 - 1)
    ] = MAX_FRAME_BYTES
    default_deadline_ms: Annotated[
        int, Unit("milliseconds"), Doc("for calls that name none"), Range(1, MAX_DEADLINE_MS)
    ] = DEFAULT_DEADLINE_MS
    grace_s: Annotated[
        float, Unit("seconds"), Doc("between asking a call to stop and killing its worker"), Range(0, 600)
    ] = 2.0
    drain_s: Annotated[
        float,
        Unit("seconds"),
        Doc("for the calls of a worker that is being replaced; what is open then is treated as in a crash"),
        Range(0, 86_400),
    ] = 60.0
    boot_timeout_s: Annotated[
        float,
        Unit("seconds"),
        Doc("for a worker to get ready; a cold import of DSPy takes up to 6 s"),
        Range(1, 3600),
    ] = 60.0
    recycle_after_calls: Annotated[
        int,
        Unit("calls"),
        Doc("a worker is replaced after so many: slow leaks end with it; 0 is never"),
        Range(0),
    ] = 50_000
    recycle_after_s: Annotated[
        float,
        Unit("seconds"),
        Doc("a worker is replaced at this age: what calls do not count grows with time; 0 is never"),
        Range(0, 31_536_000),
    ] = 3600.0
    memory_soft_mb: Annotated[
        int,
        Unit("MiB"),
        Doc("memory of its own, over what it began with, at which a worker is replaced; 0 is never"),
        Range(0),
    ] = 256
    memory_hard_mb: Annotated[
        int,
        Unit("MiB"),
        Doc(
            "… at which it is killed in the middle of its calls, before the kernel kills another; 0 is never"
        ),
        Range(0),
    ] = 1024
    programs_per_worker: Annotated[
        int,
        Unit("programs"),
        Doc("stored programs that a worker keeps built; those least used are built again when needed"),
        Range(1),
    ] = 256
    program_memory_mb: Annotated[
        int,
        Unit("MiB"),
        Doc("memory that those programs may take, each reckoned as 56 KiB and 1.5 times its record"),
        Range(1),
    ] = 64
    listen: Annotated[
        str,
        Doc("where clients come from: `stdio`, `unix:PATH`, or both with a comma between"),
    ] = "stdio"
    store: Annotated[
        str,
        Doc(
            "where programs and sessions are kept: `sqlite` (a file of the user's), `sqlite:PATH`,"
            " `redis://…`, `postgresql://…`, or `memory`, which ends with the server"
        ),
    ] = "sqlite"
    history: Annotated[
        HistoryLevel,
        Doc(
            "what is kept of calls, for `program.history`: nothing (but of those that ask), their requests"
            " to language models without a word of what was said, or those with all texts"
        ),
    ] = "off"
    zygote: Annotated[bool, Doc("fork workers from one process that has imported DSPy")] = True
    lm: Annotated[
        str, Doc("model named `default` when the client names none, such as openai/gpt-4o-mini")
    ] = ""
    plugins: Annotated[str, Doc("Python modules with further operations, separated by commas")] = ""
    unsafe_interpreter: Annotated[
        bool,
        Doc(
            "let programs run code that a model writes without a sandbox, where there is none: such code can"
            " do all that the server's user can"
        ),
    ] = False
    log_level: Annotated[LogLevel, Doc("least level of lines on stderr")] = "warning"

    @property
    def least_workers(self) -> int:
        """`min_workers`, or as many as `workers` where it is not set."""
        return self.workers if self.min_workers is None else self.min_workers


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return f"DSPEX_{name.upper()}"


def flag_of(name: str) -> str:
    """The flag of a setting."""
    return f"--{name.replace('_', '-')}"


def describe_settings() -> list[dict[str, object]]:
    """Every setting with type in words, unit, default, variable, flag and reason, as data."""
    units = _units()
    return [
        {
            "name": name,
            "type": in_words(row["type"]),
            "unit": units.get(name, ""),
            "default": row["default"],
            "variable": variable_of(name),
            "flag": flag_of(name),
            "why": row["doc"],
        }
        for name, row in _rows().items()
    ]


def _rows() -> dict[str, dict[str, object]]:
    rows: dict[str, dict[str, object]] = {}
    for name, row in describe(Config).items():
        assert isinstance(row, dict)
        rows[name] = row  # pyright: ignore[reportUnknownMemberType]
    return rows


def _units() -> dict[str, str]:
    hints = get_type_hints(Config, include_extras=True)
    return {
        name: extra.text
        for name, hint in hints.items()
        for extra in get_args(hint)
        if isinstance(extra, Unit)
    }


def in_words(expected: object) -> str:
    """A type without nil: a setting is left out, never set to nothing."""
    return str(expected).removesuffix(" or nil")
