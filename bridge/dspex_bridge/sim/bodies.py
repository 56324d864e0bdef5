"""Bodies of requests to `dspex sim-lm`, read, and the answers that refuse them."""

from __future__ import annotations

from typing import Any, cast

from aiohttp import web

from .model import SimTool
from .typenames import Schema


class BadRequest(Exception):
    """What the client sent cannot be answered."""


async def read_object(request: web.Request) -> dict[str, Any]:
    """The body, a JSON object.

    Raises:
        BadRequest: when it is none.
    """
    try:
        body: object = await request.json()
    except ValueError:
        raise BadRequest("sim: the body is not JSON") from None
    if not isinstance(body, dict):
        raise BadRequest("sim: the body must be a JSON object")
    return cast("dict[str, Any]", body)


def list_of(body: dict[str, Any], name: str) -> list[Any]:
    """A list with something in it.

    Raises:
        BadRequest: when it is none.
    """
    value = body.get(name)
    if not isinstance(value, list) or not value:
        raise BadRequest(f"sim: {name} must be a list with at least one entry")
    return value  # pyright: ignore[reportUnknownVariableType]


def message_of(entry: Any) -> tuple[str, str]:
    """Role and text of a message.

    Raises:
        BadRequest: when it is none.
    """
    if not isinstance(entry, dict):
        raise BadRequest("sim: a message must be an object with role and content")
    message = cast("dict[str, Any]", entry)
    content = message.get("content")
    if isinstance(content, list):
        parts: list[Any] = content
        content = "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    return str(message.get("role", "user")), str(content or "")


def response_schema_of(body: dict[str, Any]) -> Schema | None:
    """The JSON schema that the answer is to fit, where one came."""
    response_format = body.get("response_format")
    if not isinstance(response_format, dict):
        return None
    described = cast("dict[str, Any]", response_format).get("json_schema")
    schema = cast("dict[str, Any]", described).get("schema") if isinstance(described, dict) else None
    return cast(Schema, schema) if isinstance(schema, dict) else None


def tools_of(body: dict[str, Any]) -> list[SimTool]:
    """The tools that may be called."""
    given: Any = body.get("tools") or []
    choice: Any = body.get("tool_choice")
    if choice == "none" or not isinstance(given, list):
        return []
    wanted = choice.get("function", {}).get("name") if isinstance(choice, dict) else None  # pyright: ignore[reportUnknownMemberType]
    functions = [entry["function"] for entry in given if isinstance(entry, dict) and "function" in entry]  # pyright: ignore[reportUnknownVariableType]
    return [
        SimTool(str(function["name"]), cast(Schema, function.get("parameters") or {}))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        for function in functions  # pyright: ignore[reportUnknownVariableType]
        if wanted in (None, function["name"])
    ]


def failure(
    status: int, kind: str, message: str, headers: dict[str, str] | None = None, param: str | None = None
) -> web.Response:
    """An answer that says what was wrong, as OpenAI's API does."""
    body = {"error": {"message": message, "type": kind, "code": kind, "param": param}}
    return web.json_response(body, status=status, headers=headers)
