"""The errors of jobs as clients hear them, each in one place."""

from __future__ import annotations

from dspex_protocol import DSPexError, error


def unknown_job(job: str) -> DSPexError:
    """There is none of that id."""
    return error("unknown_job", f"there is no job {job[:128]!r}", details={"job": job[:128]})


def key_reused(key: str, job: str) -> DSPexError:
    """Another request was submitted under that key."""
    return error(
        "job_key_reused",
        f"the key {key!r} was used for job {job} with another kind, request, budget, deadline or experiment",
        details={"key": key, "job": job},
    )


def not_done(job: str, state: str, what: str) -> DSPexError:
    """It is too early for that."""
    return error(
        "job_not_done",
        f"job {job} is {state}: {what}",
        details={"job": job, "state": state},
        retry_after_ms=1000,
    )


def not_resumable(job: str, state: str) -> DSPexError:
    """It has come to its end as it should."""
    expected = "one that has failed or was cancelled"
    return error(
        "invalid_argument",
        f"job: expected {expected}, got {job}, which is {state}",
        details={"field": "job", "expected": expected, "got": state},
    )


def cancelled(job: str) -> DSPexError:
    """It has no result since somebody did not want it any more."""
    return error("cancelled", f"job {job} was cancelled", details={"job": job})


def after_the_wish(failure: DSPexError) -> DSPexError:
    """Somebody's wish that a job ends is kept, and what came then has failed: it has had an effect."""
    return error(
        failure.code,
        failure.message,
        details=failure.details,
        retryable=failure.retryable,
        maybe_executed=True,
        retry_after_ms=failure.retry_after_ms,
    )


def late(job: str, deadline_s: float | None) -> DSPexError:
    """Its time is over."""
    within = "" if deadline_s is None else f" of {deadline_s:g} s"
    return error(
        "deadline",
        f"job {job} was not done when its time{within} was over",
        retryable=False,
        maybe_executed=True,
        details={"where": "job"},
    )


def died(job: str, reason: str, deaths: int) -> DSPexError:
    """Its workers die, and nothing new comes of it."""
    return error(
        "worker_died",
        f"{deaths} workers in a row died under job {job} before there was anything new ({reason})",
        retryable=False,
        maybe_executed=True,
        details={"job": job, "reason": reason, "deaths": deaths},
    )


def damaged(job: str, why: str) -> DSPexError:
    """What is kept of it is not as it was written."""
    return error(
        "store_damaged", f"what is stored of job {job!r} cannot be read ({why})", details={"job": job}
    )


def too_new(job: str, schema: int, known: int) -> DSPexError:
    """A newer DSPex wrote it."""
    return error(
        "record_too_new",
        f"job {job!r} was written by a newer DSPex (schema {schema}; this one knows {known})",
        details={"job": job, "schema": schema, "known": known},
    )
