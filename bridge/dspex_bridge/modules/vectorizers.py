"""What makes vectors of texts for a module: a configured language model, or a function of the host."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from dspex_protocol import Tensor
from dspex_protocol.errors import invalid_argument
from dspex_protocol.limits import MAX_NAME_BYTES
from dspex_protocol.records import Doc, Length, Range, read

from ..host_functions import HostFunctions
from ..lms.accounts import Account
from ..lms.embedding import HostVectors, VectorSource
from ..lms.lms import LanguageModels
from ..lms.usage import Usage, current_usage
from ..lms.vectorizing import vectorize

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorizerDescription:
    """A function of the host that makes vectors, as it stands in a spec."""

    function: Annotated[str, Length(1, MAX_NAME_BYTES), Doc("name of the host function")]
    timeout_s: Annotated[float, Range(0.001, 86_400), Doc("of one call")] | None = None


class Vectorizer:
    """Makes vectors with what is configured when it is asked.

    Args:
        name: Of a language model; None for the function.
        described: The function; None for a language model.
        lms: Those that are configured.
        functions: Those of the host.
    """

    def __init__(
        self,
        name: str | None,
        described: VectorizerDescription | None,
        lms: LanguageModels,
        functions: HostFunctions,
    ) -> None:
        self._name = name
        self._described = described
        self._lms = lms
        self._functions = functions

    def __deepcopy__(self, memo: dict[int, Any]) -> Vectorizer:
        return self  # nothing in it changes, and what it asks cannot be copied

    @property
    def functions(self) -> frozenset[str]:
        """Of the host, that it calls itself."""
        return frozenset() if self._described is None else frozenset((self._described.function,))

    @property
    def identity(self) -> object:
        """Equal as long as the same texts have the same vectors, as far as settings tell.

        Raises:
            DSPexError: `unknown_lm` or `lm_not_configured`.
        """
        return self._described or self._lms.config_of(self._name, _PATH)

    async def vectors(self, texts: list[str]) -> Tensor:
        """A row for each text; counted as what the call at hand spent.

        Raises:
            DSPexError: what the source says, or `lm_error` for what are no such vectors.
        """
        source, account = self._source()
        return await vectorize(source, account, texts, {}, current_usage() or Usage())

    def wait(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of what asks for vectors, in a thread that may wait for it."""
        told = str(self._name) if self._described is None else self._described.function
        return self._functions.wait(told, work)

    def _source(self) -> tuple[VectorSource, Account]:
        described = self._described
        if described is None:
            return self._lms.embedder(self._name, _PATH)
        model = f"host/{described.function}"
        source = HostVectors(model, described.function, self._functions, described.timeout_s)
        return source, Account(model=model)


_PATH = "spec.options.vectorizer"


def read_vectorizer(value: object, path: str, functions: HostFunctions, lms: LanguageModels) -> Vectorizer:
    """The vectorizer of a spec: a language model's name, or `{function, timeout_s}`.

    Whether a model of that name is configured is seen when it is asked, as for predictors.

    Raises:
        CallerError: `invalid_argument` or `unknown_function` naming the part.
    """
    if isinstance(value, str):
        if not 1 <= len(value) <= MAX_NAME_BYTES:
            raise invalid_argument(path, "the name of a language model", value)
        return Vectorizer(value, None, lms, functions)
    if not isinstance(value, dict):
        raise invalid_argument(path, "the name of a language model, or {function, timeout_s}", value)
    described = read(VectorizerDescription, value, path)
    functions.require(described.function, f"{path}.function")
    return Vectorizer(None, described, lms, functions)
