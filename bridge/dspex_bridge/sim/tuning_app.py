"""The files and fine-tuning jobs of `dspex sim-lm`, in the form of OpenAI's API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, cast

from aiohttp import BodyPartReader, web

from .bodies import BadRequest, failure, read_object
from .tuning import TrainingFile, Tuning, Tunings, Unusable

PAGE: Final = 20


def add_tuning(app: web.Application, tunings: Tunings) -> None:
    """Give an application the routes for fine-tuning."""
    server = _Server(tunings)
    add = app.router.add_route
    add("POST", "/v1/files", server.upload)
    add("GET", "/v1/files", server.list_files)
    add("GET", "/v1/files/{file}", server.file)
    add("GET", "/v1/files/{file}/content", server.content)
    add("DELETE", "/v1/files/{file}", server.delete_file)
    add("POST", "/v1/fine_tuning/jobs", server.start)
    add("GET", "/v1/fine_tuning/jobs", server.list_jobs)
    add("GET", "/v1/fine_tuning/jobs/{job}", server.job)
    add("POST", "/v1/fine_tuning/jobs/{job}/cancel", server.cancel)
    add("GET", "/v1/fine_tuning/jobs/{job}/events", server.events)


class _Server:
    def __init__(self, tunings: Tunings) -> None:
        self._tunings = tunings
        self._clock = tunings.clock

    async def upload(self, request: web.Request) -> web.Response:
        """POST /v1/files."""
        if not request.content_type.startswith("multipart/"):
            return _refused("sim: a file comes as multipart/form-data", "file")
        purpose, name, body = "", "", None
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader) and part.name == "file":
                name, body = part.filename or "file", bytes(await part.read())
            elif isinstance(part, BodyPartReader) and part.name == "purpose":
                purpose = await part.text()
        if body is None:
            return _refused("sim: there is no file", "file")
        if purpose != "fine-tune":
            return _refused("sim: purpose must be fine-tune", "purpose")
        return web.json_response(_file(self._tunings.add_file(name, purpose, body, _wall_s())))

    async def list_files(self, request: web.Request) -> web.Response:
        """GET /v1/files."""
        return _listed([_file(kept) for kept in self._tunings.files.values()], has_more=False)

    async def file(self, request: web.Request) -> web.Response:
        """GET /v1/files/{file}."""
        kept = self._tunings.files.get(request.match_info["file"])
        return _missing("file") if kept is None else web.json_response(_file(kept))

    async def content(self, request: web.Request) -> web.Response:
        """GET /v1/files/{file}/content."""
        kept = self._tunings.files.get(request.match_info["file"])
        return _missing("file") if kept is None else web.Response(body=kept.body)

    async def delete_file(self, request: web.Request) -> web.Response:
        """DELETE /v1/files/{file}."""
        kept = self._tunings.files.pop(request.match_info["file"], None)
        if kept is None:
            return _missing("file")
        return web.json_response({"id": kept.id, "object": "file", "deleted": True})

    async def start(self, request: web.Request) -> web.Response:
        """POST /v1/fine_tuning/jobs."""
        try:
            job = self._tunings.start(await read_object(request), _wall_s())
        except BadRequest as fault:
            return _refused(str(fault), "body")
        except Unusable as refusal:
            return _refused(str(refusal), refusal.param)
        return web.json_response(self._told(job))

    async def list_jobs(self, request: web.Request) -> web.Response:
        """GET /v1/fine_tuning/jobs, the newest first; `after`, `limit` and `metadata[KEY]` as in OpenAI's."""
        wanted = {
            key[9:-1]: value
            for key, value in request.query.items()
            if key.startswith("metadata[") and key.endswith("]")
        }
        jobs = [
            self._told(job)
            for job in reversed(self._tunings.jobs.values())
            if wanted.items() <= job.metadata.items()
        ]
        return _page(request, jobs)

    async def job(self, request: web.Request) -> web.Response:
        """GET /v1/fine_tuning/jobs/{job}."""
        job = self._tunings.jobs.get(request.match_info["job"])
        return _missing("job") if job is None else web.json_response(self._told(job))

    async def cancel(self, request: web.Request) -> web.Response:
        """POST /v1/fine_tuning/jobs/{job}/cancel."""
        job = self._tunings.jobs.get(request.match_info["job"])
        if job is None:
            return _missing("job")
        status = job.status(self._clock())
        if status in ("succeeded", "failed", "cancelled"):
            return _refused(f"sim: the job has {status} and cannot be cancelled", "job")
        job.cancelled_s = self._clock()
        return web.json_response(self._told(job))

    async def events(self, request: web.Request) -> web.Response:
        """GET /v1/fine_tuning/jobs/{job}/events, the newest first."""
        job = self._tunings.jobs.get(request.match_info["job"])
        if job is None:
            return _missing("job")
        rows: list[dict[str, Any]] = [
            {
                "object": "fine_tuning.job.event",
                "id": f"ftevent-{job.id.removeprefix('ftjob-')}-{number}",
                "created_at": job.created + int(moment.share * job.lasts_s),
                "level": "error" if job.refusal is not None and moment.share else "info",
                "message": moment.message,
                "type": "metrics" if moment.data else "message",
                "data": dict(moment.data) or None,
            }
            for number, moment in enumerate(job.moments(self._clock()), 1)
        ]
        return _page(request, rows[::-1])

    def _told(self, job: Tuning) -> dict[str, Any]:
        now_s = self._clock()
        status = job.status(now_s)
        has_ended = status in ("succeeded", "failed", "cancelled")
        failed = job.refusal if status == "failed" else None
        return {
            "object": "fine_tuning.job",
            "id": job.id,
            "model": job.model,
            "created_at": job.created,
            "finished_at": job.created + int(job.lasts_s * job.share(now_s)) if has_ended else None,
            "estimated_finish": None if has_ended else job.created + int(job.lasts_s),
            "fine_tuned_model": job.tuned_model if status == "succeeded" else None,
            "organization_id": "org-sim",
            "result_files": [],
            "status": status,
            "validation_file": None,
            "training_file": job.file,
            "hyperparameters": {"n_epochs": job.epochs, "batch_size": 1, "learning_rate_multiplier": 1.0},
            "trained_tokens": job.tokens * job.epochs if status == "succeeded" else None,
            "seed": job.seed,
            "metadata": dict(job.metadata),
            "error": None
            if failed is None
            else {"code": "invalid_training_file", "message": str(failed), "param": failed.param},
        }


def _file(kept: TrainingFile) -> dict[str, Any]:
    return {
        "object": "file",
        "id": kept.id,
        "bytes": len(kept.body),
        "created_at": kept.created,
        "filename": kept.name,
        "purpose": kept.purpose,
        "status": "processed",
    }


def _page(request: web.Request, rows: list[dict[str, Any]]) -> web.Response:
    after, limit = request.query.get("after"), request.query.get("limit", str(PAGE))
    if not limit.isdecimal() or not 1 <= int(limit) <= 100:
        return _refused("sim: limit must be from 1 to 100", "limit")
    ids = [cast("str", row["id"]) for row in rows]
    start = ids.index(after) + 1 if after in ids else 0
    return _listed(rows[start : start + int(limit)], has_more=start + int(limit) < len(rows))


def _listed(rows: list[dict[str, Any]], *, has_more: bool) -> web.Response:
    return web.json_response({"object": "list", "data": rows, "has_more": has_more})


def _refused(message: str, param: str) -> web.Response:
    return failure(400, "invalid_request_error", message, param=param)


def _missing(what: str) -> web.Response:
    return failure(404, "not_found_error", f"sim: there is no such {what}", param=what)


def _wall_s() -> int:
    return int(datetime.now(UTC).timestamp())  # noqa: TID251 -- the API's times are for people
