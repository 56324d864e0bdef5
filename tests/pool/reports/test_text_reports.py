"""Markdown, JSON and CSV: what they say, and that hostile texts stay texts in them."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import re
from typing import Any

import pytest
from markdown_it import MarkdownIt
from tests.support.hostile_texts import LONG, TEXTS, poisoned, with_names
from tests.support.reports import (
    compared_rows,
    comparison,
    evaluation,
    events,
    experiment,
    failures,
    job,
    report_of,
    rows_of,
    runs,
)

from dspex_pool.reports import OfComparison, OfEvaluation, OfExperiment, OfJob, Subject
from dspex_pool.reports.comparing import beside_of
from dspex_pool.reports.csv_reports import FORMULA
from dspex_pool.reports.job_words import job_facts
from dspex_pool.reports.marks import in_line, marked
from dspex_protocol import Tagged

ROWS = rows_of(60)
AFTER = rows_of(60, seed=9, skill=0.9)
SIDES = [evaluation(ROWS), evaluation(AFTER, version=4)]
PAIRED = [beside_of(row, [a, b]) for row, a, b in zip(compared_rows(ROWS, AFTER), ROWS, AFTER, strict=True)]
SUBJECTS: dict[str, tuple[Subject, list[Any]]] = {
    "evaluation": (OfEvaluation(evaluation=SIDES[0], failures=failures(ROWS)), ROWS),
    "comparison": (OfComparison(comparison=comparison(ROWS, AFTER), evaluations=SIDES), PAIRED),
    "job": (OfJob(job=job()), events()),
    "experiment": (OfExperiment(experiment=experiment()), runs()),
}
FENCED = re.compile(r"(?ms)^(`{3,})text\n.*?^\1$")
ALLOWED = {
    f"{name}_open"
    for name in (
        "bullet_list",
        "heading",
        "list_item",
        "paragraph",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
    )
} | {"fence", "inline", "text"}


def hostile(text: str) -> dict[str, tuple[Subject, list[Any]]]:
    """Every kind of report with that text wherever a text stands."""
    fields = {"answer": text, text: text}
    row = {
        **poisoned(ROWS[1], text),
        "prediction": Tagged("prediction", {"fields": fields}),
        "error": {"code": text, "message": text},
    }
    side = with_names(poisoned(SIDES[0], text), text)
    record = poisoned(comparison(ROWS, AFTER), text)
    return {
        "evaluation": (OfEvaluation(evaluation=side, failures=poisoned(failures(ROWS), text)), [row]),
        "comparison": (
            OfComparison(comparison=record, evaluations=[side, side]),
            [beside_of({**poisoned(compared_rows(ROWS, AFTER)[0], text)}, [row, row])],
        ),
        "job": (OfJob(job=poisoned(job(), text)), poisoned(events(3), text)),
        "experiment": (
            OfExperiment(experiment=poisoned(experiment(), text)),
            [{**poisoned(runs(1)[0], text), "metrics": {text: runs(1)[0]["metrics"]["f1"]}}],
        ),
    }


# Markdown


def tokens(markdown: str) -> list[Any]:
    """What a reader of GitHub's dialect finds in it, HTML and bare addresses too."""
    reader = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
    found = reader.parse(markdown)
    return [*found, *[child for token in found for child in token.children or ()]]


@pytest.mark.parametrize("kind", SUBJECTS)
def test_markdown_has_headings_lists_and_tables(kind: str) -> None:
    """And nothing else, of plain records."""
    subject, rows = SUBJECTS[kind]
    found = tokens(report_of(subject, "markdown", rows))
    kinds = {token.type for token in found if not token.type.endswith("_close")}
    assert kinds <= ALLOWED
    assert {"heading_open", "table_open", "bullet_list_open"} <= kinds


def test_markdown_says_of_a_comparison_what_it_comes_to() -> None:
    """Numbers in words, so that nobody has to look at a colour."""
    subject, rows = SUBJECTS["comparison"]
    text = report_of(subject, "markdown", rows)
    assert "correct: qa version 4 is better than qa version 3 by" in text
    assert "95 % interval of the difference" in text
    assert "## Rows that differ most, by correct" in text


@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_text_is_only_text_in_markdown(name: str) -> None:
    """No HTML, link, picture or emphasis comes of it, no table breaks, and it can be read."""
    text = TEXTS[name]
    for kind, (subject, rows) in hostile(text).items():
        plain, plain_rows = hostile("plain")[kind]
        written, expected = report_of(subject, "markdown", rows), report_of(plain, "markdown", plain_rows)
        found = tokens(written)
        assert {token.type for token in found if not token.type.endswith("_close")} <= ALLOWED, kind
        if text.strip() and kind != "comparison":  # whose rows may be as many as differ
            assert shape(expected) == shape(written), kind
        shown = " ".join(token.content for token in found if token.type == "text")
        assert in_line(text, 200) in shown, kind
        assert not re.search(r"(?<![\\\w])(https?:|www\.)", FENCED.sub("", written)), kind


def shape(markdown: str) -> list[str]:
    """The blocks of a document, each table with the cells of its rows."""
    return [token.type for token in MarkdownIt("commonmark").enable("table").parse(markdown)]


def test_a_text_of_a_megabyte_is_cut_in_markdown() -> None:
    """It is to be read, by people."""
    for subject, rows in hostile(LONG).values():
        assert len(report_of(subject, "markdown", rows)) < 50_000


# JSON


def strictly(text: str) -> Any:
    """What it holds, of a reader that knows no NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    return json.loads(text.encode(), parse_constant=refuse)


@pytest.mark.parametrize("kind", SUBJECTS)
def test_json_has_the_records_and_all_rows(kind: str) -> None:
    """As they are, but for what a prediction is tagged with."""
    subject, rows = SUBJECTS[kind]
    read = strictly(report_of(subject, "json", rows, pieces=7))
    assert kind == read["kind"]
    assert len(rows) == len(read[{"job": "events", "experiment": "runs"}.get(kind, "rows")])
    assert [] == read["not_finite"]
    if kind == "evaluation":
        assert ROWS[5]["scores"] == read["rows"][5]["scores"]
        assert ROWS[5]["prediction"].value == read["rows"][5]["prediction"]["$prediction"]
        assert SIDES[0]["scores"] == read["evaluation"]["scores"]


def test_json_has_null_for_what_is_no_number_and_says_where() -> None:
    """By a pointer as of RFC 6901, with what it was."""
    row = {**ROWS[0], "scores": {"a/b": {"score": math.nan}, "f1": {"score": -math.inf}}}
    record = evaluation(ROWS, confidence=math.inf)
    read = strictly(report_of(OfEvaluation(evaluation=record), "json", [ROWS[1], row]))
    assert read["rows"][1]["scores"] == {"a/b": {"score": None}, "f1": {"score": None}}
    assert [
        {"at": "/evaluation/confidence", "value": "inf"},
        {"at": "/rows/1/scores/a~1b/score", "value": "nan"},
        {"at": "/rows/1/scores/f1/score", "value": "-inf"},
    ] == read["not_finite"]


@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_text_is_the_same_in_json(name: str) -> None:
    """Character for character, halves of pairs too, which UTF-8 has no form for."""
    for kind, (subject, rows) in hostile(TEXTS[name]).items():
        read = strictly(report_of(subject, "json", rows))
        row = read[{"job": "events", "experiment": "runs"}.get(kind, "rows")][0]
        place = {"job": ("type",), "experiment": ("params", "lm")}.get(kind, ("example", "question"))
        assert TEXTS[name] == functools.reduce(lambda value, key: value[key], place, row)


# CSV


def cells(text: str) -> list[list[str]]:
    """The records of a file."""
    assert text.endswith("\r\n")
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize("kind", SUBJECTS)
def test_csv_has_a_line_for_each_row_and_a_column_for_each_field(kind: str) -> None:
    """Each line is as long as the head."""
    subject, rows = SUBJECTS[kind]
    head, *lines = cells(report_of(subject, "csv", rows, pieces=7))
    assert len(rows) == len(lines)
    assert {len(head)} == {len(line) for line in lines}
    assert len(head) == len(set(head))


def test_csv_has_fields_and_scores_as_they_are() -> None:
    """Numbers with all their digits, negative ones without an apostrophe, and nothing for nothing."""
    low = {
        **ROWS[1],
        "scores": {"correct": {"score": -1.25e-7, "passed": False}, "f1": {"error": {"message": "no"}}},
    }
    subject = OfEvaluation(evaluation=SIDES[0])
    (head, line) = cells(report_of(subject, "csv", [low]))
    read = dict(zip(head, line, strict=True))
    assert ROWS[1]["example"]["question"] == read["example.question"]
    assert ROWS[1]["prediction"].value["fields"]["answer"] == read["prediction.answer"]
    assert ("-1.25e-07", "false", "", "no") == tuple(
        read[key] for key in ("correct.score", "correct.passed", "f1.score", "f1.error")
    )


def test_csv_has_both_sides_of_a_comparison() -> None:
    """Predictions, scores and the difference of each row."""
    subject, rows = SUBJECTS["comparison"]
    head, line, *_ = cells(report_of(subject, "csv", rows))
    assert {
        "qa version 3: answer",
        "qa version 4: answer",
        "qa version 3: f1",
        "qa version 4: f1",
        "difference of f1",
    } <= set(head)
    read = dict(zip(head, line, strict=True))
    difference = float(read["qa version 4: f1"]) - float(read["qa version 3: f1"])
    assert difference == pytest.approx(float(read["difference of f1"]))


@pytest.mark.parametrize("name", TEXTS)
def test_no_cell_of_csv_is_a_formula(name: str) -> None:
    """An apostrophe stands before it, and characters that hide are marked; else it is the same."""
    text = TEXTS[name]
    for kind, (subject, rows) in hostile(text).items():
        written = report_of(subject, "csv", rows)
        written.encode()
        read = cells(written)
        assert all(
            not cell.strip(" ").startswith(FORMULA) for line in read for cell in line if not is_number(cell)
        )
        if kind == "evaluation":
            assert {marked(text), f"'{marked(text)}"} & set(read[1])


def is_number(cell: str) -> bool:
    """Of those that we write."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_a_job_that_went_on_under_other_versions_says_so() -> None:
    """With both; and with the only ones where there were no others."""
    old, new = {"dspex": "1.0", "dspy": "3.4.1"}, {"dspex": "1.0", "dspy": "3.5.0"}
    moved = job_facts({"versions": {"begun": old, "latest": new}})
    said = moved["begun with"], moved["gone on with"]
    assert ("dspex 1.0, dspy 3.4.1", "dspex 1.0, dspy 3.5.0") == said
    stayed = job_facts({"versions": {"begun": old, "latest": old}})
    assert ("dspex 1.0, dspy 3.4.1", None) == (stayed["begun with"], stayed["gone on with"])
    assert (None, None) == (job_facts({})["begun with"], job_facts({})["gone on with"])
