"""Records that reports are made of: of a plausible run, and of the worst one."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from typing import Any, Final

from dspex_pool.reports import Subject, writer_of
from dspex_pool.reports.csv_reports import Fields
from dspex_pool.reports.subjects import Format
from dspex_protocol import Tagged

METRICS: Final = ("correct", "f1")
MOMENT: Final = dt.datetime(2026, 11, 27, 9, 30, tzinfo=dt.UTC)
SUBJECTS: Final = ("the river", "a late train", "an old clock", "the harbour", "her letter", "this recipe")


def report_of(subject: Subject, format_: Format, rows: Sequence[Any], *, pieces: int = 100) -> str:
    """A whole report; its rows are given in several steps."""
    fields = Fields()
    fields.look(rows)
    writer = writer_of(subject, format_, fields)
    parts = [writer.begin()]
    parts += [writer.add(rows[at : at + pieces]) for at in range(0, len(rows), pieces)]
    return "".join([*parts, writer.end()])


def evaluation(rows: Sequence[Any], *, version: int = 3, **other: Any) -> dict[str, Any]:
    """The record of an evaluation with these rows."""
    scored = {metric: [row["scores"][metric]["score"] for row in rows if row["scores"]] for metric in METRICS}
    failed = sum(1 for row in rows if row["error"])
    return {
        "evaluation": f"qa-{version}-nightly",
        "program": "qa",
        "version": version,
        "dataset": "trivia",
        "dataset_version": 7,
        "select": {"split": {"train": 0.8, "dev": 0.2}, "side": "dev", "seed": 7},
        "metrics": {"correct": "answer_exact_match", "f1": {"metric": "set_f1", "field": "answer"}},
        "failure_score": 0.0,
        "state": "done",
        "rows": len(rows),
        "done": len(rows) - failed,
        "failed": failed,
        "scores": {metric: _scores(values, len(rows)) for metric, values in scored.items()},
        "confidence": 0.95,
        "usage": {
            "lm_calls": 2 * len(rows),
            "lm_ms": 812_340.0,
            "tokens_in": 1_204_512,
            "tokens_out": 88_930,
            "cost_usd": 1.8342,
            "unpriced": 0,
        },
        "metric_usage": {"lm_calls": len(rows), "cost_usd": 0.4},
        "latency_ms": {"p50": 640.0, "p90": 1_210.0, "p99": 2_890.0, "max": 4_401.0},
        "lm": "openai/gpt-5-mini",
        "note": "Shorter instructions, three demos.",
        "created": MOMENT,
        "ended": MOMENT + dt.timedelta(minutes=4),
        **other,
    }


def _scores(values: Sequence[float], rows: int) -> dict[str, Any]:
    mean = sum(values) / rows
    spread = (sum((value - mean) ** 2 for value in values) / rows) ** 0.5
    return {
        "scored": len(values),
        "failed": rows - len(values),
        "passed": sum(1 for value in values if value >= 0.5),
        "mean": mean,
        "mean_scored": sum(values) / max(1, len(values)),
        "low": mean - 1.96 * spread / rows**0.5,
        "high": mean + 1.96 * spread / rows**0.5,
        "stdev": spread,
    }


def rows_of(count: int, *, seed: int = 3, skill: float = 0.6) -> list[dict[str, Any]]:
    """Rows of an evaluation; some have an error, most a score."""
    drawn = random.Random(seed)
    return [_row(index, drawn, skill) for index in range(count)]


def _row(index: int, drawn: random.Random, skill: float) -> dict[str, Any]:
    about = SUBJECTS[index % len(SUBJECTS)]
    example = {"question": f"What is known about {about} in chapter {index}?", "answer": f"{about} {index}"}
    ms = drawn.lognormvariate(6.4, 0.5)
    base = {"index": index, "row": 3 * index + 1, "example": example, "worker_ms": ms}
    usage = {"lm_calls": 2, "tokens_in": 410, "tokens_out": 32, "cost_usd": 0.0009}
    if drawn.random() < 0.03:
        error = {"code": "lm_rate_limited", "message": "The model's host said 429 four times.", "details": {}}
        return {**base, "prediction": None, "error": error, "scores": {}, "usage": usage}
    is_right = drawn.random() < skill
    f1 = 1.0 if is_right else round(drawn.betavariate(2, 3), 3)
    answer = example["answer"] if is_right else f"Chapter {index} does not say."
    prediction = {
        "reasoning": f"Chapter {index} speaks of {about}.\nSo the answer is short.",
        "answer": answer,
    }
    return {
        **base,
        "prediction": Tagged("prediction", {"fields": prediction}),
        "error": None,
        "scores": {
            "correct": {"score": float(is_right), "passed": is_right, "feedback": None, "parts": {}},
            "f1": {"score": f1, "passed": None, "feedback": "Some words are missing.", "parts": {}},
        },
        "usage": usage,
        "requests": [
            {
                "lm": "openai/gpt-5-mini",
                "messages": [
                    {"role": "system", "characters": 32, "text": "Answer in a few words.\n\nBe exact."},
                    {"role": "user", "characters": 48, "text": example["question"]},
                ],
                "answers": [{"characters": 40, "text": f"[[ ## answer ## ]]\n{answer}"}],
            }
        ],
    }


def failures(rows: Sequence[Any]) -> dict[str, Any]:
    """Clusters, as `evaluation.failures` tells them."""
    with_error = [row["index"] for row in rows if row["error"]]
    low = [row["index"] for row in rows if row["scores"] and row["scores"]["f1"]["score"] < 0.3]
    cluster = {"metric": None, "part": None, "code": None, "message": None, "field": None, "mean": None}
    return {
        "evaluation": "qa-3-nightly",
        "rows": len(rows),
        "failing": len(with_error) + len(low),
        "clusters": [
            {
                **cluster,
                "kind": "score",
                "metric": "f1",
                "field": "answer",
                "count": len(low),
                "share": len(low) / len(rows),
                "mean": 0.17,
                "rows": low[:10],
            },
            {
                **cluster,
                "kind": "error",
                "code": "lm_rate_limited",
                "message": "The model's host said 429 four times.",
                "count": len(with_error),
                "share": len(with_error) / len(rows),
                "rows": with_error[:10],
            },
        ],
    }


def comparison(before: Sequence[Any], after: Sequence[Any], **other: Any) -> dict[str, Any]:
    """A comparison of two evaluations with these rows."""
    sides = [evaluation(before, version=3), evaluation(after, version=4)]
    keys = ("evaluation", "program", "version", "scores")
    return {
        "evaluations": [{key: side[key] for key in keys} for side in sides],
        "metrics": {metric: [_pair(metric, before, after, sides)] for metric in METRICS},
        "left_out": ["judged"],
        "rows": [],
        "dataset": "trivia",
        "dataset_version": 7,
        "select": None,
        "seed": 0,
        "resamples": 2000,
        "confidence": 0.95,
        "comparisons": len(METRICS),
        **other,
    }


def _pair(metric: str, before: Sequence[Any], after: Sequence[Any], sides: Sequence[Any]) -> dict[str, Any]:
    differences = [_score(b, metric) - _score(a, metric) for a, b in zip(before, after, strict=True)]
    count = len(differences)
    mean = sum(differences) / count
    reach = 1.96 * (sum((d - mean) ** 2 for d in differences) / count) ** 0.5 / count**0.5
    low, high = mean - reach, mean + reach
    is_significant = low > 0 or high < 0
    return {
        "a": sides[0]["evaluation"],
        "b": sides[1]["evaluation"],
        "rows": count,
        "mean_a": sides[0]["scores"][metric]["mean"],
        "mean_b": sides[1]["scores"][metric]["mean"],
        "difference": mean,
        "low": low,
        "high": high,
        "p": 0.0008 if is_significant else 0.21,
        "p_holm": 0.0016 if is_significant else 0.21,
        "significant": is_significant,
        "wins": sum(1 for d in differences if d > 0),
        "losses": sum(1 for d in differences if d < 0),
        "ties": sum(1 for d in differences if d == 0),
    }


def _score(row: Any, metric: str) -> float:
    return float(row["scores"][metric]["score"]) if row["scores"] else 0.0


def compared_rows(before: Sequence[Any], after: Sequence[Any]) -> list[dict[str, Any]]:
    """The rows of a comparison, as the comparison has them."""
    return [
        {
            "index": a["index"],
            "row": a["row"],
            "scores": {
                metric: [row["scores"][metric]["score"] if row["scores"] else None for row in (a, b)]
                for metric in METRICS
            },
        }
        for a, b in zip(before, after, strict=True)
    ]


def job(trials: int = 24) -> dict[str, Any]:
    """The record of an optimizer's job that has ended."""
    drawn = random.Random(5)
    scores = [round(min(0.93, 0.55 + 0.012 * n + drawn.uniform(-0.12, 0.1)), 3) for n in range(trials)]
    words = (
        "Answer in one word.",
        "Think of the chapter first, then answer.",
        "Quote the sentence, then answer.",
    )
    return {
        "job": "opt-7",
        "kind": "optimize",
        "state": "done",
        "attempt": 2,
        "note": "Nightly.",
        "created": MOMENT,
        "started": MOMENT,
        "ended": MOMENT + dt.timedelta(hours=1),
        "request": {
            "program": "qa",
            "optimizer": {"optimizer": "MIPROv2", "options": {"auto": "light"}, "compile": {}},
            "metric": "answer_exact_match",
            "trainset": {"dataset": "trivia", "version": 7},
        },
        "budget": {"lm_calls": 5_000, "usd": 10.0},
        "spent": {"lm_calls": 2_410, "tokens_in": 2_100_000, "tokens_out": 130_000, "cost_usd": 3.21},
        "result": {
            "program": {"state": {"predict": {"instructions": words[1], "demos": []}}},
            "scores": {"start": 0.55, "best": max(scores)},
            "history": [
                {
                    "trial": n + 1,
                    "score": score,
                    "rows": 35 if n % 5 == 4 else 200,
                    "full": n % 5 != 4,
                    "candidate": {"predict": {"instructions": words[n % 3], "demos": n % 4}},
                }
                for n, score in enumerate(scores)
            ],
        },
        "best_score": max(scores),
        "saved": {"program": "qa", "version": 9},
        "replay": {"answered": 1_020, "live": 1_390, "diverged": 0},
    }


def events(count: int = 30) -> list[dict[str, Any]]:
    """Events of a job."""
    types = ("trial", "candidate", "best")
    return [
        {
            "n": n + 1,
            "at": MOMENT + dt.timedelta(seconds=20 * n),
            "attempt": 1,
            "type": types[n % 3],
            "trial": n // 3 + 1,
            "score": 0.5 + n / 100,
        }
        for n in range(count)
    ]


def experiment() -> dict[str, Any]:
    """The record of an experiment."""
    return {"experiment": "demos", "total": 6}


def runs(count: int = 6) -> list[dict[str, Any]]:
    """Runs of it, the newest first."""
    return [_run(number) for number in range(count, 0, -1)]


def _run(number: int) -> dict[str, Any]:
    drawn = random.Random(number)
    values = [round(0.4 + 0.03 * number + 0.02 * step + drawn.uniform(-0.03, 0.03), 4) for step in range(12)]
    metric = {"last": values[-1], "step": 11, "least": min(values), "most": max(values), "points": 12}
    return {
        "experiment": "demos",
        "run": f"run-{number}",
        "number": number,
        "state": "open" if number == 6 else "done",
        "note": "With the longer instructions.",
        "params": {"k": number, "lm": "small", "temperature": 0.1 * number},
        "lineage": {"program": "qa", "version": number},
        "metrics": {"f1": metric, "tokens": {**metric, "last": 1_200.0 + number}},
        "artifacts": {"answers.csv": {"media_type": "text/csv", "size_bytes": 1_024, "sha256": "ab" * 32}},
        "points": [{"name": "f1", "step": step, "value": value} for step, value in enumerate(values)],
        "created": MOMENT + dt.timedelta(hours=number),
        "ended": None,
    }
