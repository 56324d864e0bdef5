"""A conversation with a language model: messages and tools to what DSPy takes, answers to values.

DSPy hands messages to its LMs in the form of OpenAI's chat completions, whatever the provider;
nobody but this module and DSPy knows that form. What comes back has the form that goes in, so
that an answer's message can be put at the end of the next conversation as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

import dspy

from dspex_protocol.errors import invalid_argument
from dspex_protocol.records import Doc, Length

from ..modules.tool_descriptions import ToolDescription, check_names, check_tool
from ..refusals import missing, refusal
from ..values.incoming import from_wire

_MEDIA: Final = (dspy.Image, dspy.Audio, dspy.File)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedCall:
    """A tool that the model wants called."""

    id: Annotated[str, Length(1, 256), Doc("what its result is to name")]
    name: Annotated[str, Length(1, 64)]
    args: Annotated[dict[str, object], Doc("value by argument")] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Annotated[object, Doc("a string, or an array of strings and tagged media")] = None
    tool_calls: Annotated[list[WantedCall], Doc("of an assistant: what it wants called")] = field(
        default_factory=list[WantedCall]
    )
    tool_call_id: Annotated[str, Length(1, 256), Doc("of a tool: the call that this answers")] | None = None


def messages_for_dspy(messages: Sequence[Message], path: str = "messages") -> list[dict[str, Any]]:
    """A conversation as DSPy takes it.

    Raises:
        CallerError: `invalid_argument` naming the part, such as `messages[1].content[0]`.
    """
    if not messages:
        raise invalid_argument(path, "an array of at least one message", list(messages))
    return [_message(message, f"{path}[{at}]") for at, message in enumerate(messages)]


def tools_for_dspy(tools: Sequence[ToolDescription], path: str = "tools") -> list[dict[str, Any]]:
    """Tools as DSPy hands them on.

    Raises:
        CallerError: `invalid_argument` naming the part.
    """
    for at, tool in enumerate(tools):
        check_tool(tool, f"{path}[{at}]")
    check_names([tool.name for tool in tools], path)
    return [_tool(tool) for tool in tools]


def answer_of(output: Any, finish_reason: str | None) -> dict[str, object]:
    """One answer, of one of the outputs that DSPy's LMs give: a text, or a map of its parts."""
    parts: Mapping[str, Any] = output if isinstance(output, dict) else {"text": output}
    message: dict[str, object] = {"role": "assistant", "content": parts.get("text")}
    calls = [wanted_call(call) for call in parts.get("tool_calls") or ()]
    if calls:
        message["tool_calls"] = calls
    answer: dict[str, object] = {"message": message}
    further = {
        "reasoning": parts.get("reasoning_content"),
        "citations": _plain(parts.get("citations")),
        "logprobs": _plain(parts.get("logprobs")),
        "finish_reason": finish_reason,
    }
    return answer | {name: value for name, value in further.items() if value is not None}


def _message(message: Message, path: str) -> dict[str, Any]:
    _check_fields(message, path)
    written: dict[str, Any] = {
        "role": message.role,
        "content": _content(message.content, f"{path}.content"),
    }
    if message.tool_calls:
        written["tool_calls"] = [
            {"id": call.id, "type": "function", "function": _function(call)} for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        written["tool_call_id"] = message.tool_call_id
    return written


def _check_fields(message: Message, path: str) -> None:
    """What belongs to one role only."""
    if message.tool_calls and message.role != "assistant":
        raise refusal(f"{path}.tool_calls", f"nothing in a message of the {message.role}", "calls")
    if message.tool_call_id is not None and message.role != "tool":
        raise refusal(f"{path}.tool_call_id", f"nothing in a message of the {message.role}", "an id")
    if message.role == "tool" and message.tool_call_id is None:
        raise missing(f"{path}.tool_call_id", "the id of the call that this answers")
    if message.content is None and not message.tool_calls:
        raise missing(f"{path}.content", "a string, or an array of strings and tagged media")


def _content(content: object, path: str) -> str | list[dict[str, Any]] | None:
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise invalid_argument(path, "a string, or an array of strings and tagged media", content)
    parts: list[dict[str, Any]] = []
    for at, part in enumerate(content):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        parts += _part(part, f"{path}[{at}]")
    return parts


def _part(part: object, path: str) -> list[dict[str, Any]]:
    if isinstance(part, str):
        return [{"type": "text", "text": part}]
    medium: Any = from_wire(part, path)
    if not isinstance(medium, _MEDIA):
        raise invalid_argument(path, "a string, or a tagged image, audio or file", part)
    written: Any = medium.format()
    return list(written)


def _function(call: WantedCall) -> dict[str, Any]:
    return {"name": call.name, "arguments": json.dumps(call.args, default=_no_json)}


def _no_json(value: object) -> object:
    raise invalid_argument("tool_calls.args", "values of JSON", value)


def _tool(tool: ToolDescription) -> dict[str, Any]:
    parameters = {"type": "object", "properties": tool.args, "required": tool.required}
    function = {"name": tool.name, "description": tool.desc, "parameters": parameters}
    return {"type": "function", "function": function}


def wanted_call(call: Any) -> dict[str, object]:
    """A call of a tool as answers and streams have it.

    Args:
        call: A map of DSPy's own, or an object of LiteLLM: both are asked alike.
    """
    function = _get(call, "function")
    return {
        "id": _get(call, "id") or "",
        "name": _get(function, "name"),
        "args": _arguments(_get(function, "arguments")),
    }


def _arguments(text: Any) -> dict[str, object]:
    try:
        read: object = json.loads(text)
    except (TypeError, ValueError):
        read = None
    # A model may write what is no JSON; its words are of more use than none.
    return read if isinstance(read, dict) else {"arguments": text}  # pyright: ignore[reportUnknownVariableType]


def _get(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, dict) else getattr(holder, name, None)  # pyright: ignore[reportUnknownMemberType]


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if isinstance(value, list):
        return [_plain(member) for member in value]  # pyright: ignore[reportUnknownVariableType]
    return value
