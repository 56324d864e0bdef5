"""What came of a run, for people and for machines."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final

from .run import Result

PERCENTILES: Final = (50, 99, 99.9, 100)


def bound(violations: int, cases: int) -> str:
    """What so many cases say about the rate of violations.

    Without a violation the rule of three holds: the rate is below 3/n at 95 %.
    """
    if not cases:
        return "nothing was tried"
    if violations:
        return f"{violations} in {cases:,}"
    return f"0 in {cases:,}: below {3 / cases:.2%} at 95 %" if cases < 100_000 else _small_bound(cases)


def _small_bound(cases: int) -> str:
    return f"0 in {cases:,}: below {3e6 / cases:.2f} in a million at 95 %"


def as_text(result: Result) -> str:
    """The report for people."""
    lines = [
        f"chaos: seed {result.plan.seed}, {result.plan.seconds:.0f} s, {result.calls:,} calls",
        "",
        "faults",
    ]
    lines += [f"  {name:<18}{count:>9,}" for name, count in sorted(result.faults.items())]
    lines += [f"  {'(workers died':<18}{result.deaths:>9,})", "", "outcomes"]
    lines += [f"  {kind:<18}{_codes(codes)}" for kind, codes in sorted(_by_kind(result).items())]
    lines += ["", "announced by the server"]
    lines += [f"  {name:<40}{count:>7,}" for name, count in sorted(result.events.items())]
    lines += ["", f"{'times in ms':<20}" + "".join(f"{f'p{percent}':>10}" for percent in PERCENTILES)]
    lines += [f"  {name:<18}{_row(values)}" for name, values in _distributions(result).items()]
    lines += [f"  supervisor grew by at most {result.growth_bytes / (1 << 20):.1f} MB", ""]
    lines += [f"VIOLATION {violation}" for violation in result.violations]
    lines += [f"VOID: the checker does not see a planted {name}" for name in result.unnoticed]
    lines += [f"violations: {bound(sum(result.violated.values()), result.calls)}"]
    lines += [f"the same faults again: --seed {result.plan.seed}"]
    return "\n".join(lines)


def as_data(result: Result) -> dict[str, object]:
    """The report for machines."""
    return {
        "seed": result.plan.seed,
        "seconds": result.plan.seconds,
        "plant": result.plan.plant,
        "calls": result.calls,
        "faults": dict(result.faults),
        "worker_deaths": result.deaths,
        "outcomes": {kind: dict(codes) for kind, codes in _by_kind(result).items()},
        "ms": {
            name: {f"p{percent}": _percentile_ms(values, percent) for percent in PERCENTILES}
            for name, values in _distributions(result).items()
            if values
        },
        "events": dict(result.events),
        "growth_bytes": result.growth_bytes,
        "violated": dict(result.violated),
        "violations": [str(violation) for violation in result.violations],
        "unnoticed": result.unnoticed,
        "bound": bound(sum(result.violated.values()), result.calls),
        "is_good": result.is_good,
    }


def _by_kind(result: Result) -> dict[str, Counter[str]]:
    kinds: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (kind, code), count in result.outcomes.items():
        kinds[str(kind)][code] += count
    return dict(kinds)


def _codes(codes: Counter[str]) -> str:
    return "  ".join(f"{code} {count:,}" for code, count in codes.most_common())


def _distributions(result: Result) -> dict[str, list[float]]:
    return {
        "after the deadline": result.lateness_s,
        "after the cancel": result.cancel_s,
        "a plain call": result.waits_s,
        "a death noticed": result.noticed_s,
        "a worker replaced": result.replaced_s,
    }


def _row(values: list[float]) -> str:
    if not values:
        return "  none"
    return "".join(f"{_percentile_ms(values, percent):>10.1f}" for percent in PERCENTILES)


def _percentile_ms(values: list[float], percent: float) -> float:
    return round(values[min(len(values) - 1, int(len(values) * percent / 100))] * 1000, 3)
