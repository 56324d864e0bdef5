"""Hostile texts in every field of an HTML report: all are shown, none runs, none asks for anything.

That the tests would see it is shown too: with escaping off the canary sings, and with the page's policy
over it the policy keeps it quiet and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.browser import Browser, BrowserError, Page, Show, page_of
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

from dspex_pool.reports import OfComparison, OfEvaluation, OfExperiment, OfJob, Subject, document, markup
from dspex_pool.reports.comparing import beside_of
from dspex_pool.reports.marks import marked
from dspex_protocol import Tagged

pytestmark = pytest.mark.slow

ROWS = rows_of(40)
CANARY = "globalThis.__canary === undefined"


def hostile_rows() -> list[dict[str, Any]]:
    """A row for each text, which stands in all of its places, and as names."""
    return [hostile_row(n, text) for n, text in enumerate(TEXTS.values())]


def hostile_row(n: int, text: str) -> dict[str, Any]:
    row = ROWS[n % len(ROWS)]
    has_error = {"code": text, "message": text, "details": {text: text}} if n % 3 == 0 else None
    fields = {"answer": text, text: [text, {text: text}]}
    return {
        **poisoned({**row, "prediction": None, "error": None, "scores": {}}, text),
        "prediction": Tagged("prediction", {"fields": fields}),
        "error": has_error,
        "scores": {"correct": {"score": 0.5, "feedback": text, "parts": {text: 0.1}}, text: {"score": 1.0}},
        "requests": [
            {
                "lm": text,
                "messages": [{"role": text, "content": text}],
                "answers": [{"characters": 1, "text": text}],
            }
        ],
    }


def subjects(text: str) -> Iterator[tuple[str, Subject, list[Any]]]:
    """Every kind of report with that text in all fields of its records."""
    sides = [with_names(poisoned(evaluation(ROWS, version=version), text), text) for version in (3, 4)]
    yield "evaluation", OfEvaluation(evaluation=sides[0], failures=poisoned(failures(ROWS), text)), []
    record = poisoned(comparison(ROWS, ROWS), text)
    pairs = record["metrics"].pop("correct")
    record["metrics"] = {text: pairs}
    rows = [
        beside_of({**row, "scores": {text: [0.0, 1.0]}}, [side, side])
        for row, side in zip(compared_rows(ROWS, ROWS)[:2], hostile_rows()[:2], strict=True)
    ]
    yield "comparison", OfComparison(comparison=record, evaluations=sides), rows
    yield "job", OfJob(job=poisoned(job(), text)), poisoned(events(5), text)
    yield "experiment", OfExperiment(experiment=poisoned(experiment(), text)), hostile_runs(text)


def hostile_runs(text: str) -> list[Any]:
    """Runs with that text in all places, metrics of that name among them."""
    return [
        {**poisoned(run, text), "metrics": {text: run["metrics"]["f1"]}, "params": {text: text}}
        | {"points": [{**point, "name": text} for point in run["points"]]}
        for run in runs(3)
    ]


def opened(page: Page, address: str) -> None:
    """Load it, and open all rows, and all that is folded up."""
    page.open(address)
    page.run("document.querySelectorAll('.open').forEach((button) => button.click())")
    page.run("document.querySelectorAll('details').forEach((part) => { part.open = true; })")


def is_quiet(page: Page, address: str) -> bool:
    """Nothing ran, nothing was asked for, nothing was refused."""
    page.look()
    assert ([address], []) == (list(page.requests.values()), page.problems)
    return bool(page.run(CANARY))


def test_every_text_of_a_row_is_shown_and_none_runs(browser: Browser, show: Show) -> None:
    """In the opened row it stands as it is, but for what is marked."""
    rows = hostile_rows()
    subject = OfEvaluation(evaluation=evaluation(ROWS, scores={}))
    address = show(report_of(subject, "html", rows))
    with page_of(browser) as page:
        opened(page, address)
        assert is_quiet(page, address)
        shown: list[list[str]] = page.run(
            "[...document.querySelectorAll('tr.details')].map((row) => [...row.querySelectorAll("
            "'.verbatim, dt, .message > .dim, .entries span')].map((e) => e.textContent))"
        )
        assert len(TEXTS) == len(shown)
        for text, cells in zip(TEXTS.values(), shown, strict=True):
            assert cells.count(marked(text)) >= 8, text


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_in_every_field_of_every_report_is_only_a_text(
    browser: Browser, show: Show, name: str
) -> None:
    """Titles, heads, names of metrics and drawings, options of filters, events, requests."""
    text = TEXTS[name]
    with page_of(browser) as page:
        for kind, subject, rows in subjects(text):
            address = show(report_of(subject, "html", rows))
            page.requests.clear()
            opened(page, address)
            assert is_quiet(page, address), kind
            seen: str = page.run("document.querySelector('main').textContent")
            assert marked(text).strip() in seen, kind
            assert [1, 3, 0] == page.run(
                "['main', 'script', 'img, iframe, a, base, link, form[action]'].map((which) =>"
                " document.querySelectorAll(which).length)"
            ), kind


def test_a_text_of_a_megabyte_is_cut_until_all_of_it_is_asked_for(browser: Browser, show: Show) -> None:
    """A page that lays out every megabyte at once would not be read."""
    row = {**ROWS[0], "prediction": Tagged("prediction", {"fields": {"answer": LONG}})}
    record = {**evaluation(ROWS), "note": LONG, "program": LONG}
    address = show(report_of(OfEvaluation(evaluation=record), "html", [row]))
    with page_of(browser) as page:
        opened(page, address)
        assert is_quiet(page, address)
        long = "[...document.querySelectorAll('.verbatim')].find((e) => e.textContent.startsWith('<b>long'))"
        assert 4_001 >= page.run(f"{long}.textContent.replaceAll(/\\u2039U.202E\\u203a/g, '_').length")
        page.run("document.querySelector('.more').click()")
        assert len(LONG) == page.run(f"{long}.textContent.replaceAll(/\\u2039U.202E\\u203a/g, '_').length")


# That it would be seen


def unescaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report as it must never be."""

    def as_it_is(text: str) -> str:
        return text

    monkeypatch.setattr(markup, "escaped", as_it_is)
    monkeypatch.setattr(markup, "embedded", as_it_is)


def with_html(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that takes texts for HTML."""
    text, html = (
        "whole.append(shown.slice(from));",
        "whole.append(document.createRange().createContextualFragment(text));",
    )
    assert text in document._SCRIPT
    monkeypatch.setattr(document, "_SCRIPT", document._SCRIPT.replace(text, html))
    monkeypatch.setattr(document, "POLICY", document.policy_of(document._SCRIPT, document._STYLE))


@pytest.mark.parametrize("spoil", [unescaped, with_html])
def test_the_canary_sings_where_texts_are_not_escaped(
    browser: Browser, show: Show, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Without a policy; by the page itself, and by its script."""
    spoil(monkeypatch)
    monkeypatch.setattr(document, "POLICY", "")
    text = TEXTS["end of script"] + TEXTS["handler"]
    address = show(
        report_of(OfEvaluation(evaluation=evaluation(ROWS, note=text)), "html", [hostile_row(1, text)])
    )
    with page_of(browser) as page:
        page.open(address)
        page.run("document.querySelector('.open')?.click()")
        page.wait(f"!({CANARY})")


@pytest.mark.parametrize("spoil", [unescaped, with_html])
def test_the_policy_holds_where_escaping_fails(
    browser: Browser, show: Show, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """The second line of defence: what got in does not run, and the browser says what it refused."""
    spoil(monkeypatch)
    text = TEXTS["end of script"] + TEXTS["handler"] + TEXTS["picture"]
    address = show(
        report_of(OfEvaluation(evaluation=evaluation(ROWS, note=text)), "html", [hostile_row(1, text)])
    )
    with page_of(browser) as page:
        page.open(address)
        page.run("document.querySelector('.open')?.click()")
        page.look()
        assert page.run(CANARY)
        assert any(
            "ContentSecurityPolicyIssue" in problem or "TrustedHTML" in problem for problem in page.problems
        )
        assert [address] == [page.requests[name] for name in page.requests.keys() - page.refused]


def test_the_browser_would_tell_of_a_request(browser: Browser, show: Show) -> None:
    """So that an empty list of requests means what it says."""
    with page_of(browser) as page:
        page.open(show("<!doctype html><img src='http://127.0.0.1:9/pixel.png'>"))
        page.look()
        assert any(request.endswith("pixel.png") for request in page.requests.values())
        with pytest.raises(BrowserError, match="ReferenceError"):
            page.run("nothing.of.that.name")
