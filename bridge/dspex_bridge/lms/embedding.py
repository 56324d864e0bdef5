"""Texts to vectors: by an offline model, by a function of the host, or by a provider.

Where a provider speaks OpenAI's `/embeddings`, it is asked directly. DSPy's own way to hosted
models, `dspy.Embedder`, goes through LiteLLM, which costs 2.4 s and 170 MB to load; it is taken
for all other providers, where LiteLLM is installed.
"""

from __future__ import annotations

import array
import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import dspy
from dspy.utils.exceptions import (
    LMError,
    LMServerError,
    LMTimeoutError,
    LMTransportError,
    is_retryable_lm_error,
)

from dspex_protocol import Tensor, error
from dspex_protocol.errors import describe_value

from ..host_functions import HostFunctions
from ..sim import SimSource, vectors
from .refused import refused

BATCH: Final = 256
"""Texts in one request to a provider; the largest take 2,048."""

_LONGEST_PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Vectors:
    """What came for some texts, one row each; tokens where the source counts them."""

    rows: Sequence[Sequence[float]]
    tokens_in: int = 0


class VectorSource(Protocol):
    """Something that makes vectors."""

    async def embed(self, texts: list[str], config: Mapping[str, object]) -> Vectors:
        """A vector for each text, in order."""
        ...


class SimVectors:
    """Those of an offline model."""

    def __init__(self, model: str, source: SimSource) -> None:
        self._model = model
        self._source = source

    async def embed(self, texts: list[str], config: Mapping[str, object]) -> Vectors:
        """The same for the same text; after the wait that an answer would have."""
        await self._source.wait(self._model)
        wanted = config.get("dimensions")
        dimensions = wanted if isinstance(wanted, int) else vectors.DIMENSIONS
        seed = self._source.model.options.seed
        rows = [vectors.vector(text, seed, dimensions) for text in texts]
        return Vectors(rows, vectors.tokens_of(texts))


class HostVectors:
    """A host function that makes vectors."""

    def __init__(self, model: str, function: str, functions: HostFunctions, timeout_s: float | None) -> None:
        self._model = model
        self._function = function
        self._functions = functions
        self._timeout_s = timeout_s

    async def embed(self, texts: list[str], config: Mapping[str, object]) -> Vectors:
        """Ask the host: its answer is a tensor, an array of arrays, or a map with one as `vectors`."""
        args = {"model": self._model, "texts": list(texts), "config": dict(config)}
        answer = await self._functions.acall(self._function, args, self._timeout_s)
        tokens_in = 0
        if isinstance(answer, dict):
            counted = answer.get("tokens_in")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            tokens_in = counted if type(counted) is int else 0
            answer = answer.get("vectors")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        try:
            return Vectors(_rows(answer), tokens_in)
        except (TypeError, ValueError):
            raise error(
                "function_failed",
                f"the host function {self._function} gave no vectors: expected a tensor of two dimensions"
                f" or an array of arrays of numbers, got {describe_value(answer)}",
            ) from None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where vectors are to be had over HTTP.

    Attributes:
        url: Of the resource, such as `https://…/v1/embeddings`.
        model: By the provider's name.
        retries: How often a request is made again that failed for a while only.
        options: Parameters of each request.
    """

    url: str
    model: str
    provider: str
    key: str | None = field(repr=False)
    timeout_s: float
    retries: int = 0
    options: Mapping[str, object] = field(default_factory=dict[str, object])


class EndpointVectors:
    """Those of an OpenAI-compatible endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def embed(self, texts: list[str], config: Mapping[str, object]) -> Vectors:
        """Ask for a batch after the other, on one connection."""
        import aiohttp

        endpoint = self._endpoint
        headers = {} if endpoint.key is None else {"Authorization": f"Bearer {endpoint.key}"}
        timeout = aiohttp.ClientTimeout(total=endpoint.timeout_s)
        rows: list[Sequence[float]] = []
        tokens_in = 0
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            for batch in _batches(texts):
                body = {**endpoint.options, **config, "model": endpoint.model, "input": batch}
                answer = await self._post(session, body)
                rows += _of_endpoint(answer, len(batch), endpoint)
                tokens_in += _tokens(answer)
        return Vectors(rows, tokens_in)

    async def _post(self, session: Any, body: dict[str, object]) -> dict[str, Any]:
        for attempt in range(self._endpoint.retries + 1):
            try:
                return await self._post_once(session, body)
            except LMError as reason:
                if attempt == self._endpoint.retries or not is_retryable_lm_error(reason):
                    raise
                await asyncio.sleep(_pause_s(reason, attempt))
        raise AssertionError  # the last attempt returns or raises

    async def _post_once(self, session: Any, body: dict[str, object]) -> dict[str, Any]:
        import aiohttp

        endpoint = self._endpoint
        whose: dict[str, Any] = {"model": endpoint.model, "provider": endpoint.provider}
        try:
            async with session.post(endpoint.url, json=body) as response:
                if response.status != 200:
                    raise _refused(response, endpoint)
                answer: object = await response.json(content_type=None)
        except TimeoutError:
            raise LMTimeoutError("no vectors in time", **whose) from None
        except (aiohttp.ClientError, OSError):
            raise LMTransportError("the provider could not be reached", **whose) from None
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise LMServerError("the provider's answer is not JSON", **whose)
        return answer  # pyright: ignore[reportUnknownVariableType]


class LiteLLMVectors:
    """Those of any provider that LiteLLM knows, by DSPy's `Embedder`; tokens are not told."""

    def __init__(self, model: str, **settings: Any) -> None:
        self._model = model
        self._embedder = dspy.Embedder(model, batch_size=BATCH, caching=False, **settings)

    async def embed(self, texts: list[str], config: Mapping[str, object]) -> Vectors:
        """As `dspy.Embedder`."""
        try:
            return Vectors(_rows(await self._embedder.acall(texts, **config)))
        except ImportError:
            raise error(
                "lm_not_configured",
                f"vectors of {self._model} need LiteLLM, which is not installed where the server runs;"
                " openai/NAME with api_base reaches every OpenAI-compatible endpoint without it",
            ) from None


def tensor_of(rows: Sequence[Sequence[float]]) -> Tensor:
    """Vectors as one array of 32-bit floats, a row for each.

    Raises:
        ValueError: when they have not all the same length.
    """
    width = len(rows[0]) if rows else 0
    if any(len(row) != width for row in rows):
        raise ValueError("vectors of several lengths")
    numbers = array.array("f", [number for row in rows for number in row])
    if sys.byteorder == "big":
        numbers.byteswap()
    return Tensor("f4", (len(rows), width), numbers.tobytes())


def _batches(texts: list[str]) -> Iterator[list[str]]:
    for at in range(0, len(texts), BATCH):
        yield texts[at : at + BATCH]


def _rows(value: Any) -> Sequence[Sequence[float]]:
    """Rows of numbers, from whatever holds them."""
    if isinstance(value, Tensor):
        return rows_of(value)
    listed = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(listed, list):
        raise TypeError
    return [[float(number) for number in row] for row in listed]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def rows_of(tensor: Tensor) -> Sequence[Sequence[float]]:
    """The rows of an array of two dimensions.

    Raises:
        ValueError: when it is none, or has other numbers in it.
    """
    if len(tensor.shape) != 2 or tensor.dtype not in ("f4", "f8"):
        raise ValueError
    numbers = array.array("f" if tensor.dtype == "f4" else "d", tensor.data)
    if sys.byteorder == "big":
        numbers.byteswap()
    count, width = tensor.shape
    return [numbers[at * width : (at + 1) * width].tolist() for at in range(count)]


def _refused(response: Any, endpoint: Endpoint) -> LMError:
    return refused(response.status, response.headers, model=endpoint.model, provider=endpoint.provider)


def _of_endpoint(answer: dict[str, Any], count: int, endpoint: Endpoint) -> list[Sequence[float]]:
    try:
        by_index = {row["index"]: [float(number) for number in row["embedding"]] for row in answer["data"]}
        return [by_index[at] for at in range(count)]
    except (KeyError, TypeError, ValueError):
        raise LMServerError(
            "the provider's answer has not a vector for each text",
            model=endpoint.model,
            provider=endpoint.provider,
        ) from None


def _tokens(answer: dict[str, Any]) -> int:
    usage = answer.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else 0  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return tokens if isinstance(tokens, int) else 0


def _pause_s(reason: LMError, attempt: int) -> float:
    hint = reason.retry_after
    return min(hint if isinstance(hint, int | float) else 2.0**attempt, _LONGEST_PAUSE_S)
