"""What a language model sees of a tool, whoever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final

import jsonschema.exceptions
import jsonschema.validators

from dspex_protocol.errors import invalid_argument
from dspex_protocol.records import Doc, Length

from ..refusals import refusal

MAX_ARGUMENTS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDescription:
    """A tool that a model may want called."""

    name: Annotated[str, Length(1, 64), Doc("what the model calls it")]
    desc: Annotated[str, Length(0, 4096), Doc("what the model is told of it")] = ""
    args: Annotated[
        dict[str, object],
        Doc("JSON Schema by argument; one with a default may be left out"),
    ] = field(default_factory=dict[str, object])

    @property
    def required(self) -> list[str]:
        """The arguments that may not be left out, in their order."""
        return [
            name
            for name, schema in self.args.items()
            if not (isinstance(schema, dict) and "default" in schema)
        ]


def check_tool(tool: ToolDescription, path: str) -> None:
    """Check a tool's name, and the JSON Schemas of its arguments.

    Raises:
        CallerError: `invalid_argument` naming the part.
    """
    if not tool.name.isidentifier() or tool.name.startswith("_"):
        raise invalid_argument(f"{path}.name", "an identifier that does not start with '_'", tool.name)
    if len(tool.args) > MAX_ARGUMENTS:
        raise invalid_argument(f"{path}.args", f"at most {MAX_ARGUMENTS} arguments", dict(tool.args))
    for argument, schema in tool.args.items():
        _check_schema(argument, schema, f"{path}.args.{argument}")


def check_names(names: Sequence[str], path: str) -> None:
    """Check that no two tools have the same name.

    Raises:
        CallerError: `invalid_argument` naming the later one.
    """
    for at, name in enumerate(names):
        if name in names[:at]:
            raise refusal(f"{path}[{at}].name", "a name that no other tool has", repr(name))


def _check_schema(name: str, schema: object, path: str) -> None:
    if not name.isidentifier():
        raise invalid_argument(path, "an identifier as the argument's name", name)
    if not isinstance(schema, dict):
        raise invalid_argument(path, "a JSON Schema: a map", schema)
    if _has_reference(schema):
        raise refusal(path, "a JSON Schema without $ref: nothing is fetched or followed", "one")
    try:
        jsonschema.validators.validator_for(schema).check_schema(schema)
    except jsonschema.exceptions.SchemaError as reason:
        where = ".".join([path, *map(str, reason.absolute_path)])
        raise refusal(where, "a JSON Schema", f"none ({reason.validator})") from None


def _has_reference(schema: object) -> bool:
    if isinstance(schema, dict):
        return "$ref" in schema or "$dynamicRef" in schema or any(map(_has_reference, schema.values()))
    return isinstance(schema, list) and any(map(_has_reference, schema))
