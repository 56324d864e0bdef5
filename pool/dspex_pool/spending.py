"""What language models have cost since the server started: by model, by program, by tenant.

Workers say of each call what it spent, in the meta of its answer; a call that asked several
models says beforehand how much was whose. So a call whose worker died has spent what nobody
counts. Money is a float of US dollars: an estimate, for budgets and reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, cast

from dspex_protocol import DSPexError, Meta, decode_value

MAX_ROWS: Final = 1_000
"""Names in one table. What is spent under more of them goes together into one row without a name."""

_OTHERS: Final = ""
_DECIMALS: Final = 9


@dataclass(slots=True)
class Spent:
    """What has been spent.

    Attributes:
        lm_calls: Requests to language models.
        lm_ms: Time that they took.
        tokens_in: Of prompts, as providers counted.
        tokens_out: Of answers.
        cost_usd: Of the requests whose price is known.
        unpriced: Requests with tokens whose price nobody knows.
    """

    lm_calls: int = 0
    lm_ms: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0

    def add(self, meta: Mapping[str, object]) -> None:
        """Add what a worker has told; what is no number counts for nothing."""
        self.lm_calls += _whole(meta.get("lm_calls"))
        self.lm_ms += _amount(meta.get("lm_ms"))
        self.tokens_in += _whole(meta.get("tokens_in"))
        self.tokens_out += _whole(meta.get("tokens_out"))
        self.cost_usd += _amount(meta.get("cost_usd"))
        self.unpriced += _whole(meta.get("unpriced"))

    def told(self) -> dict[str, object]:
        """As plain values."""
        return {**asdict(self), "lm_ms": round(self.lm_ms, 3), "cost_usd": round(self.cost_usd, _DECIMALS)}


class Spending:
    """All that has been spent.

    Attributes:
        total: By everybody on everything.
    """

    def __init__(self) -> None:
        self.total = Spent()
        self._by_lm: dict[str, Spent] = {}
        self._by_program: dict[str, Spent] = {}
        self._by_tenant: dict[str, Spent] = {}

    def add(self, meta: Meta, tenant: str, program: str | None) -> None:
        """A call has ended that asked language models.

        Args:
            meta: Of the worker's answer.
            tenant: On whose behalf it was made.
            program: The stored program that it ran, if any.
        """
        self.total.add(meta)
        _row(self._by_tenant, tenant).add(meta)
        if program is not None:
            _row(self._by_program, program).add(meta)
        lm = meta.get("lm")
        if isinstance(lm, str):
            _row(self._by_lm, lm).add(meta)

    def split(self, payload: bytes) -> None:
        """A call that is about to end has asked several language models: how much was whose."""
        try:
            shares = decode_value(payload)
        except DSPexError:
            return
        if not isinstance(shares, dict):
            return
        for name, share in cast("dict[str, object]", shares).items():
            if isinstance(share, dict):
                _row(self._by_lm, name).add(cast("dict[str, object]", share))

    def snapshot(self, limit: int) -> dict[str, object]:
        """As plain values: of each table the rows that spent most, and the total."""
        return {
            "total": self.total.told(),
            "lms": _rows("lm", self._by_lm, limit),
            "programs": _rows("program", self._by_program, limit),
            "tenants": _rows("tenant", self._by_tenant, limit),
        }


def _row(table: dict[str, Spent], name: str) -> Spent:
    spent = table.get(name)
    if spent is None:
        if len(table) >= MAX_ROWS:
            name = _OTHERS
        spent = table.setdefault(name, Spent())
    return spent


def _rows(word: str, table: dict[str, Spent], limit: int) -> list[dict[str, object]]:
    first = sorted(
        table.items(), key=lambda row: (-row[1].cost_usd, -row[1].tokens_in - row[1].tokens_out, row[0])
    )
    return [{word: name or None, **spent.told()} for name, spent in first[:limit]]


def _whole(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def _amount(value: object) -> float:
    # Also what is no number by IEEE 754, which would spoil the sum for ever.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if 0 < value < 1e15 else 0.0
