"""An experiment as a page: its runs beside each other, and how their metrics went over time."""

from __future__ import annotations

from collections.abc import Sequence

from . import document
from .document import Choice, Column, Group, Plan, Rows, section
from .experiments import MAX_DRAWN, Runs
from .figures import score_text
from .markup import Markup, element
from .plots import lines
from .shapes import Record, text_of


class ExperimentPage:
    """Writes one, piece by piece; its rows are the runs, each with its `points` where they are known.

    Args:
        record: The experiment.
    """

    def __init__(self, record: Record) -> None:
        self._name = text_of(record.get("experiment"))
        self._rows = Rows()
        self._runs = Runs()

    def begin(self) -> str:
        """What stands before the runs."""
        return document.opening(f"Experiment {self._name}") + self._rows.begin()

    def add(self, rows: Sequence[Record]) -> str:
        """Some runs."""
        self._runs.add(rows)
        return self._rows.add([{key: run[key] for key in run if key != "points"} for run in rows])

    def end(self) -> str:
        """All that is seen."""
        return self._rows.end() + document.closing(
            self._plan(),
            element(
                "header",
                element("p", "Experiment", class_="kind"),
                element("h1", self._name or "An experiment"),
                document.facts({"runs": f"{self._runs.total:,}"}),
            ),
            self._best(),
            self._over_time(),
            document.browser(
                "Runs", self._rows.what_is_missing, "Choose a run to see all that is known of it."
            ),
            document.footer("Made by dspex report."),
        )

    def _plan(self) -> Plan:
        metrics = [
            Column(label=name, kind="exact", at=("metrics", name, "last")) for name in self._runs.metrics
        ]
        return Plan(
            noun="runs",
            columns=[
                Column(label="number", kind="number", at=("number",)),
                Column(label="run", kind="text", at=("run",)),
                Column(label="state", kind="text", at=("state",)),
                *metrics,
                *[Column(label=name, kind="text", at=("params", name)) for name in self._runs.params],
                Column(label="begun", kind="text", at=("created",)),
            ],
            choices=[Choice(label="State", at=("state",), none="none")],
            details=[
                Group(title="Note", cells={"": ("note",)}),
                Group(title="Parameters", cells={"": ("params",)}),
                Group(title="Metrics", cells={"": ("metrics",)}, compact=True),
                Group(title="Lineage", cells={"": ("lineage",)}),
                Group(title="Artifacts", cells={"": ("artifacts",)}, compact=True),
            ],
        )

    def _best(self) -> Markup | None:
        if not self._runs.best:
            return None
        rows = [(metric, score_text(value), run) for metric, (run, value) in self._runs.best.items()]
        about = (
            "By last values, the first of those that are alike. Whether a difference means anything is"
            " not said here: that is for a comparison of evaluations."
        )
        return section(
            "Highest",
            document.table(("metric", "last value", "run"), rows, numbers=(1,)),
            element("p", about, class_="dim"),
        )

    def _over_time(self) -> Markup | None:
        figures = [
            element(
                "figure",
                lines(f"{metric} over steps", runs),
                element("figcaption", element("b", metric), _legend(runs)),
            )
            for metric, runs in self._runs.over_time.items()
        ]
        if not figures:
            return None
        about = f"Of the first {MAX_DRAWN} runs that have values over time, numbered as below each drawing."
        return section(
            "Over time", element("p", about, class_="dim"), element("div", *figures, class_="plots")
        )


def _legend(runs: Sequence[tuple[str, object]]) -> str:
    return " · " + ", ".join(f"{n}: {name}" for n, (name, _) in enumerate(runs, 1))
