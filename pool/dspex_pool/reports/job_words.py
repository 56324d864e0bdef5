"""A job in words, the same in every form of a report."""

from __future__ import annotations

from .figures import count_text, money_text, number_of, score_text
from .shapes import Record, map_of, moment_of, text_of


def job_title(record: Record) -> str:
    """What it is about."""
    request = map_of(record.get("request"))
    optimizer = text_of(map_of(request.get("optimizer")).get("optimizer"))
    spec = map_of(request.get("spec"))
    program = text_of(request.get("program")) or text_of(spec.get("signature"))
    if optimizer:
        return f"{optimizer} on {program}" if program else optimizer
    return text_of(record.get("job")) or "a job"


def job_facts(record: Record) -> dict[str, str | None]:
    """How it stands, by name."""
    made = map_of(record.get("saved"))
    attempt = number_of(record.get("attempt"))
    versions = map_of(record.get("versions"))
    latest = map_of(versions.get("latest"))
    return {
        "job": text_of(record.get("job")),
        "state": text_of(record.get("state")),
        "submitted": moment_of(record.get("created")),
        "begun": moment_of(record.get("started")),
        "ended": moment_of(record.get("ended")),
        "budget": budget_text(map_of(record.get("budget"))),
        "attempts": None if attempt is None else count_text(attempt),
        "begun with": versions_text(map_of(versions.get("begun"))),
        "gone on with": versions_text(latest) if latest != map_of(versions.get("begun")) else None,
        "made": " version ".join(filter(None, (text_of(made.get("program")), text_of(made.get("version"))))),
    }


def versions_text(versions: Record) -> str | None:
    """Such as `dspex 0.1.0, dspy 3.4.1`."""
    return ", ".join(f"{name} {text_of(number)}" for name, number in versions.items()) or None


def budget_text(budget: Record) -> str | None:
    """What it may spend."""
    number = {name: number_of(budget.get(name)) for name in ("lm_calls", "tokens", "usd")}
    said = [
        None if number["lm_calls"] is None else f"{count_text(number['lm_calls'])} LM calls",
        None if number["tokens"] is None else f"{count_text(number['tokens'])} tokens",
        None if number["usd"] is None else money_text(number["usd"]),
    ]
    return ", ".join(filter(None, said)) or None


def error_text(record: Record) -> str | None:
    """Why it failed, where it did."""
    failure = map_of(record.get("error"))
    return f"{text_of(failure.get('code'))}: {text_of(failure.get('message'))}" if failure else None


def job_scores(record: Record) -> dict[str, str | None]:
    """Scores of its result, or of the best so far."""
    scores = map_of(map_of(record.get("result")).get("scores"))
    said: dict[str, str | None] = {
        name: score_text(number) for name, value in scores.items() if (number := number_of(value)) is not None
    }
    best = number_of(record.get("best_score"))
    if best is not None and not said:
        said["best so far"] = score_text(best)
    return said


def instructions_of(state: Record) -> dict[str, str]:
    """By predictor, of a program's state."""
    found = {name: text_of(map_of(part).get("instructions")) for name, part in state.items()}
    return {name: text for name, text in found.items() if text}
