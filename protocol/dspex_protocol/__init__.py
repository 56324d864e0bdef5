"""The words on the wire: frames, envelopes, values, errors and states. No I/O.

General layout: `limits` and `errors` stand alone; `frame` and `envelope` are what a
router needs; `extensions`, `scan` and `codec` are values; `records` turns maps into
typed records; `handshake`, `failure` and `states` say what a conversation looks like.
"""

from .codec import decode_value as decode_value
from .codec import encode_value as encode_value
from .envelope import CALL as CALL
from .envelope import CANCEL as CANCEL
from .envelope import CREDIT as CREDIT
from .envelope import FAIL as FAIL
from .envelope import ITEM as ITEM
from .envelope import NIL as NIL
from .envelope import NOTE as NOTE
from .envelope import REPLY as REPLY
from .envelope import Envelope as Envelope
from .envelope import Kind as Kind
from .envelope import Meta as Meta
from .envelope import Scalar as Scalar
from .envelope import decode_envelope as decode_envelope
from .envelope import encode as encode
from .errors import CODES as CODES
from .errors import CallerError as CallerError
from .errors import DSPexError as DSPexError
from .errors import Fault as Fault
from .errors import ProgramError as ProgramError
from .errors import ServiceError as ServiceError
from .errors import WireError as WireError
from .errors import error as error
from .errors import invalid_argument as invalid_argument
from .extensions import FunctionReference as FunctionReference
from .extensions import Pairs as Pairs
from .extensions import Tagged as Tagged
from .extensions import Tensor as Tensor
from .failure import decode_failure as decode_failure
from .failure import encode_failure as encode_failure
from .frame import FrameDecoder as FrameDecoder
from .frame import Oversized as Oversized
from .frame import encode_frame as encode_frame
from .handshake import Hello as Hello
from .handshake import LMConfig as LMConfig
from .handshake import Welcome as Welcome
from .handshake import read_hello as read_hello
from .outbox import Outbox as Outbox
