"""The numbers of the wire, each with its reason; docs/protocol.md section 8 is the same list."""

from collections.abc import Mapping
from typing import Final

PROTOCOL: Final = "dspex"
VERSION: Final = 1

# Images and audio fit; a single frame cannot hold the line for long.
MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
# The least that a peer may announce: an envelope at its limit and a small payload.
MIN_MAX_FRAME_BYTES: Final = 4096
# A longer frame than the limit is drained up to this factor; beyond it the length is
# almost certainly text that something printed on the wire ("Hell" reads as 1.2 GB).
DRAIN_FACTOR: Final = 16

# A router's work per frame is bounded by this, whatever the payload.
MAX_ENVELOPE_BYTES: Final = 4096
MAX_META_ENTRIES: Final = 64
MAX_METHOD_BYTES: Final = 128
MAX_ID: Final = 2**63 - 1

# Far from every decoder's stack (msgpack's C stack ends at 1,024, Python's at about 1,000).
MAX_DEPTH: Final = 64
# A 16 MiB frame of empty maps would cost 1.1 GB in every msgpack library measured.
MAX_ITEMS: Final = 1_048_576
MAX_BIG_INTEGER_BYTES: Final = 4096
MAX_DECIMAL_BYTES: Final = 1024
MAX_TENSOR_RANK: Final = 32
MAX_NAME_BYTES: Final = 128
MAX_TAG_BYTES: Final = 64

# A call without a deadline could wait for ever.
DEFAULT_DEADLINE_MS: Final = 120_000
MAX_DEADLINE_MS: Final = 86_400_000
MAX_CREDIT: Final = 1_000_000
# Each level of callback holds a task in a worker.
MAX_CALLBACK_DEPTH: Final = 8
# With the credit that a worker gives, this bounds what may wait of a function's stream: a few
# tokens of text come at a time, never a picture.
MAX_CALLBACK_ITEM_BYTES: Final = 65_536
MAX_FUNCTIONS: Final = 1024

# Media as bytes. The largest that the providers of language models take in a request; what is
# larger goes there first, and is named by its URL or its id.
MEDIA_BYTES: Final[Mapping[str, int]] = {
    "image": 20 * 1024 * 1024,
    "audio": 25 * 1024 * 1024,
    "file": 32 * 1024 * 1024,
    "document": 32 * 1024 * 1024,
}
