"""The seam at which a job's requests are answered: beneath all of DSPy, above every client.

A language model that has a journal does not ask by itself; the journal decides whether it must, and
asks it bare. What a request is, and so which requests are the same, is said here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

import pydantic
from dspy.clients.call_result import attributes
from dspy.utils import exceptions
from dspy.utils.exceptions import LMError

from dspex_protocol import error

from ..failures import redact, to_failure
from .accounts import Account

if TYPE_CHECKING:
    from .answering import CountingLM
    from .embedding import Vectors, VectorSource


class Journal(Protocol):
    """What answers in place of language models. Their methods may be called from any thread."""

    def ask(self, lm: CountingLM, prompt: Any, messages: Any, options: Mapping[str, Any]) -> list[Any]:
        """The outputs for a request, in a thread that may wait."""
        ...

    async def aask(self, lm: CountingLM, prompt: Any, messages: Any, options: Mapping[str, Any]) -> list[Any]:
        """The outputs for a request, on the event loop."""
        ...

    async def vectors(
        self, source: VectorSource, account: Account, texts: Sequence[str], config: Mapping[str, object]
    ) -> Vectors:
        """The vectors of texts, on the event loop."""
        ...


_bare: ContextVar[object] = ContextVar("dspex_bare_lm", default=None)


def journal_of(lm: CountingLM) -> Journal | None:
    """What answers in place of a language model; None where it is to ask by itself."""
    return None if _bare.get() is lm else lm.journal


@contextmanager
def bare(lm: CountingLM) -> Generator[None]:
    """A language model asks by itself in here. It stays the same object, by which DSPy knows it."""
    token = _bare.set(lm)
    try:
        yield
    finally:
        _bare.reset(token)


class JournaledVectors:
    """A source of vectors that asks through a journal."""

    def __init__(self, source: VectorSource, account: Account, journal: Journal) -> None:
        self._source = source
        self._account = account
        self._journal = journal

    async def embed(self, texts: list[str], config: Mapping[str, object]) -> Vectors:
        """As the source."""
        return await self._journal.vectors(self._source, self._account, texts, config)


def request_key(lm: CountingLM, prompt: Any, messages: Any, options: Mapping[str, Any]) -> bytes:
    """32 bytes that are the same for the same request: all that its answer may depend on.

    `rollout_id` is of it, which DSPy gives to requests that want another answer to the same words.
    """
    effective = {name: value for name, value in {**lm.kwargs, **options}.items() if value is not None}
    said = {"lm": lm.account.label, "model": lm.model, "prompt": prompt, "messages": messages}
    return _digest({**said, "options": effective})


def vectors_key(account: Account, texts: Sequence[str], config: Mapping[str, object]) -> bytes:
    """The same for a request for vectors."""
    return _digest({"vectors": account.label, "model": account.model, "texts": texts, "options": config})


def _digest(request: Mapping[str, Any]) -> bytes:
    text = json.dumps(request, sort_keys=True, ensure_ascii=False, default=_plain)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _plain(value: Any) -> object:
    if isinstance(value, type) and issubclass(value, pydantic.BaseModel):
        return value.model_json_schema()
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    raise error("internal", f"a request with a {type(value).__name__} in it cannot be kept for a job")


def kept_outputs(outputs: Sequence[Any]) -> object:
    """What DSPy got, as a value that can be kept.

    Raises:
        DSPexError: `internal` for what is more than texts and maps.
    """
    return {"outputs": [_kept(output) for output in outputs]}


def _kept(output: Any) -> object:
    if isinstance(output, Mapping):
        return {str(name): _kept(part) for name, part in output.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(output, list | tuple):
        return [_kept(part) for part in output]  # pyright: ignore[reportUnknownVariableType]
    if output is None or isinstance(output, str | int | float | bool):
        return output
    raise error("internal", f"an answer with a {type(output).__name__} in it cannot be kept for a job")


def kept_failure(failure: LMError) -> object:
    """What a language model refused with, as a value that can be kept; without secrets."""
    return {
        "raised": type(failure).__name__,
        "failure": to_failure(failure).code,
        "message": redact(failure.message),
        "status": failure.status,
        "code": failure.code,
    }


def is_refusal(kept: object) -> bool:
    """Whether what was kept is what a language model refused with."""
    return isinstance(kept, dict) and "raised" in kept


def read_outputs(kept: Any, model: str) -> list[Any]:
    """What was kept, as DSPy got it.

    Raises:
        LMError: what the language model refused with.
    """
    if is_refusal(kept):
        class_: Any = getattr(exceptions, kept["raised"], LMError)
        raise class_(kept["message"], model=model, status=kept["status"], code=kept["code"])
    return [attributes(output) for output in kept["outputs"]]
