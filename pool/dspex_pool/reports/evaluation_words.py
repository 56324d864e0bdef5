"""An evaluation in words, the same in every form of a report."""

from __future__ import annotations

import json
from typing import Final

from dspex_pool.notation import to_json

from .evaluations import Evaluation, MetricScores
from .figures import UNKNOWN, count_text, duration_text, money_text, number_of, percent_text, score_text
from .shapes import Record, list_of, map_of, text_of

MAX_CLUSTERS: Final = 50
KINDS: Final = {"error": "prediction", "metric_error": "metric", "score": "low score"}


def facts_of(evaluation: Evaluation) -> dict[str, str | None]:
    """What it is about, by name."""
    return {
        "evaluation": evaluation.name,
        "program": spec_text(evaluation.spec),
        "dataset": evaluation.dataset,
        "language model": evaluation.lm,
        "state": evaluation.state,
        "rows": rows_text(evaluation),
        "begun": evaluation.created,
        "ended": evaluation.ended,
    }


def spec_text(spec: Record) -> str:
    """A program that is no stored one: its module, and its signature where that is a text."""
    return ", ".join(filter(None, (text_of(spec.get("module")), text_of(spec.get("signature")))))


def rows_text(evaluation: Evaluation) -> str | None:
    """How many rows, and how many of them failed."""
    if evaluation.rows is None:
        return None
    done = count_text(evaluation.done if evaluation.done is not None else evaluation.rows)
    failed = f", {count_text(evaluation.failed)} failed" if evaluation.failed else ""
    return f"{count_text(evaluation.rows)}, of which {done} have a prediction{failed}"


def incomplete_text(evaluation: Evaluation) -> str | None:
    """That figures are of a part only, where they are."""
    ran, rows = evaluation.ran, evaluation.rows
    if ran is None or rows is None or ran >= rows:
        return None
    return (
        f"Not complete: {count_text(ran)} of {count_text(rows)} rows have run, and all figures are of these."
    )


def passed_text(scores: MetricScores) -> str:
    """How many rows passed, and which share of those that were scored."""
    if scores.passed is None:
        return count_text(None)
    share = f" ({percent_text(round(scores.passed / scores.scored, 4))})" if scores.scored else ""
    return count_text(scores.passed) + share


def usage_of(usage: Record, rows: float | None) -> dict[str, str | None]:
    """What language models were used, by name; and the mean of a row where that says more."""
    number = {name: number_of(usage.get(name)) for name in ("lm_calls", "tokens_in", "tokens_out", "lm_ms")}
    cost = number_of(usage.get("cost_usd"))
    said: dict[str, str | None] = {
        "LM calls": None if number["lm_calls"] is None else count_text(number["lm_calls"]),
        "tokens in": None if number["tokens_in"] is None else count_text(number["tokens_in"]),
        "tokens out": None if number["tokens_out"] is None else count_text(number["tokens_out"]),
        "time of LMs": None if number["lm_ms"] is None else duration_text(number["lm_ms"]),
        "cost": None if cost is None else money_text(cost),
    }
    if cost and rows:
        said["cost of 1,000 rows"] = money_text(1_000 * cost / rows)
    if number_of(usage.get("unpriced")):
        said["LM calls without a price"] = count_text(number_of(usage.get("unpriced")))
    return said


def metric_usage_text(evaluation: Evaluation) -> str | None:
    """What of the usage was the metrics', where they asked language models too."""
    calls = number_of(evaluation.metric_usage.get("lm_calls"))
    if not calls:
        return None
    cost = number_of(evaluation.metric_usage.get("cost_usd"))
    priced = "" if cost is None else f" and {money_text(cost)}"
    return f"Of that the metrics spent {count_text(calls)} LM calls{priced}."


def kind_text(cluster: Record) -> str:
    """What went wrong in its rows."""
    kind = text_of(cluster.get("kind"))
    return KINDS.get(kind, kind)


def cluster_text(cluster: Record) -> str:
    """What its rows have in common."""
    words = [
        f"{name} {text_of(cluster.get(name))}"
        for name in ("metric", "part", "field", "code")
        if text_of(cluster.get(name))
    ]
    mean = number_of(cluster.get("mean"))
    if mean is not None:
        words.append(f"mean {score_text(mean)}")
    return ": ".join(part for part in (", ".join(words), text_of(cluster.get("message"))) if part)


def share_text(cluster: Record) -> str:
    """How many rows it has, and which share of all."""
    share = number_of(cluster.get("share"))
    count = count_text(number_of(cluster.get("count")))
    return count if share is None else f"{count} ({percent_text(round(share, 4))})"


def rows_of(cluster: Record) -> str:
    """The first of its rows, by their numbers in the evaluation."""
    return ", ".join(map(text_of, list_of(cluster.get("rows"))))


def brief(value: object) -> str:
    """The fields of a row in a line of words; a dash where there is nothing."""
    fields = map_of(value)
    if not fields:
        return UNKNOWN if value is None else shown(value)
    if len(fields) == 1:
        return shown(next(iter(fields.values())))
    return "; ".join(f"{name}: {shown(item)}" for name, item in fields.items())


def shown(value: object) -> str:
    """A value of a record as a line of JSON, without quotes around a single text."""
    return value if isinstance(value, str) else json.dumps(to_json(value), ensure_ascii=False)[:2_000]
