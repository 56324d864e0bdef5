"""What is known of evaluations, as plain values for a REPLY: docs/protocol.md section 7.9."""

from __future__ import annotations

from dspex_pool.library.answers import moment

from .figures import CONFIDENCE
from .records import Head, Request


def evaluation_answer(head: Head, request: Request) -> dict[str, object]:
    """An evaluation with all that was asked for."""
    return {**evaluation_row(head), "metrics": request.metrics, "spec": request.spec}


def evaluation_row(head: Head) -> dict[str, object]:
    """An evaluation in a list."""
    return {
        "evaluation": head.evaluation,
        "program": head.program,
        "version": head.version,
        "dataset": head.dataset,
        "dataset_version": head.dataset_version,
        "select": head.select,
        "checksum": head.checksum,
        "failure_score": head.failure_score,
        "state": head.state,
        "rows": head.rows,
        "done": head.done,
        "failed": head.failed,
        "scores": head.scores,
        "confidence": CONFIDENCE,
        "usage": head.usage,
        "metric_usage": head.metric_usage,
        "latency_ms": head.latency_ms,
        "lm": head.lm,
        "note": head.note,
        "experiment": head.experiment,
        "run": head.run,
        "created": moment(head.created_ms),
        "ended": None if head.ended_ms is None else moment(head.ended_ms),
    }
