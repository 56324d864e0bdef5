"""What goes wrong while an optimizer runs, and the metric's calls, counted: DSPy tells of neither."""

from __future__ import annotations

import threading
from typing import Any

from dspex_protocol.errors import DSPexError

from ..metrics.called import CalledMetric
from .telling import Teller


class Failures:
    """Of one sort: how many, and one of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._least: tuple[str, str] | None = None

    def add(self, code: str, message: str) -> None:
        """Another one; from any thread."""
        with self._lock:
            self._count += 1
            # The least, and not the first: which thread was first may be another one the next time.
            self._least = min(self._least or (code, message), (code, message))

    def told(self) -> dict[str, object] | None:
        """How many, and one of them; None where there were none."""
        if self._least is None:
            return None
        code, message = self._least
        return {"count": self._count, "code": code, "message": message}


class Counted:
    """A metric whose calls, and failures, are counted."""

    def __init__(self, metric: CalledMetric, teller: Teller, failures: Failures) -> None:
        self._metric = metric
        self._teller = teller
        self._failures = failures

    def __call__(
        self,
        example: Any,
        prediction: Any,
        trace: Any = None,
        pred_name: str | None = None,
        pred_trace: Any = None,
    ) -> Any:
        """As the metric.

        Raises:
            DSPexError: as the metric.
        """
        self._teller.counted()
        try:
            return self._metric(example, prediction, trace, pred_name, pred_trace)
        except DSPexError as failure:
            self._failures.add(failure.code, failure.message)
            raise
