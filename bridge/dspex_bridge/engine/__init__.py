"""An engine of ours for DSPy's language models, over HTTP with aiohttp.

For endpoints that speak OpenAI's chat completions. What is said on the wire and how an answer is
read is DSPy's own dialect (`dspy.lm15.OpenAIChatLM`), so that results, usage and errors are
DSPy's; connections, bounds, time and retries are here.

`dialects` says which models are ours; `lm` is the `dspy.LM` around one, `hooks` what DSPy wants of
an engine; `endpoint` makes one request, with `connections` below it; `events`, `replies` and
`retrying` decide and do no I/O.
"""

from .connections import Connections
from .dialects import find_dialect
from .endpoint import ChatEndpoint, Remaining
from .lm import ChatLM
from .retrying import RetryPolicy

__all__ = ("ChatEndpoint", "ChatLM", "Connections", "Remaining", "RetryPolicy", "find_dialect")
