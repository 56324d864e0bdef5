"""Fine-tuning offline: training files, jobs over them, and what a tuned model has learned by heart.

A job goes through the stages that providers have, by the time that has passed since it was made.
What it learns is real, if simple: asked what a training example was asked, the tuned model gives
that example's answer, and to everything else it says what the model says that it was made of.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, Literal, TypeAlias, cast

Status: TypeAlias = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]

LEAST_EXAMPLES: Final = 10
"""As OpenAI asks for."""
MAX_STEPS_TOLD: Final = 10
_VALIDATED: Final = 0.1
_BEGUN: Final = 0.2
"""Shares of a job's time after which its file has been read, and after which it trains."""


class Unusable(Exception):
    """What cannot be trained on, or asked for; `param` names the argument."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class TrainingFile:
    """A file as it was uploaded; `created` is in seconds of the wall clock."""

    id: str
    name: str
    purpose: str
    body: bytes
    created: int


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happens to a job when a share of its time is over."""

    share: float
    message: str
    data: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(slots=True, kw_only=True)
class Tuning:
    """A job.

    Attributes:
        learned: Answer by what was asked.
        refusal: Why its file is of no use, where it is not.
        begun_s: When it was made, by the clock of whoever looks.
        created: The same in seconds of the wall clock, for people.
        lasts_s: How long it takes.
        cancelled_s: When it was cancelled.
    """

    id: str
    model: str
    file: str
    seed: int
    suffix: str
    epochs: int
    metadata: Mapping[str, str]
    learned: Mapping[bytes, str]
    tokens: int
    refusal: Unusable | None
    begun_s: float
    created: int
    lasts_s: float
    cancelled_s: float | None = None

    @property
    def tuned_model(self) -> str:
        """The name of what comes of it."""
        base = self.model.rpartition("/")[2]
        return f"ft:{base}:sim:{self.suffix}:{self.id.removeprefix('ftjob-')}"

    def share(self, now_s: float) -> float:
        """How much of its time is over, 0 to 1."""
        until_s = now_s if self.cancelled_s is None else self.cancelled_s
        return 1.0 if self.lasts_s <= 0 else min(1.0, (until_s - self.begun_s) / self.lasts_s)

    def status(self, now_s: float) -> Status:
        """How far it is."""
        share = self.share(now_s)
        if share < _VALIDATED:
            return "validating_files" if self.cancelled_s is None else "cancelled"
        if self.refusal is not None:
            return "failed"
        if share >= 1:
            return "succeeded"
        if self.cancelled_s is not None:
            return "cancelled"
        return "queued" if share < _BEGUN else "running"

    def moments(self, now_s: float) -> list[Moment]:
        """What has happened to it, the oldest first."""
        share = self.share(now_s)
        happened = [moment for moment in self._plan() if moment.share <= share]
        if self.status(now_s) == "cancelled":
            happened.append(Moment(share, "The job has been cancelled."))
        return happened

    def _plan(self) -> Iterable[Moment]:
        yield Moment(0, f"Created fine-tuning job: {self.id}")
        yield Moment(0, f"Validating training file: {self.file}")
        if self.refusal is not None:
            yield Moment(_VALIDATED, f"The job failed: {self.refusal}")
            return
        yield Moment(_VALIDATED, "Files validated, moving job to queued state")
        yield Moment(_BEGUN, "Fine-tuning job started")
        steps = max(1, self.epochs * len(self.learned))
        for told in range(1, min(steps, MAX_STEPS_TOLD) + 1):
            step = math.ceil(steps * told / min(steps, MAX_STEPS_TOLD))
            loss = round(2.0 * math.exp(-3 * step / steps), 4)
            yield Moment(
                _BEGUN + (1 - _BEGUN) * step / steps,
                f"Step {step}/{steps}: training loss={loss}",
                {"step": step, "total_steps": steps, "train_loss": loss},
            )
        yield Moment(1, f"New fine-tuned model created: {self.tuned_model}")
        yield Moment(1, "The job has successfully completed")


class Tunings:
    """The files and jobs of one server.

    Args:
        lasts_s: How long a job takes.
        clock: The time, in seconds.
    """

    def __init__(self, lasts_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lasts_s = lasts_s
        self.clock = clock
        self._numbers = itertools.count(1)
        self.files: dict[str, TrainingFile] = {}
        self.jobs: dict[str, Tuning] = {}

    def add_file(self, name: str, purpose: str, body: bytes, created: int) -> TrainingFile:
        """Keep a file."""
        kept = TrainingFile(f"file-sim{next(self._numbers)}", name, purpose, body, created)
        self.files[kept.id] = kept
        return kept

    def start(self, wish: Mapping[str, Any], created: int) -> Tuning:
        """Make a job of a request's body.

        Raises:
            Unusable: an argument is missing, or is not one.
        """
        model, file_id = wish.get("model"), wish.get("training_file")
        if not isinstance(model, str) or not model:
            raise Unusable("sim: model must be the name of a model", "model")
        if not isinstance(file_id, str) or file_id not in self.files:
            raise Unusable(f"sim: there is no file {file_id!r}", "training_file")
        if self.files[file_id].purpose != "fine-tune":
            raise Unusable("sim: the file was not uploaded with purpose fine-tune", "training_file")
        learned, tokens, refusal = _learn(self.files[file_id].body)
        job = Tuning(
            id=f"ftjob-sim{next(self._numbers)}",
            model=model,
            file=file_id,
            seed=int(wish.get("seed") or 0),
            suffix=str(wish.get("suffix") or ""),
            epochs=_epochs(wish),
            metadata=_metadata(wish.get("metadata")),
            learned=learned,
            tokens=tokens,
            refusal=refusal,
            begun_s=self.clock(),
            created=created,
            lasts_s=self._lasts_s,
        )
        self.jobs[job.id] = job
        return job

    def known(self, model: str, messages: Sequence[tuple[str, str]]) -> str | None:
        """What a tuned model has learned to say to this; None where it has not, or is not one.

        Raises:
            Unusable: it is called like a tuned model, and there is none of that name.
        """
        name = model.rpartition("/")[2]
        if not name.startswith("ft:"):
            return None
        for job in self.jobs.values():
            if job.tuned_model == name and job.status(self.clock()) == "succeeded":
                return job.learned.get(_asked(messages))
        raise Unusable(f"sim: there is no model {name!r}", "model")


def _learn(body: bytes) -> tuple[dict[bytes, str], int, Unusable | None]:
    learned: dict[bytes, str] = {}
    tokens = 0
    try:
        lines = [line for line in body.decode().splitlines() if line.strip()]
        for number, line in enumerate(lines, 1):
            asked, answer = _example(line, number)
            learned[asked] = answer
            tokens += -(-len(line) // 4)
        if len(lines) < LEAST_EXAMPLES:
            raise Unusable(f"{len(lines)} examples, where {LEAST_EXAMPLES} are needed", "training_file")
    except UnicodeDecodeError:
        return {}, 0, Unusable("The file is not UTF-8", "training_file")
    except Unusable as refusal:
        return {}, 0, refusal
    return learned, tokens, None


def _example(line: str, number: int) -> tuple[bytes, str]:
    try:
        given: Any = json.loads(line)
        messages: list[tuple[str, str]] = [
            (str(message["role"]), str(message["content"])) for message in given["messages"]
        ]
    except (ValueError, KeyError, TypeError):
        raise Unusable(
            f"Line {number} is no JSON object with messages of role and content", "training_file"
        ) from None
    if not messages or messages[-1][0] != "assistant":
        raise Unusable(f"Line {number} does not end with a message of the assistant", "training_file")
    return _asked(messages[:-1]), messages[-1][1]


def _asked(messages: Sequence[tuple[str, str]]) -> bytes:
    """What a request comes to: its last question, whatever instructions and demos went before it."""
    last = next((text for role, text in reversed(messages) if role == "user"), "")
    return blake2b(last.encode(), digest_size=16).digest()


def _epochs(wish: Mapping[str, Any]) -> int:
    method = cast("Mapping[str, Any]", (wish.get("method") or {}).get("supervised") or {})
    for given in (method.get("hyperparameters"), wish.get("hyperparameters")):
        if isinstance(given, dict):
            epochs = cast("dict[str, object]", given).get("n_epochs", "auto")
            if epochs != "auto":
                if type(epochs) is not int or not 1 <= epochs <= 50:
                    raise Unusable("sim: n_epochs must be auto or an integer from 1 to 50", "hyperparameters")
                return epochs
    return 3


def _metadata(given: object) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise Unusable("sim: metadata must be an object of texts", "metadata")
    entries = cast("dict[object, object]", given)
    for key, value in entries.items():
        if not isinstance(value, str) or len(str(key)) > 64 or len(value) > 512 or len(entries) > 16:
            raise Unusable("sim: metadata has at most 16 texts of 512 characters", "metadata")
    return cast("dict[str, str]", given)
