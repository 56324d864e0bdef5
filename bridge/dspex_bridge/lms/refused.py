"""What a provider's HTTP status means, in DSPy's errors, where no dialect of DSPy's reads the reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dspy.clients._http import retry_after_seconds
from dspy.utils.exceptions import (
    LMAuthError,
    LMBillingError,
    LMError,
    LMInvalidRequestError,
    LMRateLimitError,
    LMServerError,
    LMTimeoutError,
)

_BY_STATUS: Final[Mapping[int, type[LMError]]] = {
    **dict.fromkeys((401, 403), LMAuthError),
    402: LMBillingError,
    **dict.fromkeys((408, 504), LMTimeoutError),
    429: LMRateLimitError,
}
"""As DSPy reads them."""


def refused(status: int, headers: Mapping[str, str], **whose: Any) -> LMError:
    """The error of a status that is no success. Not a word of the body: providers quote what they were sent.

    Args:
        status: Of the reply.
        headers: Of the reply, by name in any case.
        whose: `model` and maybe `provider`.
    """
    class_ = _BY_STATUS.get(status) or (LMInvalidRequestError if status < 500 else LMServerError)
    failure: LMError = class_(
        f"the provider answered with status {status}",
        status=status,
        request_id=headers.get("x-request-id"),
        retry_after=retry_after_seconds(headers.get("retry-after")),
        **whose,
    )
    return failure
