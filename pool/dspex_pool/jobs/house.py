"""THE HOUSE: what all jobs of a server share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dspex_pool.ports import Ports

from .news import News
from .saving import Saving
from .tally import Tally

if TYPE_CHECKING:
    from dspex_pool.config import Config
    from dspex_pool.host import Host
    from dspex_pool.switchboard import Switchboard


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """See above.

    Attributes:
        config, ports, switchboard, host, news: Of the server.
        saving: Stores the programs that jobs make.
        tally: Counts what comes of jobs here.
        next_number: A number for a worker.
        orphans: Has what dead workers left behind swept.
    """

    config: Config
    ports: Ports
    switchboard: Switchboard
    host: Host
    news: News
    saving: Saving
    tally: Tally
    next_number: Callable[[], int]
    orphans: Callable[[], None]
