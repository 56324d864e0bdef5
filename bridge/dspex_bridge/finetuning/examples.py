"""Training examples: conversations as providers take them, from rows of either of two forms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import dspy

from dspex_protocol.errors import describe_value

from ..refusals import missing, refusal
from ..signatures.signatures import demo_checks

ROLES: Final = ("system", "user", "assistant", "tool", "developer")
MAX_BYTES: Final = 512 * 1024 * 1024
"""Of a training file, as OpenAI takes it."""


@dataclass(frozen=True, slots=True)
class TrainingFile:
    """Examples as a provider takes them: a JSON object on each line.

    Attributes:
        body: The file.
        count: How many examples it has.
    """

    body: bytes
    count: int

    @property
    def digest(self) -> bytes:
        """32 bytes; another file has others."""
        return hashlib.sha256(self.body).digest()


def training_file(conversations: Sequence[Mapping[str, object]]) -> TrainingFile:
    """The file of some conversations.

    Raises:
        DSPexError: `invalid_argument` when it would be longer than a provider takes.
    """
    lines = [
        json.dumps(row, ensure_ascii=False, separators=(",", ":"), sort_keys=True) for row in conversations
    ]
    body = "".join(line + "\n" for line in lines).encode()
    if len(body) > MAX_BYTES:
        raise refusal("rows", f"examples of at most {MAX_BYTES} bytes", f"{len(body)} bytes")
    return TrainingFile(body, len(lines))


def conversation_of(row: Mapping[str, object], path: str) -> dict[str, object]:
    """A row that is a conversation already: `messages` of role and content, the last the assistant's.

    Raises:
        DSPexError: `invalid_argument` with the path of what is wrong.
    """
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        got = describe_value(messages)
        raise refusal(f"{path}.messages", "an array of role and content", got)
    told = [_message(one, f"{path}.messages[{at}]") for at, one in enumerate(cast("list[object]", messages))]
    if told[-1]["role"] != "assistant":
        at = f"{path}.messages[{len(told) - 1}].role"
        raise refusal(at, "assistant: an example ends with what is to be said", str(told[-1]["role"]))
    return {"messages": told}


def _message(given: object, path: str) -> dict[str, str]:
    if not isinstance(given, dict):
        raise refusal(path, "a map of role and content", describe_value(given))
    message = cast("dict[str, object]", given)
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise refusal(f"{path}.role", f"one of {', '.join(ROLES)}", describe_value(role))
    if not isinstance(content, str):
        raise refusal(f"{path}.content", "a string", describe_value(content))
    return {"role": str(role), "content": content}


def labelled_conversation(
    signature: type[dspy.Signature], adapter: dspy.ChatAdapter, row: Mapping[str, object], path: str
) -> dict[str, object]:
    """What a predictor with this signature would be asked for a row's inputs, and the row's outputs as said.

    Raises:
        DSPexError: `invalid_argument` with the path of a field that is missing or does not fit.
    """
    checks = demo_checks(signature, signature)
    values: dict[str, Any] = {}
    for name in signature.fields:
        if row.get(name) is None:
            raise missing(f"{path}.{name}", "a value, since it is a field of the signature")
        check = checks.get(name)
        values[name] = row[name] if check is None else check.convert(row[name], f"{path}.{name}")
    told = adapter.format_finetune_data(
        signature=signature,
        demos=[],
        inputs={name: values[name] for name in signature.input_fields},
        outputs={name: values[name] for name in signature.output_fields},
    )
    return dict(told)
