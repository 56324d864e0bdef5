"""The errors of experiments as clients hear them, each in one place."""

from __future__ import annotations

from dspex_protocol import DSPexError, error, invalid_argument


def unknown_experiment(experiment: str) -> DSPexError:
    """There is none of that id."""
    return error(
        "unknown_experiment",
        f"there is no experiment {experiment!r}",
        details={"experiment": experiment},
    )


def unknown_run(experiment: str, run: str) -> DSPexError:
    """It has no such run."""
    return error(
        "unknown_experiment",
        f"experiment {experiment!r} has no run {run!r}",
        details={"experiment": experiment, "run": run},
    )


def run_exists(run: str) -> DSPexError:
    """There is one of that id."""
    return invalid_argument("run", "an id that no run of the experiment has", run)


def run_ended(run: str, state: str) -> DSPexError:
    """Nothing can be said of it any more."""
    return invalid_argument("run", f"a run that has not ended; it is {state}", run)


def damaged(experiment: str, why: str) -> DSPexError:
    """What is kept of it is not as it was written."""
    return error(
        "store_damaged",
        f"what is stored of experiment {experiment!r} cannot be read ({why})",
        details={"experiment": experiment},
    )


def too_new(experiment: str, schema: int, known: int) -> DSPexError:
    """A newer DSPex wrote it."""
    return error(
        "record_too_new",
        f"experiment {experiment!r} was written by a newer DSPex (schema {schema}; this one knows {known})",
        details={"experiment": experiment, "schema": schema, "known": known},
    )


def contended(experiment: str) -> DSPexError:
    """Too many others write to it."""
    return error(
        "overloaded",
        f"too many write to experiment {experiment!r} at the same time; nothing was written",
        retry_after_ms=100,
    )
