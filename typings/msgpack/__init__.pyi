"""The part of msgpack that we use; the package comes without types."""

from collections.abc import Callable
from typing import Any, NamedTuple

class ExtType(NamedTuple):
    code: int
    data: bytes

class ExtraData(ValueError):
    unpacked: object
    extra: bytes

class OutOfData(Exception): ...

class Packer:
    def __init__(
        self,
        *,
        default: Callable[[object], object] | None = None,
        use_single_float: bool = False,
        use_bin_type: bool = True,
        strict_types: bool = False,
        datetime: bool = False,
    ) -> None: ...
    def pack(self, obj: object) -> bytes: ...
    def pack_array_header(self, size: int) -> bytes: ...
    def pack_map_header(self, size: int) -> bytes: ...

class Unpacker:
    def __init__(
        self,
        *,
        raw: bool = False,
        strict_map_key: bool = True,
        object_pairs_hook: Callable[[list[tuple[object, object]]], object] | None = None,
        ext_hook: Callable[[int, bytes], object] = ...,
        timestamp: int = 0,
        max_buffer_size: int = ...,
        max_str_len: int = -1,
        max_bin_len: int = -1,
        max_array_len: int = -1,
        max_map_len: int = -1,
        max_ext_len: int = -1,
    ) -> None: ...
    def feed(self, next_bytes: bytes) -> None: ...
    # Any: the caller unpacks the parts of an envelope and checks each.
    def unpack(self) -> Any: ...
    def tell(self) -> int: ...
    def skip(self) -> None: ...
    def read_array_header(self) -> int: ...
    def read_map_header(self) -> int: ...

def packb(
    o: object,
    *,
    default: Callable[[object], object] | None = None,
    strict_types: bool = False,
    datetime: bool = False,
) -> bytes: ...
def unpackb(
    packed: bytes,
    *,
    raw: bool = False,
    strict_map_key: bool = True,
    object_pairs_hook: Callable[[list[tuple[object, object]]], object] | None = None,
    ext_hook: Callable[[int, bytes], object] = ...,
    timestamp: int = 0,
) -> object: ...
