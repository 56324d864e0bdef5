"""Signature classes that differ from another one in words only: instructions, prefixes, descriptions.

That is what a state of DSPy's changes, and what optimizers write. DSPy builds a whole pydantic
class for it, about half a millisecond for each predictor of each version. Nothing that pydantic
makes of a class depends on those words, so here the new class inherits all of it, and only the
table of fields is its own. A test holds that DSPy sees no difference.
"""

from __future__ import annotations

import abc
import copy
import functools
from typing import Any, Final, TypeAlias

import dspy
from dspy.signatures.signature import SignatureMeta

FieldWords: TypeAlias = tuple[str, str]
"""Prefix and description of a field."""

MAX_CACHED: Final = 1024
"""Classes kept, of about 3 kB each: versions of a program mostly differ in their demos."""


def words_of(signature: type[dspy.Signature]) -> tuple[FieldWords, ...]:
    """What a signature says of its fields, inputs first."""
    fields: Any = signature.fields
    extras = [field.json_schema_extra for field in fields.values()]
    return tuple((extra["prefix"], extra["desc"]) for extra in extras)


@functools.lru_cache(maxsize=MAX_CACHED)
def retold(
    signature: type[dspy.Signature], instructions: str, words: tuple[FieldWords, ...]
) -> type[dspy.Signature]:
    """The same signature in other words.

    Args:
        signature: Stays as it is.
        instructions: Become those of the new class to the letter. DSPy's own `load_state` and
            `with_instructions` take indentation away from all lines but the first.
        words: As many as the signature has fields, in the order of `signature.fields`.

    Returns:
        The signature itself where it says just that already.
    """
    if instructions == signature.instructions and words == words_of(signature):
        return signature
    fields = dict(signature.model_fields)
    for name, (prefix, description) in zip(signature.fields, words, strict=True):
        fields[name] = _reworded(fields[name], prefix, description)
    namespace = {
        "__module__": signature.__module__,
        "__qualname__": signature.__qualname__,
        # What `inspect.cleandoc` makes of a text that begins with an empty line is that text.
        "__doc__": f"\n{instructions}",
        "__pydantic_fields__": fields,
    }
    # Past pydantic's metaclass, which would build its schemas and validators anew.
    built: Any = abc.ABCMeta.__new__(SignatureMeta, signature.__name__, (signature,), namespace)
    retold_signature: type[dspy.Signature] = built
    return retold_signature


def _reworded(field: Any, prefix: str, description: str) -> Any:
    copied = copy.copy(field)
    copied.json_schema_extra = {**field.json_schema_extra, "prefix": prefix, "desc": description}
    return copied
