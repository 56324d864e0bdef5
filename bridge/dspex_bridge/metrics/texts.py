"""Metrics over texts: the same, containing, fitting a pattern, similar."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any, Final

import regex

from dspex_protocol.errors import error
from dspex_protocol.records import Doc, Length

from ..refusals import refusal
from .compared import Compared, Normalize, expected_text, given_text, normalized, shown, text_of
from .equality import difference
from .rows import Row
from .scores import Score, no_score, verdict

MAX_PATTERN_CHARACTERS: Final = 500
"""The engine's table for a literal of 1,000 characters takes it half a second, of 4,000 half a minute."""

MAX_SEARCHED_CHARACTERS: Final = 1_000_000
PATTERN_LIMIT_S: Final = 0.5
"""A pattern that has to go back does so for ever; one that has not needs milliseconds."""

MAX_DISTANCE_CHARACTERS: Final = 50_000
"""The time grows with the product of both lengths: two texts of this size take a tenth of a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactMatch(Compared):
    """Whether a field is what was expected."""

    normalize: Normalize = "none"

    def measure(self, row: Row) -> Score:
        """Of texts by how they are normalized; of all else by value."""
        return self.best(row, self._compare, self._prepared)

    def _prepared(self, value: Any) -> Any:
        return normalized(value, self.normalize) if isinstance(value, str) else value

    def _compare(self, given: Any, wanted: Any, path: str) -> Score:
        wanted = self._prepared(wanted)
        if difference(given, wanted) is None:
            return verdict(True)
        return verdict(False, f"expected {shown(wanted)}, got {shown(given)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contains(Compared):
    """Whether a text has another one in it."""

    normalize: Normalize = "none"

    def measure(self, row: Row) -> Score:
        """An empty text is in every text."""
        return self.best(row, self._compare, lambda given: given_text(given, self.normalize))

    def _compare(self, given: str | Score, wanted: Any, path: str) -> Score:
        part = expected_text(wanted, path, self.normalize)
        return given if isinstance(given, Score) else verdict(part in given, f"it lacks {shown(part)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Regex:
    """Whether a text fits a pattern."""

    field: Annotated[str, Length(1, 128), Doc("of the prediction")]
    pattern: Annotated[
        str, Length(1, MAX_PATTERN_CHARACTERS), Doc("regular expression, as of Python's `regex`")
    ]
    whole: Annotated[bool, Doc("whether the whole text must fit, and not just a part of it")] = False
    ignore_case: Annotated[bool, Doc("whether upper and lower case are the same")] = False

    def check(self, path: str) -> None:
        """Refuse what is no pattern.

        Raises:
            CallerError: `invalid_argument`.
        """
        try:
            self._compiled()
        except (regex.error, RecursionError, OverflowError, ValueError) as reason:
            told = getattr(reason, "msg", type(reason).__name__)
            raise refusal(f"{path}.pattern", "a regular expression", f"none ({told})") from None

    def measure(self, row: Row) -> Score:
        """Within half a second.

        Raises:
            DSPexError: `metric_timeout` when the pattern takes longer on this text.
        """
        text = text_of(row.given(self.field))
        if text is None:
            return verdict(False, "it is no text")
        if len(text) > MAX_SEARCHED_CHARACTERS:
            limit = f"at most {MAX_SEARCHED_CHARACTERS} characters"
            raise no_score(f"prediction.{self.field}", limit, f"{len(text)}")
        return verdict(self._fits(text), "it does not fit the pattern")

    def _fits(self, text: str) -> bool:
        pattern = self._compiled()
        search = pattern.fullmatch if self.whole else pattern.search
        try:
            return search(text, timeout=PATTERN_LIMIT_S, concurrent=True) is not None
        except TimeoutError:
            raise error(
                "metric_timeout",
                f"the pattern was not done with a text of {len(text)} characters in {PATTERN_LIMIT_S} s",
                retryable=False,
            ) from None

    def _compiled(self) -> Any:
        # The engine keeps the last few hundred patterns.
        return regex.compile(self.pattern, regex.IGNORECASE if self.ignore_case else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenF1(Compared):
    """How much of the words of two texts is the same: the harmonic mean of precision and recall."""

    normalize: Normalize = "case"

    def measure(self, row: Row) -> Score:
        """Two texts without a word are the same."""
        return self.best(row, self._compare, self._prepared)

    def _prepared(self, given: Any) -> Counter[str] | Score:
        text = given_text(given, self.normalize)
        return text if isinstance(text, Score) else self._words(text)

    def _compare(self, given: Counter[str] | Score, wanted: Any, path: str) -> Score:
        reference = self._words(expected_text(wanted, path, self.normalize))
        return given if isinstance(given, Score) else f1(given, reference)

    def _words(self, text: str) -> Counter[str]:
        # DSPy's has taken punctuation out, and takes what stands between blanks.
        return Counter(text.split() if self.normalize == "dspy" else re.findall(r"\w+", text))


@dataclass(frozen=True, slots=True, kw_only=True)
class EditDistance(Compared):
    """How similar two texts are: 1 less the letters to be changed, as a share of the longer one."""

    normalize: Normalize = "none"

    @staticmethod
    def lacking() -> str | None:
        """What it needs to run, where that is missing."""
        if importlib.util.find_spec("rapidfuzz") is None:
            return "the package rapidfuzz, of the extra `metrics` (pip install 'dspex[metrics]')"
        return None

    def measure(self, row: Row) -> Score:
        """By Levenshtein's distance; two empty texts are the same."""
        texts = [expected_text(value, path, self.normalize) for path, value in self.wanted(row)]
        self._bound(sum(map(len, texts)), f"example.{self.expected or self.field}")
        return self.best(row, self._compare, self._prepared)

    def _prepared(self, given: Any) -> str | Score:
        text = given_text(given, self.normalize)
        self._bound(0 if isinstance(text, Score) else len(text), f"prediction.{self.field}")
        return text

    def _compare(self, given: str | Score, wanted: Any, path: str) -> Score:
        reference = expected_text(wanted, path, self.normalize)
        if isinstance(given, Score):
            return given
        # Named here, since it is there only with the extra.
        levenshtein: Any = importlib.import_module("rapidfuzz.distance.Levenshtein")
        return Score(score=float(levenshtein.normalized_similarity(given, reference)))

    @staticmethod
    def _bound(count: int, path: str) -> None:
        if count > MAX_DISTANCE_CHARACTERS:
            raise no_score(path, f"at most {MAX_DISTANCE_CHARACTERS} characters in all", f"{count}")


def f1(given: Counter[Any], wanted: Counter[Any]) -> Score:
    """Precision, recall and their harmonic mean, of counted things; of nothing and nothing 1."""
    if not given and not wanted:
        return Score(score=1.0, parts={"precision": Score(score=1.0), "recall": Score(score=1.0)})
    same = sum(min(count, given[thing]) for thing, count in wanted.items())
    precision = same / given.total() if given else 0.0
    recall = same / wanted.total() if wanted else 0.0
    mean = 2 * precision * recall / (precision + recall) if same else 0.0
    return Score(score=mean, parts={"precision": Score(score=precision), "recall": Score(score=recall)})
