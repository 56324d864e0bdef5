"""What libraries log in a worker, without secrets: it ends in the supervisor's log and with the host.

DSPy, LiteLLM and the HTTP clients log errors of providers, which may quote the request. Every
record of Python's logging comes by here, whoever made it and whatever handler writes it.
"""

from __future__ import annotations

import logging
from typing import Any

from ..failures import redact


def install() -> None:
    """Let nothing be logged from now on that `redact` knows for a secret."""
    make = logging.getLogRecordFactory()

    def make_redacted(*args: Any, **kwargs: Any) -> logging.LogRecord:
        return _redacted(make(*args, **kwargs))

    logging.setLogRecordFactory(make_redacted)
    # It logs as errors what a model's code said, which is the host's data; the model is told, and goes on.
    logging.getLogger("dspy.predict.program_of_thought").setLevel(logging.CRITICAL)


def _redacted(record: logging.LogRecord) -> logging.LogRecord:
    try:
        text = record.getMessage()
    except Exception:
        # Whoever logged mistook the format; logging will say so, without the arguments.
        text = str(record.msg)
    record.msg, record.args = redact(text), ()
    if record.exc_info and record.exc_info[0] is not None:
        # A handler writes this text rather than make its own.
        record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
    return record
