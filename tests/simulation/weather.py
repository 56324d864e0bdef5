"""What comes from outside: workers are killed and stopped, the store is down, the machine sleeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dspex_pool.store import Full, ReadOnly

if TYPE_CHECKING:
    from .world import World


WEIGHING_S: Final = 0.1
OUTAGES_S: Final = (0.01, 0.2, 1.0, 5.0, 20.0)
SLEEPS_S: Final = (0.5, 3.0, 16.0, 40.0)


class StoreWeather:
    """How the store is, for one server.

    Attributes:
        is_down: It does nothing.
        hangs: It does not even say so.
        refusal: It takes no writes, and says so in this way.
    """

    def __init__(self) -> None:
        self.is_down = False
        self.hangs = False
        self.refusal: type[Full | ReadOnly] | None = None

    def clear_up(self) -> None:
        """It is as it should be."""
        self.is_down = False
        self.refusal = None


class Scales:
    """Weighs the workers that it was told to watch; `dspex_pool.ports.Weighing`."""

    def __init__(self) -> None:
        self.watched: dict[int, int] = {}

    def watch(self, number: int, pid: int) -> None:
        """Weigh a worker from now on."""
        self.watched[number] = pid

    def forget(self, number: int) -> None:
        """It has ended."""
        self.watched.pop(number, None)


class Weather:
    """Random blows to workers, for as long as it lasts; and their weight."""

    def __init__(self, world: World, scales: Scales, weigh: Callable[[dict[int, int]], None]) -> None:
        self._world = world
        self._scales = scales
        self._weigh = weigh
        self._lasts = True

    def start(self) -> None:
        """Begin."""
        self._world.loop.call_later(WEIGHING_S, self._weigh_all)
        for every_s, blow in (
            (self._world.faults.kill_every_s, self._kill),
            (self._world.faults.stop_every_s, self._stop),
            (self._world.faults.store_down_every_s, self._store_goes_down),
            (self._world.faults.store_refuses_every_s, self._store_refuses),
            (self._world.faults.sleep_every_s, self._sleep),
        ):
            if every_s:
                self._next(every_s, blow)

    def stop(self) -> None:
        """No more of it."""
        self._lasts = False
        self._world.store_weather.clear_up()

    def _weigh_all(self) -> None:
        if not self._lasts:
            return
        private = {worker.process.pid: worker.private_mb << 20 for worker in self._world.workers}
        # The reading comes from a thread: it may be of somebody who has ended since.
        readings = {number: private.get(pid, 0) for number, pid in self._scales.watched.items()}
        self._weigh({number: size for number, size in readings.items() if size})
        self._world.loop.call_later(WEIGHING_S, self._weigh_all)

    def _next(self, every_s: float, blow: object) -> None:
        self._world.loop.call_later(self._world.random.expovariate(1 / every_s), self._strike, every_s, blow)

    def _strike(self, every_s: float, blow: object) -> None:
        if self._lasts:
            assert callable(blow)
            blow()
            self._next(every_s, blow)

    def _kill(self) -> None:
        victims = [*self._world.workers, *self._world.guests]
        if victims:
            self._world.random.choice(victims).shoot()

    def _stop(self) -> None:
        victims = [*self._world.workers, *self._world.guests]
        if victims:
            worker = self._world.random.choice(victims)
            worker.stop()
            self._world.loop.call_later(self._world.random.choice((0.005, 0.1, 1.0, 30.0)), worker.go_on)

    def _store_goes_down(self) -> None:
        weather = self._world.store_weather
        weather.is_down, weather.hangs = True, self._world.random.random() < 0.5
        self._world.trace("store down")
        self._world.loop.call_later(self._world.random.choice(OUTAGES_S), self._store_comes_back)

    def _store_comes_back(self) -> None:
        self._world.store_weather.is_down = False
        self._world.trace("store up")

    def _store_refuses(self) -> None:
        weather, random = self._world.store_weather, self._world.random
        weather.refusal = random.choice((Full, ReadOnly))
        self._world.trace("store refuses", weather.refusal.__name__)
        self._world.loop.call_later(random.choice(OUTAGES_S[:4]), self._store_takes_writes)

    def _store_takes_writes(self) -> None:
        self._world.store_weather.refusal = None

    def _sleep(self) -> None:
        """The machine sleeps: the store and other servers go on meanwhile."""
        sleep_s = self._world.random.choice(SLEEPS_S) / self._world.common.hurry
        self._world.trace("sleep", sleep_s)
        self._world.loop.stand_still(sleep_s)
