"""HTML reports in a browser: what they show, how they are worked with, and that they keep to themselves."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.browser import Browser, Page, Show, page_of
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

pytestmark = pytest.mark.slow

ROWS = rows_of(200)
AFTER = rows_of(200, seed=4, skill=0.75)
SIDES = [evaluation(ROWS), evaluation(AFTER, version=4)]
PAIRED = [beside_of(row, [a, b]) for row, a, b in zip(compared_rows(ROWS, AFTER), ROWS, AFTER, strict=True)]

SUBJECTS: dict[str, tuple[Subject, list[Any]]] = {
    "evaluation": (OfEvaluation(evaluation=SIDES[0], failures=failures(ROWS)), ROWS),
    "comparison": (OfComparison(comparison=comparison(ROWS, AFTER), evaluations=SIDES), PAIRED),
    "job": (OfJob(job=job()), events()),
    "experiment": (OfExperiment(experiment=experiment()), runs()),
}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"dark": True},
    "phone": {"width": 390, "height": 800},
}


def opened(page: Page, address: str) -> None:
    """Load it, and wait until its table is there."""
    page.open(address)
    page.wait("document.querySelector('table.rows tbody tr')")


def texts(page: Page, selector: str) -> list[str]:
    """What stands in elements."""
    found: list[str] = page.run(
        f"[...document.querySelectorAll({selector!r})].map((e) => e.textContent.trim())"
    )
    return found


def counted(page: Page) -> str:
    """How many rows the table says it has."""
    return texts(page, ".count")[0]


def type_into(page: Page, label: str, value: str) -> None:
    """Fill a control in, as somebody at the keyboard does."""
    page.run(
        "(() => { const label = [...document.querySelectorAll('.controls label')]"
        f".find((l) => l.firstChild.textContent === {label!r});"
        " const control = label.querySelector('input, select');"
        f" control.value = {value!r};"
        " control.dispatchEvent(new Event(control.tagName === 'SELECT' ? 'change' : 'input')); })()"
    )


@pytest.mark.parametrize(("kind", "look"), list(itertools.product(SUBJECTS, LOOKS)))
def test_a_page_loads_nothing_and_complains_of_nothing(
    browser: Browser, show: Show, tmp_path: Path, kind: str, look: str
) -> None:
    """In light, dark and narrow windows; nor is anything wider than the window."""
    subject, rows = SUBJECTS[kind]
    address = show(report_of(subject, "html", rows))
    with page_of(browser, **LOOKS[look]) as page:
        opened(page, address)
        page.run("document.querySelector('.open').click()")
        keep_screenshot(page, tmp_path, f"{kind}-{look}.png")
        page.look()
        assert ([address], []) == (list(page.requests.values()), page.problems)
        assert page.run("document.documentElement.scrollWidth <= innerWidth")


def keep_screenshot(page: Page, folder: Path, name: str) -> None:
    """Where DSPEX_TEST_SCREENSHOTS says, for people to look at."""
    path = Path(os.environ.get("DSPEX_TEST_SCREENSHOTS", folder)) / name
    page.screenshot(path)
    assert path.stat().st_size > 20_000, "an empty page is smaller"


@pytest.mark.parametrize("kind", SUBJECTS)
def test_what_is_drawn_is_said_too(browser: Browser, show: Show, kind: str) -> None:
    """Every drawing has words, every control a label, every head its scope; headings go down by one."""
    subject, rows = SUBJECTS[kind]
    with page_of(browser) as page:
        opened(page, show(report_of(subject, "html", rows)))
        drawings = "svg:not([role=img][aria-label]):not([aria-hidden])"
        unsaid = f"{drawings}, th:not([scope]), input:not(label *), select:not(label *)"
        assert [] == texts(page, unsaid)
        page.run("document.querySelector('.open').click()")
        levels = [
            int(level)
            for level in page.run("[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => h.tagName[1])")
        ]
        assert 1 == levels[0]
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("dark", [False, True])
def test_all_text_stands_out_from_what_it_is_on(browser: Browser, show: Show, *, dark: bool) -> None:
    """At least 4.5 to 1, as WCAG 2 asks of text of this size."""
    subject, rows = SUBJECTS["comparison"]
    with page_of(browser, dark=dark) as page:
        opened(page, show(report_of(subject, "html", rows)))
        colours: dict[str, str] = page.run(
            "Object.fromEntries(['paper','raised','ink','dim','accent','worse','strong'].map((name) =>"
            " [name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()]))"
        )
        for ground in ("paper", "raised"):
            for ink in ("ink", "dim", "accent", "worse"):
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
            assert contrast(colours["strong"], colours[ground]) >= 3, "of the edge of a control"


def contrast(one: str, other: str) -> float:
    """Of two colours like #aabbcc, as WCAG 2 has it."""
    light, dark = sorted((brightness(one), brightness(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def brightness(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_rows_are_filtered_by_text_figures_and_errors(browser: Browser, show: Show) -> None:
    """Each filter for itself, and together; what they leave is counted."""
    subject, rows = SUBJECTS["evaluation"]
    with page_of(browser) as page:
        opened(page, show(report_of(subject, "html", rows)))
        assert "200 of 200 rows" == counted(page)

        type_into(page, "Text", "the RIVER in chapter 12?")
        page.wait("document.querySelector('.count').textContent.startsWith('1 of')")
        assert "the river 12" in texts(page, "tbody tr.row")[0]

        type_into(page, "Text", "")
        type_into(page, "Figure", "2")
        type_into(page, "from", "0.2")
        type_into(page, "to", "0.5")
        between = sum(1 for row in ROWS if row["scores"] and 0.2 <= row["scores"]["f1"]["score"] <= 0.5)
        page.wait(f"document.querySelector('.count').textContent === '{between} of 200 rows'")

        type_into(page, "from", "")
        type_into(page, "to", "")
        type_into(page, "Error", "=lm_rate_limited")
        failed = sum(1 for row in ROWS if row["error"])
        page.wait(f"document.querySelector('.count').textContent === '{failed} of 200 rows'")
        assert {"lm_rate_limited"} == set(texts(page, "tbody tr.row td:last-child"))


def test_rows_are_sorted_by_each_column_both_ways(browser: Browser, show: Show) -> None:
    """What has no score comes last, up and down."""
    subject, rows = SUBJECTS["evaluation"]
    with page_of(browser) as page:
        opened(page, show(report_of(subject, "html", rows)))
        scores = sorted(row["scores"]["f1"]["score"] for row in ROWS if row["scores"])
        head = "[...document.querySelectorAll('thead button')].find((b) => b.textContent === 'f1')"

        page.run(f"{head}.click()")
        assert "ascending" == page.run(f"{head}.closest('th').getAttribute('aria-sort')")
        assert [f"{score:.3f}" for score in scores[:50]] == texts(page, "tr.row > td:nth-child(6)")

        page.run(f"{head}.click()")
        assert [f"{score:.3f}" for score in scores[::-1][:50]] == texts(page, "tr.row > td:nth-child(6)")
        for _ in range(3):
            page.run("[...document.querySelectorAll('.pager button')].at(-1).click()")
        assert "\u2013" == texts(page, "tr.row > td:nth-child(6)")[-1]
        assert "page 4 of 4" == texts(page, ".pager span")[0]


def test_a_row_opens_by_mouse_and_by_keyboard(browser: Browser, show: Show) -> None:
    """It shows prompt, answer and scores; and closes again."""
    subject, rows = SUBJECTS["evaluation"]
    with page_of(browser) as page:
        opened(page, show(report_of(subject, "html", rows)))
        page.run("document.querySelector('tbody tr.row').click()")
        assert ["Given", "Answered", "Scores", "Usage", "What was asked of language models"] == texts(
            page, "tr.details:not([hidden]) h3"
        )
        assert "Answer in a few words.\n\nBe exact." in texts(page, "tr.details:not([hidden]) .verbatim")

        page.run("document.querySelectorAll('.open')[1].focus()")
        page.press("Enter", 13, "\r")
        assert 2 == len(texts(page, "tr.details:not([hidden])"))
        page.press(" ", 32, " ")
        assert 1 == len(texts(page, "tr.details:not([hidden])"))
        assert ["true", "false"] == page.run(
            "[...document.querySelectorAll('.open')].slice(0, 2).map((b) => b.ariaExpanded)"
        )


def test_the_keyboard_reaches_every_control(browser: Browser, show: Show) -> None:
    """By Tab alone, from the first one to the rows."""
    subject, rows = SUBJECTS["evaluation"]
    with page_of(browser) as page:
        opened(page, show(report_of(subject, "html", rows[:3])))
        reached: list[str] = []
        for _ in range(40):
            page.press("Tab", 9)
            reached.append(page.run("document.activeElement.className || document.activeElement.tagName"))
            if reached.count("open") == 3:
                break
        assert {"INPUT", "SELECT", "BUTTON", "scroll", "open"} <= set(reached)


def test_a_comparison_says_in_words_which_is_better(browser: Browser, show: Show) -> None:
    """With numbers, and the same for a difference that is not significant."""
    subject, rows = SUBJECTS["comparison"]
    with page_of(browser) as page:
        opened(page, show(report_of(subject, "html", rows)))
        verdicts = texts(page, ".verdict")
        assert all("95 % interval of the difference" in verdict and "; p " in verdict for verdict in verdicts)
        assert "qa version 4 is better than qa version 3 by" in verdicts[0]

        type_into(page, "Outcome of correct", "=qa version 4 better")
        wins = comparison(ROWS, AFTER)["metrics"]["correct"][0]["wins"]
        page.wait(f"document.querySelector('.count').textContent === '{wins} of 200 rows'")
        page.run("document.querySelector('.open').click()")
        assert ["qa version 3", "qa version 4"] == texts(page, "tr.details:not([hidden]) h4")[:2]

        alike = comparison(ROWS, ROWS)
        same = [beside_of(row, [a, a]) for row, a in zip(compared_rows(ROWS, ROWS), ROWS, strict=True)]
        opened(page, show(report_of(OfComparison(comparison=alike), "html", same)))
        assert all("no significant difference" in verdict for verdict in texts(page, ".verdict"))
        assert [] == texts(page, ".verdict.better, .verdict.worse")


def test_ten_thousand_rows_are_shown_a_page_at_a_time(browser: Browser, show: Show) -> None:
    """Loaded, searched and sorted; no more than fifty are in the page at once."""
    many = rows_of(10_050)
    text = report_of(OfEvaluation(evaluation=evaluation(many)), "html", many, pieces=1_000)
    with page_of(browser) as page:
        opened(page, show(text))
        assert "10,000 of 10,000 rows" == counted(page)
        assert any("the first 10,000 of 10,050" in line for line in texts(page, "section > p.dim"))
        type_into(page, "Text", "chapter 777")
        page.wait("document.querySelector('.count').textContent.startsWith('11 of')")
        type_into(page, "Text", "")
        page.wait("document.querySelector('.count').textContent.startsWith('10,000 of')")
        page.run("document.querySelectorAll('thead button')[3].click()")
        assert 50 == page.run("document.querySelectorAll('tbody tr.row').length")
        page.look()
        assert [] == page.problems


def test_runs_are_told_apart_over_time_and_by_what_they_reached(browser: Browser, show: Show) -> None:
    """Lines have numbers, not only colours; parameters and metrics have columns that sort."""
    subject, rows = SUBJECTS["experiment"]
    with page_of(browser) as page:
        opened(page, show(report_of(subject, "html", rows)))
        assert ["1", "2", "3", "4", "5", "6"] == sorted(
            t for t in texts(page, ".history .tick") if "." not in t
        )
        heads = texts(page, "thead .exact, thead .text")
        assert ["run", "state", "f1", "tokens", "k", "lm", "temperature", "begun"] == heads
        page.run("[...document.querySelectorAll('thead button')].find((b) => b.textContent === 'f1').click()")
        assert "run-6" in texts(page, "tr.row")[-1]
        assert "run-6" in texts(page, "main table")[0]


def test_it_prints_without_what_only_a_screen_has(browser: Browser, show: Show) -> None:
    """Controls are gone, opened rows are there, and dark is light."""
    subject, rows = SUBJECTS["evaluation"]
    with page_of(browser, dark=True) as page:
        opened(page, show(report_of(subject, "html", rows)))
        page.run("document.querySelector('.open').click()")
        assert page.pdf().startswith(b"%PDF")
        page.call("Emulation.setEmulatedMedia", media="print")
        shown = "[...document.querySelectorAll('.controls, .pager, .open')].filter((e) => e.offsetParent)"
        assert 0 == page.run(f"{shown}.length")
        assert page.run("document.querySelector('tr.details:not([hidden])').offsetHeight > 100")
        assert "rgb(255, 255, 255)" == page.run("getComputedStyle(document.body).backgroundColor")


def test_figures_are_there_without_scripts(browser: Browser, show: Show) -> None:
    """Only the table needs them, and says so."""
    subject, rows = SUBJECTS["evaluation"]
    with page_of(browser) as page:
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.open_without_scripts(show(report_of(subject, "html", rows)))
        assert "The table needs scripts" in texts(page, "#browser")[0]
        assert 2 == len(texts(page, ".plots svg"))
