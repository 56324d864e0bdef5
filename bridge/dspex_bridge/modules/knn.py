"""The examples that are nearest to some inputs, by `dspy.KNN`: as a module, which DSPy's is not."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import dspy

from dspex_protocol import Tensor, error
from dspex_protocol.errors import invalid_argument

from ..programs.demos import check_demos, read_examples
from ..refusals import missing

if TYPE_CHECKING:
    from .vectorizers import Vectorizer

MAX_EXAMPLES: Final = 8_192
"""Their vectors are asked for at once, and searched one by one: what is larger wants an index."""


@dataclass(frozen=True, slots=True)
class Trainset:
    """Examples of a spec.

    Attributes:
        examples: As they were read, not checked yet.
        path: Where they stand in the call, for messages.
    """

    examples: list[dspy.Example]
    path: str


def read_trainset(value: object, path: str) -> Trainset:
    """Examples that are to be searched.

    Raises:
        CallerError: `invalid_argument` naming what is none.
    """
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_EXAMPLES:  # pyright: ignore[reportUnknownArgumentType]
        raise invalid_argument(path, f"an array of 1 to {MAX_EXAMPLES} examples", value)
    return Trainset(read_examples(value, path), path)  # pyright: ignore[reportUnknownArgumentType]


class KNN(dspy.Module):
    """Finds the k examples whose inputs are nearest to those of a call, the nearest first.

    Args:
        signature: Of the examples.
        k: How many are found; all, where there are fewer.
        trainset: What is searched.
        vectorizer: Makes vectors of inputs.

    Raises:
        CallerError: `invalid_argument` naming the example and its field, such as
            `spec.options.trainset[3].score`.
    """

    GIVES: ClassVar[Mapping[str, object]] = {"examples": "list[dict]"}
    """Its predictions: each example as a map of all its fields."""

    def __init__(
        self, signature: type[dspy.Signature], k: int, trainset: Trainset, vectorizer: Vectorizer
    ) -> None:
        super().__init__()
        checked = check_demos(trainset.examples, signature, signature, trainset.path)
        _require_inputs(checked, signature, trainset.path)
        self._inputs = list(signature.input_fields)
        self._index = _Index(k, [_in_order(example, signature) for example in checked], vectorizer)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Search, in a thread; settings of a call are for language models."""
        return self._index.vectorizer.wait(lambda: self.aforward(**inputs))

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """Search; what is computed here is computed off the event loop."""
        asked = {name: inputs[name] for name in self._inputs if name in inputs}
        return dspy.Prediction(examples=await self._index.nearest(asked))


class _Index:
    """A `dspy.KNN` whose vectors are made at the first call.

    They are kept for all versions of a program that have the same examples.
    """

    def __init__(self, k: int, examples: list[dspy.Example], vectorizer: Vectorizer) -> None:
        self.vectorizer = vectorizer
        self._k = k
        self._examples = examples
        self._making = asyncio.Lock()
        self._made: tuple[object, dspy.KNN] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> _Index:
        return self  # calls add nothing to it but the vectors

    async def nearest(self, inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The examples as maps, the nearest first."""
        knn = await self._knn()
        texts = [_text(inputs)]
        vector = _Made(texts, await self.vectorizer.vectors(texts))
        return await asyncio.to_thread(_search, knn, vector, inputs)

    async def _knn(self) -> dspy.KNN:
        identity = self.vectorizer.identity
        async with self._making:  # calls at once do not each pay for the same vectors
            if self._made is None or self._made[0] != identity:
                await asyncio.to_thread(_numpy)  # before anything is paid for
                texts = [_text(example.inputs()) for example in self._examples]
                made: Any = _Made(texts, await self.vectorizer.vectors(texts))
                knn = await asyncio.to_thread(dspy.KNN, self._k, self._examples, made)
                self._made = (identity, knn)
            return self._made[1]


class _Made:
    """Vectors in the form of DSPy's embedder, where those of its texts are there already."""

    def __init__(self, texts: list[str], vectors: Tensor) -> None:
        self._texts = texts
        self._vectors = vectors

    def __call__(self, texts: list[str]) -> Any:
        if texts != self._texts:
            raise error("internal", "DSPy's KNN makes other texts of examples than we do")
        return _numpy().frombuffer(self._vectors.data, "<f4").reshape(self._vectors.shape)


def _search(knn: dspy.KNN, vector: _Made, inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    asked: Any = copy.copy(knn)  # other calls search at the same time
    asked.embedding = vector
    try:
        found = asked(**inputs)
    except ValueError:
        raise error(
            "lm_error", "the vector of the inputs has another length than those of the examples"
        ) from None
    return [dict(example.items()) for example in found]


def _text(fields: Any) -> str:
    """What of an example its vector is made of, as `dspy.KNN` has it."""
    return " | ".join(f"{name}: {value}" for name, value in fields.items())


def _in_order(example: dspy.Example, signature: Any) -> dspy.Example:
    """An example with its inputs in the order of the signature, as those of a call are: it is in the text."""
    given = dict(example.items())
    inputs = [name for name in signature.input_fields if name in given]
    ordered = {**{name: given[name] for name in inputs}, **given}
    return dspy.Example(ordered).with_inputs(*inputs)


def _require_inputs(examples: list[dspy.Example], signature: Any, path: str) -> None:
    for n, example in enumerate(examples):
        for name, field in signature.input_fields.items():
            if field.is_required() and name not in example:
                raise missing(f"{path}[{n}].{name}", "an input, by which the nearest are found")


def _numpy() -> Any:
    try:
        import numpy as np
    except ImportError:
        raise error(
            "program_failed",
            "KNN needs numpy, which is not installed where the server runs; dspex[numpy] brings it",
            details={"lacking": "numpy"},
        ) from None
    return np
