"""Values that fit a JSON schema: a schema becomes a function of a random source, once.

Texts begin with `sim`, so that nobody takes them for a model's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from random import Random
from typing import Final, TypeAlias, cast
from uuid import UUID

from .pattern import matching
from .typenames import Schema

Maker: TypeAlias = Callable[[Random], object]

# fmt: off
_PLAIN_WORDS: Final[tuple[str, ...]] = (
    "river", "lantern", "copper", "meadow", "signal", "harbor", "violet", "granite", "ember",
    "willow", "compass", "orchard", "saddle", "thunder", "velvet", "marble", "cinder", "falcon",
    "ribbon", "prairie", "timber", "quartz", "anchor", "clover", "drift", "hollow", "jasper",
    "kettle", "linen", "mosaic", "nectar", "opal", "pepper", "quill", "raven",
)
# What parsers, escapes and encodings trip over, so that it is seen here and not in production.
_AWKWARD_WORDS: Final[tuple[str, ...]] = (
    "café", "naïve", "São-Paulo", "東京", '"quoted"', "R&D", "a<b", "3.5%", "it's", "—", "…",
)
# fmt: on
_WORDS: Final[tuple[str, ...]] = (*_PLAIN_WORDS, *_AWKWARD_WORDS)
_DEEPEST: Final = 5  # a schema that refers to itself ends here
_CODE: Final = '```python\nprint("sim")\n```'


def maker(schema: Schema, definitions: Schema | None = None, depth: int = 0) -> Maker:
    """A function that makes values fitting `schema`.

    Args:
        schema: A JSON schema; `{}` stands for a value of unknown type.
        definitions: What `$ref` refers to.
        depth: How many objects and arrays are around it.
    """
    definitions = cast(Schema, schema.get("$defs") or definitions or {})
    if "$ref" in schema:
        target = definitions.get(str(schema["$ref"]).rpartition("/")[2], {})
        return maker({**cast(Schema, target), "$defs": definitions}, definitions, depth)
    if "const" in schema:
        value = schema["const"]
        return lambda random: value
    if "enum" in schema:
        values = cast("list[object]", schema["enum"])
        return lambda random: random.choice(values)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return _choice(cast("list[Schema]", schema[word]), definitions, depth)
    if "allOf" in schema:
        merged: Schema = {key: value for key, value in schema.items() if key != "allOf"}
        for part in cast("list[Schema]", schema["allOf"]):
            merged.update(part)
        return maker(merged, definitions, depth)
    return _typed(schema, definitions, depth)


def _typed(schema: Schema, definitions: Schema, depth: int) -> Maker:
    kind = schema.get("type")
    if isinstance(kind, list):
        choices = [{**schema, "type": one} for one in cast("list[object]", kind)]
        return _choice(choices, definitions, depth)
    match kind:
        case "string":
            return _string(schema)
        case "integer":
            return _integer(schema)
        case "number":
            return _number(schema)
        case "boolean":
            return lambda random: random.random() < 0.5
        case "null":
            return lambda random: None
        case "array":
            return _array(schema, definitions, depth)
        case "object":
            return _object(schema, definitions, depth)
        case _:
            # Digits are what most types of unknown name accept: text, whole and other numbers.
            return lambda random: str(random.randint(1, 9))


def _choice(choices: list[Schema], definitions: Schema, depth: int) -> Maker:
    """One of several schemas; the ones whose values no adapter can take for another come first."""
    if depth >= _DEEPEST:
        simple = [choice for choice in choices if choice.get("type") not in ("array", "object", None)]
        choices = simple or choices
    exact = [choice for choice in choices if choice.get("type") not in ("string", "null")]
    texts = [choice for choice in choices if choice.get("type") == "string"]
    nothing = [choice for choice in choices if choice.get("type") == "null"]
    # Where texts are allowed, the text "null" would be read as a text.
    kept = exact + nothing if exact and not texts else exact or texts or nothing
    makers = [maker(choice, definitions, depth) for choice in kept]
    return lambda random: random.choice(makers)(random)


def _string(schema: Schema) -> Maker:
    made = _FORMATS.get(str(schema.get("format", "")))
    if made is not None:
        return made
    low = cast(int, schema.get("minLength", 0))
    high = cast("int | None", schema.get("maxLength"))
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        return lambda random: _patterned(pattern, random, low, high)
    if not low and high is None:
        return text
    return lambda random: _fit(text(random), low, high)


def text(random: Random) -> str:
    """Some words, beginning with `sim`, sometimes on several lines."""
    words: list[str] = random.choices(_WORDS, k=random.randint(5, 16))
    if len(words) > 12:
        words[8] = words[8] + ".\n"
    return "sim: " + " ".join(words)


def _patterned(pattern: str, random: Random, low: int, high: int | None) -> str:
    for _ in range(50):
        made = matching(pattern, random)
        if made is not None and low <= len(made) and (high is None or len(made) <= high):
            return made
    return _fit("sim", low, high)


def _fit(value: str, low: int, high: int | None) -> str:
    while len(value) < low:
        value += " sim"
    fitted = value[: high if high is not None and len(value) > high else None].rstrip()
    # Adapters strip what they read; an end in white space would be one character short.
    return fitted + "." * (low - len(fitted))


def _integer(schema: Schema) -> Maker:
    step = max(1, int(cast(float, schema.get("multipleOf", 1))))
    low, high = _bounds(schema, 1)
    smallest = math.ceil((low if low is not None else (min(0, high - 100) if high is not None else 0)) / step)
    largest = math.floor((high if high is not None else max(100, smallest * step + 100)) / step)
    return lambda random: random.randint(smallest, max(smallest, largest)) * step


def _number(schema: Schema) -> Maker:
    step = cast("float | None", schema.get("multipleOf"))
    if step:
        low, high = _bounds(schema, step)
        smallest = math.ceil((low if low is not None else 0) / step - 1e-9)
        largest = math.floor(high / step + 1e-9) if high is not None else smallest + 10
        return lambda random: random.randint(smallest, max(smallest, largest)) * step
    low, high = _bounds(schema, 0)
    start = low if low is not None else (high - 1 if high is not None else 0.0)
    width = (high if high is not None else start + 1) - start
    open_end = "exclusiveMinimum" in schema or "exclusiveMaximum" in schema
    digits = max(2, 3 - math.floor(math.log10(width))) if width > 0 else 15

    def make(random: Random) -> float:
        share = 0.05 + 0.9 * random.random() if open_end else random.random()
        return round(start + width * share, digits) if width > 0 else float(start)

    return make


def _bounds(schema: Schema, step: float) -> tuple[float | None, float | None]:
    """The smallest and largest value; exclusive limits are moved inwards by `step`."""
    lows = [cast(float, schema["minimum"])] if "minimum" in schema else []
    highs = [cast(float, schema["maximum"])] if "maximum" in schema else []
    if "exclusiveMinimum" in schema:
        above = cast(float, schema["exclusiveMinimum"])
        lows.append(
            (math.floor(above) + 1) if step == 1 else (math.floor(above / step) + 1) * step if step else above
        )
    if "exclusiveMaximum" in schema:
        below = cast(float, schema["exclusiveMaximum"])
        highs.append(
            (math.ceil(below) - 1) if step == 1 else (math.ceil(below / step) - 1) * step if step else below
        )
    return (max(lows) if lows else None), (min(highs) if highs else None)


def _array(schema: Schema, definitions: Schema, depth: int) -> Maker:
    if "prefixItems" in schema:
        parts = [maker(part, definitions, depth + 1) for part in cast("list[Schema]", schema["prefixItems"])]
        return lambda random: [part(random) for part in parts]
    low = cast(int, schema.get("minItems", 0))
    high = cast(int, schema.get("maxItems", low + 2))
    if depth >= _DEEPEST:
        high = low
    elif low == 0 and high > 0:
        low = 1
    item = maker(cast(Schema, schema.get("items") or {}), definitions, depth + 1)
    unique = bool(schema.get("uniqueItems"))

    def make(random: Random) -> list[object]:
        made = [item(random) for _ in range(random.randint(low, max(low, high)))]
        return [value for at, value in enumerate(made) if value not in made[:at]] if unique else made

    return make


def _object(schema: Schema, definitions: Schema, depth: int) -> Maker:
    properties = cast("dict[str, Schema]", schema.get("properties") or {})
    required = cast("list[str]", schema.get("required") or [])
    kept = {name: part for name, part in properties.items() if depth < _DEEPEST or name in required}
    makers = [(name, maker(part, definitions, depth + 1)) for name, part in kept.items()]
    others = schema.get("additionalProperties")
    if properties or not others or depth >= _DEEPEST:
        return lambda random: {name: make(random) for name, make in makers}
    return _map(schema, others if isinstance(others, dict) else {}, definitions, depth)  # pyright: ignore[reportUnknownArgumentType]


def _map(schema: Schema, values: Schema, definitions: Schema, depth: int) -> Maker:
    names = cast(Schema, schema.get("propertyNames") or {})
    names = {**cast(Schema, definitions.get(str(names.get("$ref", "")).rpartition("/")[2], {})), **names}
    keys = cast("list[str]", names.get("enum") or ["1", "2", "3"])
    if not names:
        keys = ["sim_a", "sim_b", "sim_c"]
    value = maker(values, definitions, depth + 1)
    low = cast(int, schema.get("minProperties", 1))
    return lambda random: {
        str(key): value(random) for key in keys[: random.randint(low, max(low, len(keys)))]
    }


def _moment(random: Random) -> datetime:
    return datetime(2026, 1, 1) + timedelta(seconds=random.randint(0, 365 * 86400 - 1))


def _uuid(random: Random) -> str:
    return str(UUID(int=random.getrandbits(128), version=4))


_FORMATS: Final[dict[str, Maker]] = {
    "date": lambda random: date.isoformat(_moment(random)),
    "date-time": lambda random: _moment(random).isoformat(),
    "time": lambda random: time.isoformat(_moment(random).time()),
    "duration": lambda random: f"PT{random.randint(1, 59)}M",
    "uuid": _uuid,
    "binary": lambda random: f"sim{random.randint(0, 999)}",
    "code": lambda random: _CODE,
    "email": lambda random: f"sim{random.randint(0, 99)}@example.org",
    "uri": lambda random: f"https://example.org/sim/{random.randint(0, 99)}",
}
