"""What came of a soak, for people and for machines."""

from __future__ import annotations

from dataclasses import asdict

from .run import Growth, Result, Verdict


def as_text(result: Result) -> str:
    """The report for people."""
    head = f"{'path':<16}{'calls':>10}{'calls/s':>9}   {'supervisor B/call':<34}{'worker B/call':<34}counts"
    lines = ["slopes: lower .. middle .. upper limit (95 %), and the gate for the upper one", "", head]
    lines += [_row(verdict) for verdict in result.verdicts]
    lines += ["", "planted leaks, which must be caught"]
    lines += [_row(verdict) for verdict in result.controls]
    lines += [
        f"GREW: {verdict.path}: {verdict.before} became {verdict.after}"
        for verdict in result.verdicts
        if not verdict.is_level
    ]
    lines += [f"VOID: {missed} was not caught" for missed in result.missed]
    if any(not verdict.supervisor.gate.is_release for verdict in result.verdicts):
        lines.append("~ before a gate: the run was too short for the release gate; see tests/soak/gates.py")
    return "\n".join([*lines, "good" if result.is_good else "NOT GOOD"])


def as_data(result: Result) -> dict[str, object]:
    """The report for machines."""
    return {
        "is_good": result.is_good,
        "missed": result.missed,
        "paths": [_data(verdict) for verdict in result.verdicts],
        "controls": [_data(verdict) for verdict in result.controls],
    }


def _data(verdict: Verdict) -> dict[str, object]:
    return {**asdict(verdict), "passes": verdict.passes, "is_level": verdict.is_level}


def _row(verdict: Verdict) -> str:
    per_s = verdict.calls / verdict.seconds
    level = "level" if verdict.is_level else "NOT LEVEL"
    return (
        f"{verdict.path:<16}{verdict.calls:>10,}{per_s:>9,.0f}   "
        f"{_growth(verdict.supervisor):<34}{_growth(verdict.worker):<34}{level}"
    )


def _growth(growth: Growth | None) -> str:
    if growth is None:
        return "replaced"
    slope, sign = growth.slope, "<=" if growth.passes else ">"
    gate = f"{'' if growth.gate.is_release else '~'}{growth.gate.bytes_per_call:.2f}"
    return f"{slope.lower:.2f}..{slope.middle:.2f}..{slope.upper:.2f} {sign} {gate}"
