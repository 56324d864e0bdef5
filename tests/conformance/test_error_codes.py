"""Every error code of docs/errors.md is produced, with the flags that it promises (P20)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

from dspex_protocol import DSPexError, error

from .provocations import PROVOCATIONS, store_that_answers_no_more

ROOT: Final = Path(__file__).parents[2]
DOCUMENTED: Final = {
    code: retryable == "yes"
    for code, retryable in re.findall(
        r"^\| `(\w+)` \| (yes|no) \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE
    )
}
MAYBE_EXECUTED: Final = {"worker_died", "poisoned", "evaluation_taken"}
"""Of what is provoked here, these had begun."""
COMES_BACK: Final = {"overloaded", "boot_failed", "store_unavailable", "session_busy", "job_not_done"}
"""They say when."""


def test_every_documented_code_is_provoked() -> None:
    """And none is provoked that is not documented."""
    assert len(DOCUMENTED) > 40
    assert DOCUMENTED.keys() == PROVOCATIONS.keys()


def promised(code: str) -> tuple[str, bool, bool, bool]:
    """Code, whether a retry helps, whether it may have been executed, whether it says when to come back."""
    return code, DOCUMENTED[code], code in MAYBE_EXECUTED, code in COMES_BACK


def shown(failure: DSPexError) -> tuple[str, bool, bool, bool]:
    """The same of an error that came."""
    return failure.code, failure.retryable, failure.maybe_executed, failure.retry_after_ms is not None


@pytest.mark.parametrize("code", sorted(PROVOCATIONS))
def test_a_code_comes_with_its_flags(code: str) -> None:
    """As the table and the text have them."""
    failure = PROVOCATIONS[code]()
    if failure is not None:  # else the code stood in a NOTE, which the provocation has checked
        assert promised(code) == shown(failure)


def test_a_write_that_was_sent_may_have_been_made() -> None:
    """Where the store gives no answer to it; else a write that fails has not happened."""
    failure = store_that_answers_no_more()
    assert ("store_unavailable", True, True, True) == shown(failure)


@pytest.mark.parametrize(
    "bent",
    [
        {},
        {"maybe_executed": True, "retryable": False},
        {"maybe_executed": True, "retry_after_ms": 1},
    ],
)
def test_an_error_with_one_wrong_flag_is_found(bent: dict[str, Any]) -> None:
    """The planted defects: a death that says that nothing was executed, that it is final, when to return."""
    assert promised("worker_died") == shown(error("worker_died", "it died", maybe_executed=True))
    assert promised("worker_died") != shown(error("worker_died", "it died", **bent))
