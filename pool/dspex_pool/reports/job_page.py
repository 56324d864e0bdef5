"""A job as a page: how it stands, the optimizer's history, what it spent, and its events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from . import document
from .document import Choice, Column, Group, Plan, Rows, section
from .evaluation_words import usage_of
from .figures import count_text, number_of, score_text
from .job_words import error_text, instructions_of, job_facts, job_scores, job_title
from .markup import Markup, element
from .plots import history
from .shapes import Record, map_of, text_of
from .trials import Trial, Trials, best_so_far
from .values import value_markup

MAX_TRIALS: Final = 500


class JobPage:
    """Writes one, piece by piece; its rows are the events.

    Args:
        record: The job, with its result where there is one.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._rows = Rows()
        self._trials = Trials(record)

    def begin(self) -> str:
        """What stands before the events."""
        return document.opening(f"Job {text_of(self._record.get('job'))}") + self._rows.begin()

    def add(self, rows: Sequence[Record]) -> str:
        """Some events."""
        self._trials.add(rows)
        return self._rows.add([{"event": row, "what": _rest_of(row)} for row in rows])

    def end(self) -> str:
        """All that is seen."""
        record = self._record
        return self._rows.end() + document.closing(
            EVENTS,
            _heading(record),
            _error(record),
            _scores(record),
            _history(self._trials.all),
            _spent(record),
            _result(record),
            _trouble(record),
            document.browser("Events", self._rows.what_is_missing, "Choose an event to see all of it."),
            section("What was asked for", _folded("the request", record.get("request"))),
            document.footer("Made by dspex report."),
        )


EVENTS: Final = Plan(
    noun="events",
    columns=[
        Column(label="event", kind="number", at=("event", "n")),
        Column(label="when", kind="text", at=("event", "at")),
        Column(label="type", kind="text", at=("event", "type")),
        Column(label="score", kind="number", at=("event", "score")),
        Column(label="what", kind="preview", at=("what",)),
    ],
    choices=[Choice(label="Type", at=("event", "type"), none="none")],
    details=[Group(title="Event", cells={"": ("event",)})],
)


IN_COLUMNS: Final = frozenset(("n", "at", "type", "score", "attempt"))


def _rest_of(event: Record) -> Record:
    """What columns do not tell of it."""
    return {key: value for key, value in event.items() if key not in IN_COLUMNS and value is not None}


def _heading(record: Record) -> Markup:
    return element(
        "header",
        element("p", f"Job, {text_of(record.get('kind')) or 'of unknown kind'}", class_="kind"),
        element("h1", job_title(record)),
        element("p", note) if (note := text_of(record.get("note"))) else None,
        document.facts(job_facts(record)),
    )


def _error(record: Record) -> Markup | None:
    words = error_text(record)
    return element("div", element("p", words), class_="verdict worse") if words else None


def _scores(record: Record) -> Markup | None:
    said = job_scores(record)
    return section("Scores", document.tiles(said)) if said else None


def _history(trials: Sequence[Trial]) -> Markup | None:
    if not trials:
        return None
    best = best_so_far(trials)
    rows = [
        (trial.name, score_text(trial.score), rows_text(trial), score_text(best[n]), candidate(trial))
        for n, trial in enumerate(trials[:MAX_TRIALS])
    ]
    dots = [(trial.score, trial.is_full) for trial in trials]
    about = (
        "Dots: the score of each trial, hollow where it was tried on a part of the rows."
        " Line: the best until then, of those that were tried on all."
    )
    more = f"The table has the first {MAX_TRIALS} of {len(trials):,}." if len(trials) > MAX_TRIALS else None
    return section(
        "History",
        element("div", history("Scores of trials", dots, best), class_="scroll"),
        element("p", about, class_="dim"),
        document.table(("trial", "score", "on rows", "best so far", "candidate"), rows, numbers=(1, 2, 3)),
        element("p", more, class_="dim") if more else None,
    )


def rows_text(trial: Trial) -> str:
    """On how many rows, and whether these are a part only."""
    return f"{count_text(trial.rows)}{'' if trial.is_full else ' (a part)'}"


def candidate(trial: Trial) -> Markup | str:
    """What was tried, folded up."""
    if not trial.facts:
        return ""
    return element("details", element("summary", trial.summary), value_markup(trial.facts))


def _spent(record: Record) -> Markup | None:
    spent = map_of(record.get("spent")) or map_of(map_of(record.get("result")).get("usage"))
    said = usage_of(spent, None)
    return section("Cost", document.tiles(said)) if any(said.values()) else None


def _folded(summary: str, value: object) -> Markup:
    """What may be long, such as a training set."""
    return element("details", element("summary", summary), value_markup(value))


def _trouble(record: Record) -> Markup | None:
    """What went wrong on the way, as the optimizer's work counts it."""
    result = map_of(record.get("result"))
    said = {name: result[name] for name in ("failed", "unscored", "unanswered") if result.get(name)}
    return section("What failed on the way", value_markup(said)) if said else None


REPLAY: Final = {
    "live": "answers that the last attempt asked for",
    "answered": "answers that it had of attempts before",
    "diverged": "answers of those that it did not ask for again",
}


def _result(record: Record) -> Markup | None:
    result = map_of(record.get("result"))
    state = map_of(map_of(result.get("program")).get("state"))
    instructions = instructions_of(state)
    replay = map_of(record.get("replay")) or map_of(result.get("replay"))
    said = document.facts(
        {words: count_text(number_of(replay.get(name))) for name, words in REPLAY.items() if name in replay}
    )
    if not instructions and not replay:
        return None
    return section(
        "Result",
        *[
            element("section", element("h3", name), value_markup(text), class_="candidate")
            for name, text in instructions.items()
        ],
        said if replay else None,
    )
