"""REPORTS: records as a page, as Markdown, as JSON and as CSV. Pure functions, records in and text out.

    subject ──► writer ──► begin ──► add, add, … (rows as they are read) ──► end         text in pieces

`subjects` says of what there is a report, and has the writers by format. `document` is the page that
all HTML reports are, with its policy, and `page/` has its style and script; `evaluation_page`,
`comparison_page`, `job_page` and `experiment_page` say what stands in it, drawn by `plots`. Text of
records gets into a page in two ways only: `markup` escapes it, or makes it JSON that the script shows
as text. `marks` shows characters that hide or steer. `shapes`, `evaluations`, `comparisons`,
`experiments`, `trials` and `tally` read records; `figures`, `comparing`, `evaluation_words` and
`job_words` say what is in them.
"""

from .subjects import (
    FORMATS,
    MEDIA_TYPES,
    OfComparison,
    OfEvaluation,
    OfExperiment,
    OfJob,
    Subject,
    Writer,
    writer_of,
)

__all__ = [
    "FORMATS",
    "MEDIA_TYPES",
    "OfComparison",
    "OfEvaluation",
    "OfExperiment",
    "OfJob",
    "Subject",
    "Writer",
    "writer_of",
]
