"""What becomes of a run by what is said of it. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from dspex_pool.store import Append
from dspex_protocol import encode_value, invalid_argument

from .operations import MAX_ARTIFACT_BYTES, MAX_ARTIFACTS, MAX_NAMES, MAX_TEXT, Point
from .records import Artifact, Metric, Run
from .refusals import run_ended

_NAME_CHARACTERS: Final = 128
_SCALARS: Final = (str, int, float, bool, type(None))


def check_entries(entries: Mapping[str, object], path: str) -> None:
    """Refuse what is no map of names to plain values.

    Raises:
        CallerError: `invalid_argument` naming the entry.
    """
    for name, value in entries.items():
        where = f"{path}.{name[:_NAME_CHARACTERS]}"
        if not 1 <= len(name) <= _NAME_CHARACTERS:
            raise invalid_argument(path, f"names of 1 to {_NAME_CHARACTERS} characters", name)
        if not isinstance(value, _SCALARS):
            raise invalid_argument(where, "a text, a number or a boolean", value)
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise invalid_argument(where, f"a text of at most {MAX_TEXT} characters", f"{len(value)} of them")


def check_open(run: Run) -> None:
    """Refuse to say more of a run that has ended.

    Raises:
        CallerError: `invalid_argument`.
    """
    if run.state != "open":
        raise run_ended(run.run, run.state)


def with_entries(run: Run, params: Mapping[str, object], lineage: Mapping[str, object]) -> Run:
    """The run with more parameters and lineage; what is said again replaces what was said before.

    Raises:
        CallerError: `invalid_argument` for too many.
    """
    grown = replace(run, params={**run.params, **params}, lineage={**run.lineage, **lineage})
    for path, entries in (("params", grown.params), ("lineage", grown.lineage)):
        if len(entries) > MAX_NAMES:
            raise invalid_argument(path, f"at most {MAX_NAMES} of a run", f"{len(entries)} of them")
    return grown


def with_points(run: Run, points: Sequence[Point], now_ms: int) -> tuple[Run, Append | None]:
    """The run with values of its metrics, and the entry that has them.

    Raises:
        CallerError: `invalid_argument` for a value that is no number, and for too many metrics.
    """
    for at, point in enumerate(points):
        if not math.isfinite(point.value):
            raise invalid_argument(f"points[{at}].value", "a finite number", point.value)
    names = run.metrics.keys() | {point.name for point in points}
    if len(names) > MAX_NAMES:
        raise invalid_argument("points", f"at most {MAX_NAMES} metrics of a run", f"{len(names)} of them")
    return with_timed_points(run, [(point, now_ms) for point in points])


def with_timed_points(run: Run, points: Sequence[tuple[Point, int]]) -> tuple[Run, Append | None]:
    """The same with sound values, each with when it was said."""
    if not points:
        return run, None
    metrics, rows = dict(run.metrics), list[list[object]]()
    for point, at_ms in points:
        metrics[point.name] = after = _grown(metrics.get(point.name), point)
        rows.append([point.name, after.step, float(point.value), at_ms])
    entry = Append(journal=run.points_journal, body=encode_value(rows), after=run.entries)
    return replace(run, metrics=metrics, entries=run.entries + 1), entry


def _grown(before: Metric | None, point: Point) -> Metric:
    value = float(point.value)
    if before is None:
        return Metric(last=value, step=point.step or 0, least=value, most=value, points=1)
    return Metric(
        last=value,
        step=before.step + 1 if point.step is None else point.step,
        least=min(before.least, value),
        most=max(before.most, value),
        points=before.points + 1,
    )


def with_artifact(run: Run, name: str, content: object, media_type: str | None) -> tuple[Run, Append]:
    """The run with something that it has made, and the entry that has it.

    Raises:
        CallerError: `invalid_argument` for what is neither text nor bytes, or too much.
    """
    if not isinstance(content, str | bytes):
        raise invalid_argument("content", "text or bytes", content)
    body = content.encode() if isinstance(content, str) else content
    if len(body) > MAX_ARTIFACT_BYTES:
        raise invalid_argument("content", f"at most {MAX_ARTIFACT_BYTES} bytes", f"{len(body)} bytes")
    made = Artifact(
        entry=run.attached + 1,
        media_type=media_type or ("text/plain" if isinstance(content, str) else "application/octet-stream"),
        size_bytes=len(body),
        sha256=hashlib.sha256(body).digest(),
        is_text=isinstance(content, str),
    )
    artifacts = {**run.artifacts, name: made}
    if len(artifacts) > MAX_ARTIFACTS:
        raise invalid_argument("name", f"at most {MAX_ARTIFACTS} artifacts of a run", name)
    entry = Append(journal=run.artifacts_journal, body=body, after=run.attached)
    return replace(run, artifacts=artifacts, attached=run.attached + 1), entry


def ended(run: Run, state: str, now_ms: int) -> Run:
    """The run at its end."""
    return replace(run, state=state, ended_ms=now_ms)


def sorted_runs(runs: Sequence[Run], metric: str | None, *, lowest: bool) -> list[Run]:
    """The newest first, or those first whose metric is best; runs without that metric are last.

    Of equal ones the older is first: whoever reached a value first keeps its place.
    """
    if metric is None:
        return sorted(runs, key=lambda run: run.number, reverse=not lowest)

    def place(run: Run) -> tuple[bool, float, int]:
        found = run.metrics.get(metric)
        value = 0.0 if found is None else found.last
        return found is None, value if lowest else -value, run.number

    return sorted(runs, key=place)
