"""An endpoint with OpenAI's API of fine-tuning: files, jobs, and what happens to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, cast

import aiohttp
from dspy.utils.exceptions import (
    LMError,
    LMInvalidRequestError,
    LMServerError,
    LMTimeoutError,
    LMTransportError,
    is_retryable_lm_error,
)

from ..lms.refused import refused

Status: TypeAlias = Literal["pending", "running", "succeeded", "failed", "cancelled"]

_STATUSES: Final[Mapping[str, Status]] = {
    "validating_files": "pending",
    "queued": "pending",
    "running": "running",
    "paused": "running",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
}
PAGE: Final = 100
LONGEST_PAUSE_S: Final = 60.0
MAX_REPLY_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderJob:
    """A job as its provider tells it.

    Attributes:
        id: By the provider's name.
        status: In DSPy's words.
        model: What came of it, once it has succeeded.
        trained_tokens: What is paid for, once it has ended.
        failure: The provider's code of why it failed.
        file: What it learns from, by the provider's name.
    """

    id: str
    status: Status
    file: str
    model: str | None = None
    trained_tokens: int | None = None
    failure: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status in ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """Something that happened to a job, in its provider's words."""

    id: str
    level: str
    message: str
    data: Mapping[str, object] = field(default_factory=dict[str, object])


class TuningEndpoint:
    """Where models are fine-tuned.

    Args:
        base_url: Of the API, such as `https://…/v1`.
        key: The provider's; it is in no error and in no `repr`.
        model: Whose name errors tell.
        session: The connections.
        timeout_s: For one answer.
        retries: How often a request is made again that failed for a while only.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None,
        model: str,
        session: aiohttp.ClientSession,
        *,
        timeout_s: float = 60.0,
        retries: int = 3,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._model = model
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._retries = retries

    def __repr__(self) -> str:
        return f"TuningEndpoint({self._model})"

    async def upload(self, body: bytes) -> str:
        """Send a training file; its id.

        Raises:
            LMError: DSPy's, also from the methods below.
        """

        def form() -> aiohttp.FormData:
            made = aiohttp.FormData()
            made.add_field("purpose", "fine-tune")
            made.add_field("file", body, filename="examples.jsonl", content_type="application/jsonl")
            return made

        # A second file of which nobody knows harms less than a job that does not begin.
        return _text((await self._patiently("POST", "/files", form=form)), "id", self._model)

    async def start(self, file: str, model: str, options: Mapping[str, object], key: str) -> ProviderJob:
        """Begin a job, unless there is one already that was begun with the same key.

        Args:
            file: Its training file.
            model: By the provider's name.
            options: `suffix`, `seed`, `method` and others, as the API has them.
            key: At most 512 characters; the job has it in its metadata.
        """
        body = {**options, "model": model, "training_file": file, "metadata": {"dspex": key}}
        for attempt in range(self._retries + 1):
            try:
                return self._job(await self._once("POST", "/fine_tuning/jobs", json=body))
            except LMError as reason:
                if attempt == self._retries or not is_retryable_lm_error(reason):
                    raise
                await asyncio.sleep(_pause_s(reason, attempt))
            # It may have begun, with only the answer lost: a second one would be paid for as well.
            begun = await self.find(key)
            if begun is not None:
                return begun
        raise AssertionError

    async def find(self, key: str) -> ProviderJob | None:
        """The job that was begun with a key; None where there is none, or the server cannot tell."""
        try:
            told = await self._patiently("GET", "/fine_tuning/jobs", query={"metadata[dspex]": key})
        except LMInvalidRequestError:
            return None
        rows: Any = told.get("data")
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict) and (row.get("metadata") or {}).get("dspex") == key:  # pyright: ignore[reportUnknownMemberType]
                return self._job(cast("dict[str, Any]", row))
        return None

    async def job(self, job: str) -> ProviderJob:
        """How far it is."""
        return self._job(await self._patiently("GET", f"/fine_tuning/jobs/{job}"))

    async def events(self, job: str) -> list[ProviderEvent]:
        """All that has happened to it, the oldest first."""
        rows: list[ProviderEvent] = []
        query = {"limit": str(PAGE)}
        while True:
            told = await self._patiently("GET", f"/fine_tuning/jobs/{job}/events", query=query)
            page = [_event(row) for row in cast("list[dict[str, Any]]", told.get("data") or [])]
            rows += page
            if not page or not told.get("has_more"):
                return rows[::-1]
            query = {"limit": str(PAGE), "after": page[-1].id}

    async def cancel(self, job: str) -> ProviderJob:
        """Stop it; one that has ended stays as it is."""
        try:
            return self._job(await self._patiently("POST", f"/fine_tuning/jobs/{job}/cancel"))
        except LMInvalidRequestError:
            return await self.job(job)

    async def delete_file(self, file: str) -> None:
        """Remove a training file; no error when it is gone."""
        try:
            await self._patiently("DELETE", f"/files/{file}")
        except LMInvalidRequestError:
            return

    def _job(self, told: Mapping[str, Any]) -> ProviderJob:
        status = _STATUSES.get(str(told.get("status")))
        if status is None:
            raise self._misfit("the provider tells no status of a fine-tuning job")
        failure, model, tokens = told.get("error"), told.get("fine_tuned_model"), told.get("trained_tokens")
        if status == "succeeded" and not isinstance(model, str):
            raise self._misfit("the fine-tuning job has succeeded, and the provider names no model")
        return ProviderJob(
            id=_text(told, "id", self._model),
            status=status,
            file=str(told.get("training_file") or ""),
            model=model if isinstance(model, str) else None,
            trained_tokens=tokens if isinstance(tokens, int) else None,
            failure=str(cast("dict[str, Any]", failure).get("code")) if isinstance(failure, dict) else None,
        )

    async def _patiently(
        self, method: str, path: str, *, form: Any = None, query: Any = None
    ) -> dict[str, Any]:
        """Ask, and again where the same may succeed later; for what may be done twice."""
        for attempt in range(self._retries + 1):
            try:
                return await self._once(method, path, data=form and form(), params=query)
            except LMError as reason:
                if attempt == self._retries or not is_retryable_lm_error(reason):
                    raise
                await asyncio.sleep(_pause_s(reason, attempt))
        raise AssertionError

    async def _once(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        try:
            async with self._session.request(
                method,
                self._base_url + path,
                headers=self._headers,
                timeout=self._timeout,
                allow_redirects=False,
                **given,
            ) as response:
                if not 200 <= response.status < 300:
                    raise refused(response.status, response.headers, model=self._model)
                told = await _read_json(response)
        except TimeoutError:
            raise LMTimeoutError("the provider did not answer in time", model=self._model) from None
        except (aiohttp.ClientError, OSError):
            raise LMTransportError("the provider could not be reached", model=self._model) from None
        if not isinstance(told, dict):
            raise self._misfit("the provider's answer is no JSON object")
        return cast("dict[str, Any]", told)

    def _misfit(self, message: str) -> LMError:
        failure: LMError = LMServerError(message, model=self._model)
        return failure


async def _read_json(response: aiohttp.ClientResponse) -> object:
    """What it is, or None where it is too long or nothing of the kind."""
    chunks, size = list[bytes](), 0
    while chunk := await response.content.readany():
        size += len(chunk)
        if size > MAX_REPLY_BYTES:
            return None
        chunks.append(chunk)
    try:
        return cast("object", json.loads(b"".join(chunks)))
    except (ValueError, RecursionError):
        return None


def _event(row: Mapping[str, Any]) -> ProviderEvent:
    data = row.get("data")
    return ProviderEvent(
        str(row.get("id", "")),
        str(row.get("level", "info")),
        str(row.get("message", "")),
        cast("dict[str, object]", data) if isinstance(data, dict) else {},
    )


def _text(told: Mapping[str, Any], name: str, model: str) -> str:
    value = told.get(name)
    if not isinstance(value, str) or not value:
        raise LMServerError(f"the provider's answer has no {name}", model=model)
    return value


def _pause_s(reason: LMError, attempt: int) -> float:
    hint = reason.retry_after
    return min(hint if isinstance(hint, int | float) else 0.5 * 2.0**attempt, LONGEST_PAUSE_S)
