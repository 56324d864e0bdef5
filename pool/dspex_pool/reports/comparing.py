"""COMPARING: what a comparison says of a row and of a pair, in words that claim no more than it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .comparisons import Comparison, Pair
from .evaluation_words import spec_text
from .evaluations import Evaluation
from .figures import chance_text, count_text, interval_text, number_of, percent_text, score_text, signed_text
from .shapes import Record, legible, list_of, map_of

OF_A_SIDE: Final = ("prediction", "error", "scores", "usage", "worker_ms", "trace", "requests")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Of a row under a metric.

    Attributes:
        difference: Of the second less the first; None where there are not two, or a score is odd.
        outcome: The same in a word.
        fits_unit: Whether all scores are from 0 to 1.
    """

    difference: float | None
    outcome: str | None
    fits_unit: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Of a pair.

    Attributes:
        claim: Which is better, or that nothing shows it.
        reason: The numbers behind it.
        look: `better`, `worse` or nothing, for the page; the words say the same.
    """

    claim: str
    reason: str
    look: str


def beside_of(row: Record, sides: Sequence[Record | None]) -> Record:
    """A row of a comparison, completed by what each evaluation has of it, in the comparison's order."""
    examples = [side["example"] for side in sides if side is not None and "example" in side]
    shown = [
        None if side is None else {key: legible(side)[key] for key in OF_A_SIDE if key in side}
        for side in sides
    ]
    return {**row, "example": examples[0] if examples else None, "sides": shown}


def standing_of(row: Record, metric: str, comparison: Comparison) -> Standing:
    """Which side of a row is better."""
    scores = list_of(map_of(row.get("scores")).get(metric))
    numbers = [comparison.failure_score if score is None else number_of(score) for score in scores]
    known = [number for number in numbers if number is not None]
    fits = all(0 <= number <= 1 for number in known)
    if len(comparison.names) != 2 or len(known) != 2:
        return Standing(difference=None, outcome=None, fits_unit=fits)
    difference = known[1] - known[0]
    name = comparison.names[1] if difference > 0 else comparison.names[0]
    outcome = f"{name} better" if difference else "alike"
    return Standing(difference=difference, outcome=outcome, fits_unit=fits)


def verdict_of(pair: Pair, comparison: Comparison) -> Verdict:
    """What a pair comes to."""
    level = percent_text(comparison.confidence)
    interval = interval_text(pair.low, pair.high, signed=True)
    means = f"{score_text(pair.mean_b)} against {score_text(pair.mean_a)}"
    chance = _chance(pair.p)
    if pair.p_holm is not None and (comparison.comparisons or 0) > 1:
        of_all = f"with regard to all {count_text(comparison.comparisons)} comparisons"
        chance += f"; {_chance(pair.p_holm)} {of_all}"
    reason = (
        f"{means} over {count_text(pair.rows)} rows."
        f" {level} interval of the difference: {interval}; {chance}."
        f" {pair.b} is better in {count_text(pair.wins)} rows, worse in {count_text(pair.losses)},"
        f" and alike in {count_text(pair.ties)}."
    )
    return Verdict(claim=_claim(pair, level), reason=reason, look=_look(pair))


def _chance(p: float | None) -> str:
    said = chance_text(p)
    return f"p {said}" if said.startswith("<") else f"p = {said}"


def _claim(pair: Pair, level: str) -> str:
    if pair.difference is None:
        return f"{pair.b} and {pair.a} cannot be compared."
    difference = signed_text(pair.difference)
    if pair.significant is None:
        return f"{pair.b} differs from {pair.a} by {difference}; nothing says whether that is significant."
    if not pair.significant:
        return (
            f"no significant difference between {pair.b} and {pair.a} at the {level} level"
            f" (observed: {difference})."
        )
    better, by = "better" if pair.difference > 0 else "worse", score_text(abs(pair.difference))
    return f"{pair.b} is {better} than {pair.a} by {by}, which is significant at the {level} level."


def _look(pair: Pair) -> str:
    if not pair.significant or not pair.difference:
        return ""
    return "better" if pair.difference > 0 else "worse"


def comparison_facts(comparison: Comparison) -> dict[str, str | None]:
    """What was compared, by name."""
    said: dict[str, str | None] = {
        f"evaluation {n}" if len(comparison.sides) > 2 else ("before", "after")[n - 1]: side_text(side, name)
        for n, (side, name) in enumerate(zip(comparison.sides, comparison.names, strict=True), 1)
    }
    said["dataset"] = comparison.dataset
    if comparison.left_out:
        said["left out"] = f"{', '.join(comparison.left_out)}: not all of them have these metrics"
    return said


def side_text(side: Evaluation, name: str) -> str:
    """One of them in a line."""
    lm = f", with {side.lm}" if side.lm else ""
    spec = f": {words}" if (words := spec_text(side.spec)) else ""
    of = f", evaluation {side.name}" if side.name and side.name not in name else ""
    return f"{name}{of}{spec}{lm}"


def method_text(comparison: Comparison) -> str:
    """How the numbers came to be."""
    resamples = "" if comparison.resamples is None else f", {count_text(comparison.resamples)} resamples"
    seed = f", seed {comparison.seed}" if comparison.seed else ""
    several = (
        f" This page makes {count_text(comparison.comparisons)} comparisons at once; “p, of all” is p with"
        " regard to that (Holm), and significance goes by it."
        if (comparison.comparisons or 0) > 1
        else ""
    )
    return (
        f"Each row is compared with itself: intervals are by a paired bootstrap{resamples}{seed},"
        " p is of a paired randomization test."
        " A win is a row in which the one named first is better. A row without a score"
        f" counts as {score_text(comparison.failure_score)}.{several}"
        " A difference that is not significant may still be there: these rows do not show it."
    )


def significant_text(pair: Pair) -> str:
    """Whether it is, in a word."""
    return {True: "yes", False: "no", None: "not said"}[pair.significant]
