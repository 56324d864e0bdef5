"""Values of the protocol as JSON and back, for what people type and programs read.

JSON has no bytes and no dates. What it lacks is an object with one key that starts with
`$`: `{"$base64": "AAE="}`, `{"$decimal": "0.10"}`, and `$` with the tag for tagged values,
`{"$date": "2026-01-31"}`, `{"$prediction": {"fields": …}}`.
"""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final, cast

from dspex_protocol import FunctionReference, Pairs, Tagged, Tensor, WireError, invalid_argument
from dspex_protocol.extensions import read_tagged, read_tensor, write_tagged

# Python refuses to read more than 4,300 decimal digits, and writing them takes time that grows
# with their square; longer integers are hexadecimal.
_DECIMAL_BITS: Final = 8192


def to_json(value: object) -> object:
    """A value as what `json.dumps` can write.

    Raises:
        TypeError: for what is no value of the protocol.
    """
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if value.bit_length() <= _DECIMAL_BITS else {"$integer": hex(value)}
        case float():
            return value if math.isfinite(value) else {"$float": str(value)}
        case bytes():
            return {"$base64": base64.b64encode(value).decode()}
        case list():
            return [to_json(item) for item in cast("list[object]", value)]
        case dict() if not isinstance(value, Pairs):
            return _map_to_json(cast("dict[str, object]", value))
        case _:
            return _extension_to_json(value)


def _map_to_json(value: dict[str, object]) -> object:
    written = {key: to_json(item) for key, item in value.items()}
    if len(written) == 1 and next(iter(written)).startswith("$"):
        return {"$map": [[key, item] for key, item in written.items()]}
    return written


def _extension_to_json(value: object) -> object:
    match value:
        case Decimal():
            return {"$decimal": str(value)}
        case dt.datetime() if value.tzinfo is not None:
            return {"$timestamp": value.isoformat()}
        case Tensor():
            return {"$tensor": [value.dtype, list(value.shape), to_json(value.data)]}
        case FunctionReference():
            return {"$function": value.name}
        case _:
            tagged = write_tagged(value)
    if tagged is None:
        raise TypeError(f"{type(value).__name__} is no value of the protocol")
    tag, content = tagged
    name = f"${tag}"
    return {"$tagged": [tag, to_json(content)]} if name in _READERS else {name: to_json(content)}


def from_json(written: object, path: str = "") -> object:
    """The value that a piece of JSON stands for.

    Args:
        written: The piece.
        path: Where it stands, for errors.

    Raises:
        CallerError: `invalid_argument` where the content of a `$` object does not fit it.
    """
    match written:
        case list():
            items = cast("list[object]", written)
            return [from_json(item, f"{path}[{at}]") for at, item in enumerate(items)]
        case dict():
            return _map_from_json(cast("dict[str, object]", written), path)
        case _:
            return written


def _map_from_json(written: Mapping[str, object], path: str) -> object:
    name = next(iter(written), "")
    if len(written) != 1 or not name.startswith("$"):
        return {key: from_json(item, _below(path, key)) for key, item in written.items()}
    content, inside = written[name], _below(path, name)
    reader = _READERS.get(name)
    try:
        return reader(content, inside) if reader else read_tagged([name[1:], from_json(content, inside)])
    except (ValueError, TypeError, AttributeError, InvalidOperation, WireError) as reason:
        raise invalid_argument(inside, f"content that fits it ({reason})", content) from None


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _tensor(content: object, path: str) -> object:
    dtype, shape, data = cast("list[object]", content)
    return read_tensor([dtype, shape, from_json(data, path)])


def _map(content: object, path: str) -> dict[str, object]:
    pairs = cast("list[tuple[str, object]]", content)
    return {_text(key): from_json(item, _below(path, key)) for key, item in pairs}


def _tagged(content: object, path: str) -> object:
    tag, inside = cast("tuple[str, object]", content)
    return Tagged(_text(tag), from_json(inside, path))


def _timestamp(content: object) -> dt.datetime:
    moment = dt.datetime.fromisoformat(_text(content))
    if moment.tzinfo is None:
        raise ValueError("an offset, such as +00:00, is missing")
    return moment


def _text(content: object) -> str:
    if not isinstance(content, str):
        raise TypeError("a string")
    return content


_READERS: Final[Mapping[str, Callable[[object, str], object]]] = {
    "$base64": lambda content, _: base64.b64decode(_text(content), validate=True),
    "$decimal": lambda content, _: Decimal(_text(content)),
    "$float": lambda content, _: float(_text(content)),
    "$function": lambda content, _: FunctionReference(_text(content)),
    "$integer": lambda content, _: int(_text(content), 16),
    "$map": _map,
    "$tagged": _tagged,
    "$tensor": _tensor,
    "$timestamp": lambda content, _: _timestamp(content),
}
