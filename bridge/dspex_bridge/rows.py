"""What a row of the table of operations is, and what its function may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .code.interpreters import Interpreters
from .host_functions import HostFunctions
from .lms.keeping import Level
from .lms.lms import LanguageModels
from .programs.programs import ProgramCache
from .programs.sessions import SessionTable
from .worker.calls import CallTable, RunningCall

if TYPE_CHECKING:
    from .jobs.kind import Kind


class Worker(Protocol):
    """What operations may use of the process that they run in."""

    calls: CallTable
    lms: LanguageModels
    functions: HostFunctions
    programs: ProgramCache
    sessions: SessionTable
    threads: ThreadPoolExecutor
    interpreters: Interpreters
    operations: Mapping[str, Operation]
    kinds: Mapping[str, Kind]
    history: Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One row of the table.

    Attributes:
        method: Its name on the wire.
        parameters: Dataclass of its payload; None takes any value.
        run: `(worker, call, parameters) -> result`, a coroutine function unless inline.
        inline: Runs at once and in order; must be short and free of user code.
        effects: May change something outside; never repeated after a worker's death.
        doc: One sentence for `system.describe`.
    """

    method: str
    parameters: type | None
    run: Callable[[Any, RunningCall, Any], Any]
    inline: bool = False
    effects: bool = False
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """No parameters."""
