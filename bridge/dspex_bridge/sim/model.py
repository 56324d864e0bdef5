"""The offline model itself: what it answers, how long it takes, when it refuses. No I/O.

The answer depends on seed and request only. Latency, errors and rate limits are weather:
they come from a random source of the model's own, so that a repeated request may succeed.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from random import Random
from typing import Annotated, Final

from dspex_protocol.records import Doc, Range

from .answer import write_answer, write_said
from .lesson import Lesson, Pupil
from .request import format_of_schema, read_format
from .typenames import Schema
from .values import maker

_CHARACTERS_PER_TOKEN: Final = 4  # the usual rule of thumb; usage figures are made of it
_Z_99: Final = 2.3263  # the 99th percentile of the normal distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds to the first token, log-normal through two percentiles."""

    p50: Annotated[float, Range(0.001), Doc("median, ms")]
    p99: Annotated[float, Range(0.001), Doc("99th percentile, ms")]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimOptions:
    """How an offline model behaves."""

    seed: Annotated[int, Doc("answers are a function of seed and request")] = 0
    latency_ms: Annotated[float, Range(0, 600_000)] | Latency = 0.0
    tokens_per_s: Annotated[float, Range(0.1), Doc("pace after the first token; nothing: at once")] | None = (
        None
    )
    token_chars: Annotated[int, Range(1, 4096), Doc("characters of a streamed piece")] = _CHARACTERS_PER_TOKEN
    error_rate: Annotated[float, Range(0, 1), Doc("share of requests that fail")] = 0.0
    rate_limit_per_s: Annotated[float, Range(0.001), Doc("requests a second; nothing: no limit")] | None = (
        None
    )
    lesson: Annotated[Lesson | None, Doc("what better prompts make it answer better")] = None


@dataclass(frozen=True, slots=True)
class SimTool:
    """A tool that the model may call: its name, and a JSON Schema of its arguments."""

    name: str
    parameters: Schema


@dataclass(frozen=True, slots=True)
class SimCall:
    """A call of a tool that the model wants."""

    id: str
    name: str
    args: dict[str, object]


@dataclass(frozen=True, slots=True)
class SimAnswer:
    """An answer and its timing; no text where it is a call."""

    text: str
    tokens_in: int
    tokens_out: int
    first_token_s: float
    token_s: float
    call: SimCall | None = None

    @property
    def total_s(self) -> float:
        """Seconds until the last token."""
        return self.first_token_s + self.token_s * self.tokens_out


class SimUnavailable(Exception):
    """The model failed on purpose, as `error_rate` asks."""


class SimRateLimited(Exception):
    """The model refused on purpose, as `rate_limit_per_s` asks."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(
            f"sim: more requests than rate_limit_per_s allows; come back in {retry_after_s:.3f} s"
        )
        self.retry_after_s = retry_after_s


class SimModel:
    """An offline model: `answer` decides everything and waits for nothing."""

    def __init__(self, options: SimOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self.options = options
        self._clock = clock
        self._weather = Random(options.seed)
        self._allowance = max(1.0, options.rate_limit_per_s or 0.0)
        self._counted_at = clock()
        self._seed = str(options.seed).encode()
        self._pupil = None if options.lesson is None else Pupil(options.lesson, options.seed)
        self._lock = threading.Lock()
        self._is_fair = not options.latency_ms and not options.error_rate and options.rate_limit_per_s is None

    def answer(
        self,
        messages: Sequence[tuple[str, str]],
        temperature: float | None = None,
        response_schema: Schema | None = None,
        tools: Sequence[SimTool] = (),
    ) -> SimAnswer:
        """Answer a request. Where tools are offered it calls one, and writes once it has the result.

        Args:
            messages: Role and text of each.
            temperature: As requested; another temperature is another request.
            response_schema: The JSON schema of `response_format`.
            tools: Those that may be called.

        Raises:
            SimUnavailable: by `error_rate`.
            SimRateLimited: by `rate_limit_per_s`.
        """
        first_token_s = self.weather()
        request = "\0".join([part for message in messages for part in message])
        digest = blake2b(f"{temperature}\0{request}".encode(), digest_size=8, key=self._seed[:64]).digest()
        random = Random(int.from_bytes(digest, "big"))
        call = None
        if tools and messages[-1][0] != "tool":
            call = _call(tools, random)
            written = json.dumps(call.args)
        else:
            written = self._written(messages, temperature, random, response_schema)
        pace = self.options.tokens_per_s
        return SimAnswer(
            "" if call is not None else written,
            -(-len(request) // _CHARACTERS_PER_TOKEN),
            -(-len(written) // _CHARACTERS_PER_TOKEN),
            first_token_s,
            1 / pace if pace else 0.0,
            call,
        )

    def _written(
        self,
        messages: Sequence[tuple[str, str]],
        temperature: float | None,
        random: Random,
        schema: Schema | None,
    ) -> str:
        system = messages[0][1] if messages and messages[0][0] == "system" else ""
        if self._pupil is None:
            return write_answer(system, random, schema)
        form = read_format(system) if schema is None else format_of_schema(schema)
        if not form.fields:
            return self._pupil.text(messages) or write_answer(system, random, schema)
        return write_said(form, random, self._pupil.said(messages, temperature, form.fields))

    def weather(self) -> float:
        """How many seconds a request has to wait; may refuse it, as `answer` does."""
        return 0.0 if self._is_fair else self._weathered_latency()

    def reworded(self, answer: SimAnswer, text: str) -> SimAnswer:
        """An answer that says something else, as fast as it would."""
        return replace(answer, text=text, tokens_out=-(-len(text) // _CHARACTERS_PER_TOKEN), call=None)

    def pieces(self, answer: SimAnswer) -> list[str]:
        """An answer cut as it would be streamed."""
        size = self.options.token_chars
        return [answer.text[at : at + size] for at in range(0, len(answer.text), size)]

    def _weathered_latency(self) -> float:
        with self._lock:
            self._spend_allowance()
            if self._weather.random() < self.options.error_rate:
                raise SimUnavailable("sim: failing on purpose, as error_rate asks")
            return self._latency_s()

    def _spend_allowance(self) -> None:
        rate = self.options.rate_limit_per_s
        if rate is None:
            return
        now = self._clock()
        self._allowance = min(max(1.0, rate), self._allowance + (now - self._counted_at) * rate)
        self._counted_at = now
        if self._allowance < 1:
            raise SimRateLimited((1 - self._allowance) / rate)
        self._allowance -= 1

    def _latency_s(self) -> float:
        latency = self.options.latency_ms
        if not isinstance(latency, Latency):
            return latency / 1000
        spread = max(0.0, math.log(latency.p99 / latency.p50)) / _Z_99
        return self._weather.lognormvariate(math.log(latency.p50), spread) / 1000


def _call(tools: Sequence[SimTool], random: Random) -> SimCall:
    tool = random.choice(tools)
    made = maker({"type": "object", **tool.parameters})(random)
    return SimCall(f"sim-{random.getrandbits(32):08x}", tool.name, made if isinstance(made, dict) else {})  # pyright: ignore[reportUnknownArgumentType]
