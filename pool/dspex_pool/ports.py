"""What the supervisor needs of the world, as interfaces: time, processes, their memory, a store.

Behind them stand an event loop and the kernel, or a simulation with a clock of its own; the
supervisor cannot tell. Pipes are the third: `link.Link`, made by whoever makes processes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from .link import Link
    from .logs import Log
    from .store import Store

T = TypeVar("T")


class Timer(Protocol):
    """Something that will happen."""

    def cancel(self) -> None:
        """Have it not happen; no error when it has."""
        ...


class Timers(Protocol):
    """Time and what happens at a time. Every asyncio loop is one.

    The clock is monotonic: no step of the wall clock moves it.
    """

    def time(self) -> float:
        """Now, in seconds from an arbitrary moment."""
        ...

    def call_soon(self, callback: Callable[..., object], *given: object) -> object:
        """Run after what is running now."""
        ...

    def call_later(self, delay_s: float, callback: Callable[..., object], /, *given: object) -> Timer:
        """Run after a while."""
        ...

    def call_at(self, at_s: float, callback: Callable[..., object], /, *given: object) -> Timer:
        """Run at a time."""
        ...


class Process(Protocol):
    """A worker's operating-system process, real or simulated.

    Attributes:
        pid: Its number.
        killed: We killed it.
        on_exit: Is told why it ended, once.
    """

    pid: int
    killed: bool
    on_exit: Callable[[str], None]

    def kill(self) -> None:
        """End it and its process group; `on_exit` follows."""
        ...

    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """A process that is started from nothing, apart from the others.

    Attributes:
        environment: In addition to that of the others.
        niceness: How far it stands behind them for the processors, 0 to 19.
        module: Which of our modules it runs; None: what workers run.
    """

    environment: Mapping[str, str]
    niceness: int
    module: str | None = None


class Processes(Protocol):
    """Where worker processes come from; `spawning.Spawner` is one.

    A process comes with its end of a wire, which `open_link` of the supervisor makes a link of.
    """

    @property
    def mode(self) -> str:
        """How workers come to be, in a word."""
        ...

    @property
    def own_pids(self) -> set[int]:
        """Children that are no workers."""
        ...

    @property
    def is_forking(self) -> bool:
        """Whether a child may exist that we have not been told of yet."""
        ...

    def start(self) -> None:
        """Get ready to spawn."""
        ...

    def spawn(
        self,
        started: Callable[[Process, int], None],
        failed: Callable[[str], None],
        alone: Alone | None = None,
    ) -> None:
        """Ask for a process; one of the two is called, later or at once.

        Args:
            started: Gets the process and our end of its wire.
            failed: Gets the reason when there will be no process.
            alone: What is different about one that stands apart from the others.
        """
        ...

    def close(self) -> None:
        """Spawn nothing more."""
        ...


class Weighing(Protocol):
    """Watches the memory of processes; `memory.MemoryWatch` is one.

    What it reads goes to `Supervisor.weigh`.
    """

    def watch(self, number: int, pid: int) -> None:
        """Look at a worker's process from now on."""
        ...

    def forget(self, number: int) -> None:
        """It has ended."""
        ...


class Promise(Protocol, Generic[T]):
    """A value that will be there; to be awaited by one coroutine. An asyncio future is one."""

    def __await__(self) -> Generator[Any, Any, T]:
        """Wait for it."""
        ...

    def done(self) -> bool:
        """Whether it has come to anything."""
        ...

    def set_result(self, result: T, /) -> None:
        """It is there."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """It will never be."""
        ...


class Tasks(Protocol):
    """What drives coroutines: the few parts of the supervisor that must wait for the store.

    All else is callbacks, since a task for each call would cost as much as the rest of it.
    """

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine to its end, the first steps perhaps at once. It lets no exception out."""
        ...

    def promise(self) -> Promise[Any]:
        """A new promise that such a coroutine may await."""
        ...

    def apart(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Do something that computes for long, so that nobody else is held up by it; one at a time."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What outlives the supervisor, and how it gets there.

    Attributes:
        store: Where.
        tasks: What waits for it.
        wall_ms: The wall clock in milliseconds, for people to read; nothing is decided by it.
        new_id: Makes an id that nobody else has made.
    """

    store: Store
    tasks: Tasks
    wall_ms: Callable[[], int]
    new_id: Callable[[], str]


Sweep = Callable[[Collection[int], Collection[int]], int]
"""Kill our children but for those pids and those groups; see `processes.kill_children`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The world of one supervisor.

    Attributes:
        timers: Time.
        processes: Where workers come from.
        open_link: Makes a link of the wire that a process came with.
        sweep: Kills orphans.
        weighing: Watches the workers' memory.
        log: For operators.
        random: For jitter.
        stored: The store.
    """

    timers: Timers
    processes: Processes
    open_link: Callable[[int], Link]
    sweep: Sweep
    weighing: Weighing
    log: Log
    random: Random
    stored: Stored
