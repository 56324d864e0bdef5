"""The errors of evaluations as clients hear them, each in one place."""

from __future__ import annotations

from dspex_protocol import DSPexError, error, invalid_argument


def unknown_evaluation(evaluation: str) -> DSPexError:
    """There is none of that id."""
    return error(
        "unknown_evaluation",
        f"there is no evaluation {evaluation!r}",
        details={"evaluation": evaluation},
    )


def evaluation_exists(evaluation: str) -> DSPexError:
    """Its id was given to another request."""
    return error(
        "evaluation_exists",
        f"evaluation {evaluation!r} was begun with another request; run that, or another id",
        details={"evaluation": evaluation},
    )


def another_experiment(known: str | None, given: str) -> DSPexError:
    """It tells of itself elsewhere, or nowhere."""
    expected = (
        "none, as when the evaluation was begun" if known is None else f"{known!r}, in which it was begun"
    )
    return invalid_argument("experiment", expected, given)


def evaluation_taken(evaluation: str) -> DSPexError:
    """A later run has gone on with it."""
    return error(
        "evaluation_taken",
        f"another run has gone on with evaluation {evaluation!r}; what this one has stored is kept",
        details={"evaluation": evaluation},
        maybe_executed=True,
    )


def damaged(evaluation: str, why: str) -> DSPexError:
    """What is kept of it is not as it was written."""
    return error(
        "store_damaged",
        f"what is stored of evaluation {evaluation!r} cannot be read ({why})",
        details={"evaluation": evaluation},
    )


def too_new(evaluation: str, schema: int, known: int) -> DSPexError:
    """A newer DSPex wrote it."""
    return error(
        "record_too_new",
        f"evaluation {evaluation!r} was written by a newer DSPex (schema {schema}; this one knows {known})",
        details={"evaluation": evaluation, "schema": schema, "known": known},
    )


def contended(evaluation: str) -> DSPexError:
    """Too many others write to it."""
    return error(
        "overloaded",
        f"too many write to evaluation {evaluation!r} at the same time; nothing was written",
        retry_after_ms=100,
    )
